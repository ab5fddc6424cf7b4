"""Mistakes in the commands of train/study.py."""

from __future__ import annotations

import pytest

from tests.train.equal_budget.conftest import run_study


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--only", "vqgam"], "vqgam"),
        (["--jobs", "-1"], "--jobs"),
        (["--study.steps", "0"], "steps must be at least 1"),
        (["--study.root", "gone"], "--study.root: gone does not exist"),
        (["--study.weights", "gone.npz"], "--study.weights: gone.npz does not exist"),
    ],
)
def test_mistakes_get_one_line(tmp_path, words, named, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "weights.npz").touch()
    with pytest.raises(SystemExit) as stop:
        run_study(tmp_path, "run", *words)
    assert stop.value.code == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and named in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_downstream_needs_a_trained_tokenizer(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run_study(tmp_path, "downstream", "--only", "simvq-16k")
    assert stop.value.code == 2 and "study.py run --only simvq-16k" in capsys.readouterr().err
