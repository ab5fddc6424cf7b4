"""The state of a run as functions: what is saved is loaded, and what an earlier version saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from core.bundles.replacement import NEW, OLD, beside
from core.bundles.storage import write_json
from train.loop.state import NUMBERS, has_state, load_state, repair_state, save_state

NUMBERS_OF_RUN = {"step": 3, "fixed": {"features": "none"}}


def parts() -> dict[str, nn.Linear]:
    return {"network": nn.Linear(2, 3)}


def test_numbers_and_tensors_of_a_state_are_those_saved(tmp_path: Path) -> None:
    saved, loaded, further = parts(), parts(), {}
    counts = torch.arange(12).view(3, 4).T  # not contiguous
    save_state(tmp_path / "state", saved, NUMBERS_OF_RUN, {"usage/per_step": counts})
    assert load_state(tmp_path / "state", loaded, further) == NUMBERS_OF_RUN
    assert torch.equal(loaded["network"].weight, saved["network"].weight)
    assert list(further) == ["usage/per_step"] and torch.equal(further["usage/per_step"], counts)
    save_state(tmp_path / "state", saved, {"step": 4})  # in the place of the first
    further.clear()
    assert load_state(tmp_path / "state", loaded, further) == {"step": 4} and further == {}
    assert load_state(tmp_path / "none", loaded) is None


def test_a_state_without_checksums_is_loaded_and_said_to_be_unchecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_state(tmp_path / "state", parts(), NUMBERS_OF_RUN)
    load_state(tmp_path / "state", parts())
    assert capsys.readouterr().out == ""
    write_json(tmp_path / "state" / NUMBERS, NUMBERS_OF_RUN)
    assert load_state(tmp_path / "state", parts()) == NUMBERS_OF_RUN
    assert capsys.readouterr().out == (
        f"The state in {tmp_path / 'state'} is older than checksums: it is not checked for damage."
        "\n"
    )


def test_an_interrupted_save_is_undone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    save_state(folder, parts(), NUMBERS_OF_RUN)
    folder.rename(beside(folder, OLD))
    beside(folder, NEW).mkdir()
    assert has_state(folder) and not folder.exists()
    repair_state(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert load_state(folder, parts()) == NUMBERS_OF_RUN
