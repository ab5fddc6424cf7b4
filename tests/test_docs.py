"""The documentation: it builds, its links resolve, its commands exist, and its snippets run."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown.extensions.toc import slugify
from PIL import Image

from core.paths import ROOT
from tests.helpers import fresh
from tests.test_rooms import FLOORS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it along

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
BUNDLES = sorted(file.parent for file in (ROOT / "checkpoints").glob("*/config.json"))

FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
NOT_RUN = "<!-- not run:"
"""The comment, with a reason, above a snippet that a test cannot run."""


class Snippet(NamedTuple):
    page: Path
    language: str
    text: str
    runs: bool


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def snippets(page: Path) -> tuple[Snippet, ...]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        above = text[: match.start()].rstrip().rpartition("\n")[2]
        indent = match[1]
        lines = (line.removeprefix(indent) for line in match[3].splitlines())
        runs = not above.strip().startswith(NOT_RUN)
        found.append(Snippet(page, match[2], "\n".join(lines) + "\n", runs))
    return tuple(found)


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


# -- the site --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_site_builds_in_strict_mode(site: Path):
    built = {file.relative_to(site).as_posix() for file in site.rglob("index.html")}
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        assert ("index.html" if name == "index" else f"{name}/index.html") in built


def test_api_reference_documents_the_library_by_its_installed_name(site: Path):
    page = (site / "api" / "tokenizer" / "index.html").read_text(encoding="utf-8")
    assert 'id="regvq.tokenizer.Tokenizer.encode"' in page
    assert "core.tokenizer" not in page


def test_pages_make_no_request_to_other_hosts(site: Path):
    fetched = re.compile(
        r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(https?:)?//"""
        r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preconnect|preload|icon))[^>]*\bhref=["']?(https?:)?//"""
        r"""|@import\s|url\(["']?(https?:)?//""",
        re.IGNORECASE,
    )
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 20
    wrong = [file for file in files if fetched.search(file.read_text(encoding="utf-8"))]
    assert not wrong


# -- links and names -------------------------------------------------------------------------------

LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")


@cache
def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#{1,6} +(.+?) *$", FENCE.sub("", page.read_text("utf-8")), re.M)
    return {slugify(re.sub(r"[`*]", "", heading), "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path):
    wrong = []
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        exists = file.exists() and file.is_relative_to(ROOT)
        if not exists or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    assert not wrong


def test_readme_keeps_the_front_matter_of_a_space_and_its_length():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "---" and "sdk: gradio" in lines and "app_file: app.py" in lines
    assert len(lines) <= 160


@cache
def recipes() -> dict[str, str]:
    """Return all recipes and what they return, "RunConfig" or "PriorRunConfig": the public
    functions in train/recipes that return a run."""
    found = {}
    for file in (ROOT / "train" / "recipes").rglob("*.py"):
        for entry in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(entry, ast.FunctionDef) and not entry.name.startswith("_"):
                returned = getattr(entry.returns, "id", "")
                if returned in ("RunConfig", "PriorRunConfig") and (
                    {argument.arg for argument in entry.args.args} <= {"steps"}
                ):
                    found[entry.name.replace("_", "-")] = returned
    return found


def test_every_recipe_is_described():
    names = set(recipes())
    assert len(names) > 40
    text = "".join((DOCS / f"{page}.md").read_text("utf-8") for page in ("tokenizers", "priors"))
    missing = {name for name in names if f"`{name}`" not in text}
    assert not missing


def test_every_recipe_of_a_table_exists():
    named = set()
    for page in ("tokenizers", "priors"):
        for section in re.split(r"^#+ ", (DOCS / f"{page}.md").read_text("utf-8"), flags=re.M):
            rows = re.findall(r"^\| (`[^|]+`) \| ", section, re.M)
            if "| recipe |" in section:
                named |= {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert len(named) > 15
    assert named <= set(recipes())


def test_members_of_the_api_reference_exist():
    """mkdocstrings leaves out a member that does not exist, without a warning."""
    checked = 0
    listed = re.compile(r"^::: (regvq[\w.]*)\n(?:    .*\n)*?      members: \[(.*)\]$", re.MULTILINE)
    for page in (DOCS / "api").glob("*.md"):
        for module, members in listed.findall(page.read_text(encoding="utf-8")):
            found = importlib.import_module(module)
            for name in members.split(", "):
                assert hasattr(found, name), f"{page.name}: {module}.{name}"
                checked += 1
    assert checked > 20


# -- the tables of checkpoints ---------------------------------------------------------------------


def table_rows(page: Path, name: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^\| `{re.escape(name)}`.*$", text, re.MULTILINE)


def figures_of(metrics: dict) -> dict[str, str]:
    """Return the figures of metrics.json that a table may state, as the table states them."""
    found = {}
    if "psnr" in metrics:
        share = 100 * metrics["utilization"]
        found["psnr"] = f"{metrics['psnr']:.2f} dB"
        found["ssim"] = f"{metrics['ssim']:.3f}"
        found["used"] = "100 %" if share == 100 else f"{share:.1f} %"
        found["perplexity"] = f"{metrics['perplexity']:.0f}"
    for key in ("bits_per_token", "bits_with_map"):
        if key in metrics and "psnr" not in metrics:  # of a prior: a tokenizer's are log2 K
            found[key] = f"{metrics[key]:.2f}"
    iou = metrics.get("mean_iou")
    if iou is not None:
        found["mean_iou"] = f"{iou['drawn'] if isinstance(iou, dict) else iou:.3f}"
    if "named_right" in metrics:
        found["named_right"] = f"{100 * metrics['named_right']['drawn']:.1f} %"
    if "frechet_distance" in metrics:
        found["fd"] = f"{metrics['frechet_distance']['drawn']:,.0f}"
    if "class_accuracy" in metrics:
        for version, share in metrics["class_accuracy"].items():
            found[version] = f"{100 * share:.1f} %"
    if "accuracy" in metrics:
        found["accuracy"] = f"{100 * metrics['accuracy']:.1f} %"
        found["pictures"] = f"{metrics['pictures']:,}"
    if "by_word" in metrics:
        found |= {key: f"{100 * metrics[key]:.1f} %" for key in ("found", "absent")}
        found["pictures"] = f"{metrics['pictures']:,}"
    if "named" in metrics:
        found["named"] = f"{100 * metrics['named']['recognised']:.1f} %"
        found["every"] = f"{100 * metrics['every']['recognised']:.1f} %"
    if isinstance(metrics.get("pixel_accuracy"), float):
        found["pixels"] = f"{100 * metrics['pixel_accuracy']:.1f} %"
    return found


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_tables_of_checkpoints_state_the_figures_of_metrics_json(bundle: Path):
    figures = figures_of(json.loads((bundle / "metrics.json").read_text(encoding="utf-8")))
    assert figures
    full = table_rows(DOCS / "checkpoints.md", bundle.name)
    short = table_rows(ROOT / "README.md", bundle.name)
    assert full and len(short) == 1
    absent = {name: text for name, text in figures.items() if text not in " ".join(full)}
    assert not absent
    known = set(figures.values()) | {"1,024", "400 steps"}
    for number in re.findall(r"\d[\d.,]*\d(?: dB| %)?", re.sub(r"`[^`]*`|\d+x\d+", "", short[0])):
        assert any(number in text for text in known), f"{number} is not a figure of {bundle.name}"


# -- where modules went ----------------------------------------------------------------------------


def test_modules_of_the_table_exist():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for top in ("core", "train", "app"):
        section = text.partition(f"Names are relative to `{top}`")[2].partition("\n#")[0]
        rows = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", section, re.MULTILINE)
        assert len(rows) > 30
        for before, now in rows:
            file = ROOT.joinpath(top, *now.split("."))
            assert file.with_suffix(".py").is_file() or (file / "__init__.py").is_file(), now
            assert before != now


def test_floors_of_the_library_are_those_that_a_test_enforces():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## The floors of the library")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", section, re.MULTILINE))
    private = {"core", "core._names"}
    for number, modules in enumerate(FLOORS, start=1):
        named = re.findall(r"`([^`]+)`", rows[str(number)])
        named = {f"core.{name.rstrip('/').removesuffix('.py')}" for name in named}
        assert named == set(modules) - private


def test_names_of_the_table_can_be_imported():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("### Names of the library")[2].partition("\n#")[0]
    now = " ".join(row.split(" | ")[1] for row in section.splitlines() if row.startswith("| `"))
    names = [
        f"{module}.{name.strip()}"
        for module, group in re.findall(r"`(core[\w.]*)\.\{([^}]+)\}`", now)
        for name in group.split(",")
    ]
    names += re.findall(r"`(core\.[\w.]+)`", now)
    assert len(names) > 25
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            importlib.import_module(name)
        except ImportError:
            assert hasattr(importlib.import_module(module), attribute), name


# -- snippets --------------------------------------------------------------------------------------

WITH_PYTHON = [page for page in PAGES if any(s.language == "python" for s in snippets(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The snippets of a page run one after another, as a reader would run them."""
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints", target_is_directory=True)
    Image.radial_gradient("L").resize((72, 56)).convert("RGB").save(tmp_path / "holiday.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for number, snippet in enumerate(s for s in snippets(page) if s.language == "python"):
        code = compile(snippet.text, f"{name_of(page)}, snippet {number}", "exec")
        if snippet.runs:
            exec(code, names)


# -- commands --------------------------------------------------------------------------------------


class Command(NamedTuple):
    page: Path
    words: tuple[str, ...]

    @property
    def script(self) -> str | None:
        """The file of a ``python FILE.py`` command."""
        found = self.words[0] == "python" and len(self.words) > 1 and self.words[1]
        return found if found and found.endswith(".py") else None

    @property
    def flags(self) -> list[str]:
        return [word for word in self.words if word.startswith("--") and len(word) > 2]


@cache
def commands() -> tuple[Command, ...]:
    found = []
    for page in PAGES:
        for snippet in snippets(page):
            if snippet.language != "bash":
                continue
            for line in snippet.text.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    del words[0]  # an environment variable of the command
                if words:
                    found.append(Command(page, tuple(words)))
    return tuple(found)


EXAMPLE_OF = {"RunConfig": "photos-regvq", "PriorRunConfig": "scenes-text-diffusion"}
"""The recipe whose help is read for all of its kind: recipes of a kind have the same flags."""


def help_arguments(command: Command) -> tuple[str, ...]:
    """Return the script of a command, and the recipe or the subcommand that chooses its flags."""
    script, first = command.words[1], command.words[2]
    if script == "train/run.py":
        return (script,) if first == "--help" else (script, EXAMPLE_OF[kind_of(command)])
    return (script, first) if script in ("train/judge.py", "train/study.py") else (script,)


def kind_of(command: Command) -> str:
    recipe = command.words[2]
    return "RunConfig" if recipe == "--recipe" else recipes()[recipe]


@pytest.fixture(scope="module")
def helps() -> dict[tuple[str, ...], str]:
    """The help of every command that a page names, called once each."""
    wanted = {help_arguments(c) for c in commands() if c.script and c.flags}
    wanted |= {("train/run.py", recipe) for recipe in EXAMPLE_OF.values()} | {("train/run.py",)}

    def call(words: tuple[str, ...]) -> str:
        done = fresh.run([*words, "--help"], ROOT, os.environ | {"COLUMNS": "200"})
        assert done.returncode == 0, f"{' '.join(words)} --help: {done.stderr}"
        return done.stdout

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(sorted(wanted), pool.map(call, sorted(wanted)), strict=True))


def flags_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][\w.-]*", text))


@pytest.mark.slow
def test_commands_and_their_flags_exist(helps: dict[tuple[str, ...], str]):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())
    checked = 0
    for command in commands():
        shown = f"{name_of(command.page)}: {' '.join(command.words)}"
        if command.words[0] == "make":
            assert command.words[1] in targets, shown
        for word in command.words:
            if word.endswith(".py") and "/" in word and not word.isupper():
                assert (ROOT / word).is_file(), shown
        if command.script:
            assert (ROOT / command.script).is_file(), shown
            if command.flags:
                known = flags_in(helps[help_arguments(command)]) | {"--help"}
                if command.script == "train/run.py":
                    known |= flags_in(helps["train/run.py",]) & {"--recipe"}
                assert set(command.flags) <= known, shown
                checked += 1
    assert checked > 25


@pytest.mark.slow
def test_flags_named_in_prose_exist(helps: dict[tuple[str, ...], str]):
    known = {"--help"}.union(*map(flags_in, helps.values()))
    sources = [ROOT / "app.py", *(ROOT / "benchmarks").glob("*.py")]
    known |= {f for file in sources for f in re.findall(r'"(--[\w-]+)"', file.read_text("utf-8"))}
    named = {
        (name_of(page), flag)
        for page in PAGES
        for code in re.findall(r"`([^`\n]+)`", prose(page))
        for flag in flags_in(code)
    }
    assert len(named) > 15
    assert not {(page, flag) for page, flag in named if flag not in known}


def test_extras_of_pip_commands_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras, named = project["optional-dependencies"], set()
    for command in commands():
        if command.words[:2] == ("pip", "install"):
            named |= set(",".join(re.findall(r"\[([^\]]+)\]", " ".join(command.words))).split(","))
    table = re.findall(r"^\| `([a-z]+)` \|", (DOCS / "quickstart.md").read_text("utf-8"), re.M)
    assert set(table) == set(extras)
    assert named - {""} <= set(extras)


def test_modules_run_with_python_m_exist():
    for command in commands():
        if command.words[:2] == ("python", "-m"):
            module = command.words[2].split(".")
            if module[0] in ("core", "tests"):
                file = ROOT.joinpath(*module)
                assert file.with_suffix(".py").is_file() or (file / "__main__.py").is_file()


def pages_in_navigation() -> Iterator[str]:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    yield from re.findall(r"^ +- (?:\"[^\"]+\"|[^:]+): (\S+\.md)$", text, re.MULTILINE)


def test_every_page_is_in_the_navigation():
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert pages <= set(pages_in_navigation())
