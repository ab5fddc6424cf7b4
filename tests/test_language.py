"""The language of the project: how docstrings open, and words that it does not use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.paths import ROOT

FOLDERS = ("core", "train", "app", "tests", "benchmarks", "examples", ".ci")
QUESTIONS = re.compile(r"(What|Where|Whether|How|Who|Whose|Which|When|Why|That which)\b")
ARCHAIC = re.compile(
    r"\b(affair|foretells?|foretold|gone on from|goes on where|no FID|nowhither|whereof|thereof"
    r"|begun with|begin with the weights|told by|for want of|kin"
    r"|bits a token|steps? a row|codes a position|pictures a step|seconds a picture)\b"
)
"""Phrases that were replaced throughout by the field's terms (CONTRIBUTING.md, Language)."""

NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def sources() -> list[Path]:
    return sorted(file for name in FOLDERS for file in (ROOT / name).rglob("*.py"))


def docstrings(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every docstring, those of attributes included."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, NODES):
            continue
        for before, each in zip([None, *node.body], node.body, strict=False):
            if not isinstance(each, ast.Expr) or not isinstance(each.value, ast.Constant):
                continue
            attribute = isinstance(before, (ast.Assign, ast.AnnAssign))
            if isinstance(each.value.value, str) and (before is None or attribute):
                place = f"{file.relative_to(ROOT)}:{each.lineno}"
                yield place, each.value.value


def test_there_are_docstrings_to_read():
    assert sum(1 for file in sources() for _ in docstrings(file)) > 1500


def test_no_docstring_opens_with_a_question_word():
    wrong = [
        f"{place} {text.strip().splitlines()[0]}"
        for file in sources()
        for place, text in docstrings(file)
        if QUESTIONS.match(text.strip())
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", [*FOLDERS, "docs", "README.md"])
def test_replaced_phrases_do_not_come_back(folder):
    root = ROOT / folder
    kinds = (".py", ".md", ".html", ".js")
    files = [root] if root.is_file() else [f for f in root.rglob("*") if f.suffix in kinds]
    wrong = [
        f"{file.relative_to(ROOT)}:{number} {line.strip()}"
        for file in files
        if file != Path(__file__)
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if ARCHAIC.search(line)
    ]
    assert not wrong, "\n".join(wrong)
