"""run.json: what must be equal when a run is resumed, and what may have moved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import CheckpointError
from tests.train.loop.test_tokenizer import config, pictures
from train.loop.settings import _differences, recorded_processes, remember_settings

__all__ = ["pictures"]


def test_the_folder_is_made_with_those_above(tmp_path: Path, pictures: Path) -> None:
    out = tmp_path / "a" / "b" / "run"
    remember_settings(config(pictures), out, processes=3)
    assert recorded_processes(out) == 3


@pytest.mark.parametrize("said", [0, -1, "2", None, 1.5])
def test_a_number_of_processes_that_cannot_be_is_none(tmp_path: Path, pictures: Path, said) -> None:
    remember_settings(config(pictures), tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"processes": said}))
    assert recorded_processes(tmp_path / "run") is None


def test_files_may_move_but_not_change_their_names(tmp_path: Path, pictures: Path) -> None:
    run = config(pictures)

    def weights(file: str | None):
        path = None if file is None else Path(file)
        return replace(run, features=replace(run.features, weights=path))

    remember_settings(weights("/old/alex.safetensors"), tmp_path / "run")
    remember_settings(weights("/new/place/alex.safetensors"), tmp_path / "run")
    for other in ("/old/vgg.safetensors", None):
        with pytest.raises(CheckpointError, match=r"run with another features\.weights;"):
            remember_settings(weights(other), tmp_path / "run")
    remember_settings(weights(None), tmp_path / "none")
    remember_settings(weights(None), tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"run with another features\.weights;"):
        remember_settings(weights("/old/alex.safetensors"), tmp_path / "none")


def test_settings_that_differ_are_named(tmp_path: Path, pictures: Path) -> None:
    run = config(pictures)
    remember_settings(run, tmp_path / "run")
    changed = replace(run, batch=run.batch + 1, loss=replace(run.loss, adversarial=0.7))
    with pytest.raises(CheckpointError, match=r"run with another batch, loss\.adversarial; choose"):
        remember_settings(changed, tmp_path / "run")


def test_differences_of_nested_and_missing_settings() -> None:
    before = {"a": {"b": 1, "c": 2}, "d": None, "e": {"f": 1}}
    now = {"a": {"b": 1, "c": 3}, "d": {"g": 1}, "e": None, "h": 4}
    assert _differences(before, now) == {
        "a.c": (2, 3),
        "d": (None, {"g": 1}),
        "e": ({"f": 1}, None),
        "h": (None, 4),
    }
    assert _differences(before, before) == {}
