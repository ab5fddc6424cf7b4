"""The mutation tool itself: which changes it makes, and that tests meet them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.paths import ROOT

from .choice import chosen
from .coverage import Covered
from .operators import Mutant, mutants_of


def test_every_kind_of_change_is_made_once():
    source = "def f(x, y):\n    x.detach_()\n    return x.mean() if x < 2 else not y * 0.5\n"
    assert {mutant.change for mutant in mutants_of(source)} == {
        "f: x.detach_() -> (left out)",
        "f: x < 2 -> x <= 2",
        "f: 2 -> 3",
        "f: 0.5 -> 1.0",
        "f: y * 0.5 -> y / 0.5",
        "f: not y * 0.5 -> y * 0.5",
        "f: x.mean() -> x.sum()",
        "f: x.mean() if x < 2 else not y * 0.5 -> not y * 0.5 if x < 2 else x.mean()",
    }


def test_a_sample_is_that_of_its_seed():
    source = (ROOT / "core/losses/contrastive.py").read_text(encoding="utf-8")
    few = [mutant.change for mutant in mutants_of(source, 5, seed=1)]
    assert few == [mutant.change for mutant in mutants_of(source, 5, seed=1)] and len(few) == 5
    assert few != [mutant.change for mutant in mutants_of(source, 5, seed=2)]
    assert set(few) < {mutant.change for mutant in mutants_of(source)}


def test_a_change_outside_of_functions_is_one_at_import():
    at_import = {m.change: m.at_import for m in mutants_of("LIMIT = 3\ndef f():\n    return 4\n")}
    assert at_import == {"module: 3 -> 4": True, "f: 4 -> 5": False}


def test_a_process_imports_the_changed_module_under_each_of_its_names(tmp_path: Path):
    file = ROOT / "core" / "losses" / "adversarial.py"
    changed = tmp_path / "changed.py"
    changed.write_text("LIMIT = 'changed'\n", encoding="utf-8")
    code = """
import importlib, regvq
print([getattr(importlib.import_module(name), "LIMIT", None)
       for name in ("core.losses.adversarial", "regvq.losses.adversarial", "core.losses")])
"""
    for where, expected in ((file, ["changed", "changed", None]), (tmp_path / "adversarial.py",
                            [None] * 3)):  # fmt: skip
        words = "core.losses.adversarial", str(where), str(changed)
        environment = os.environ | {
            "REGVQ_MUTANT": os.pathsep.join(words),
            "PYTHONPATH": str(ROOT / "tests" / "mutants" / "startup"),
        }
        words = [sys.executable, "-c", code]
        said = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert said.stdout.strip() == str(expected), said.stderr


@pytest.mark.slow
def test_the_command_tells_noticed_changes_from_survivors(tmp_path: Path):
    """Of two files with the tests of one: its changes are noticed, those of the other are not."""
    files = ("core/losses/adversarial.py", "core/losses/perceptual.py")
    own = ("--tests", "tests/core/losses/test_adversarial.py", "--sample", "2")

    def said() -> str:
        words = [sys.executable, "-m", "tests.mutants", *files, *own, "--jobs", "1"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        words += ["--keep", str(tmp_path)]
        ran = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    first = said()
    found = json.loads((tmp_path / ".mutants.json").read_text(encoding="utf-8")).values()
    assert [one["noticed"] for one in found if one["file"] == files[0]] == [True] * 2, first
    assert [one["noticed"] for one in found if one["file"] == files[1]] == [False] * 2, first
    again = said()
    assert "noticed " not in again.split("module")[0]  # the results are kept
    assert again.splitlines()[-1].split()[:4] == ["all", "2", "4", "50%"]


def test_a_change_at_import_meets_all_tests_of_the_mirrored_file():
    """A test that compares a table with the paper's runs no line of the module."""
    table = Covered({"tests/x/test_a.py::table": 0.1}, {"tests/x/test_a.py::table": {}})
    other = Covered({"tests/x/test_b.py::other": 0.1}, {"tests/x/test_b.py::other": {}})
    covered = {"tests/x/test_a.py": table, "tests/x/test_b.py": other}
    for at_import, tests in ((True, ("tests/x/test_a.py::table",)), (False, ())):
        mutant = Mutant(1, "", "", range(1, 2), at_import)
        assert chosen("core/x/a.py", mutant, covered, 20.0).tests == tests
