"""Starting a study's runs: what is finished, claimed or of another study."""

from __future__ import annotations

import subprocess
import sys

import pytest

from core.paths import ROOT
from tests.train.equal_budget.conftest import MADE, run_study
from train.equal_budget import scheduler


def test_finished_runs_are_not_repeated(made, place, monkeypatch, capsys):
    def never(*_: object) -> None:
        raise AssertionError("the run was repeated")

    monkeypatch.setattr(scheduler, "_execute", never)
    run_study(place, "run", "--jobs", "0", "--only", *MADE)
    with pytest.raises(AssertionError, match="was repeated"):
        run_study(place, "run", "--jobs", "0", "--only", "fsq")
    capsys.readouterr()
    run_study(place, "run", "--list", "--group", "main")
    lines_ = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines_ if line.startswith("done")] == list(MADE)


def test_another_study_in_the_same_folder_is_refused(made, place, capsys):
    with pytest.raises(SystemExit) as stop:
        run_study(place, "run", "--jobs", "0", "--only", "vqgan", "--study.steps", "3")
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and "another budget" in said and len(said.splitlines()) == 1


def test_a_run_is_claimed_by_one_process(tmp_path):
    folder = tmp_path / "run"
    with scheduler.claimed(folder) as first:
        assert first
        with scheduler.claimed(folder) as second:
            assert not second
    with scheduler.claimed(folder) as again:
        assert again
    with scheduler.claimed(folder) as first:
        (folder / "claim").write_text("")  # however the file looks
        with scheduler.claimed(folder) as second:
            assert first and not second


def test_the_claim_of_a_process_that_was_killed_is_free(tmp_path):
    code = (
        "import sys, time, pathlib; from train.equal_budget.scheduler import claimed\n"
        "with claimed(pathlib.Path(sys.argv[1])) as ours: print(ours, flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline().strip() == "True"
        with scheduler.claimed(tmp_path / "run") as ours:
            assert not ours
        other.kill()
    with scheduler.claimed(tmp_path / "run") as ours:
        assert ours
