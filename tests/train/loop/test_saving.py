"""The sentence of a file that cannot be written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from core.errors import CheckpointError
from train.loop import saving
from train.loop.saving import LEFT, RECORD, SaveError, prepare_folder, save_errors


class Silent(OSError):
    """An error without any words."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "a.new", None, "a"),
         "a cannot be written at step 7 (No space left on device); "),
        (OSError(28, "No space left on device", "a.new"),
         "a.new cannot be written at step 7 (No space left on device); "),
        (OSError(13, "Permission denied", b"caf\xc3\xa9"),
         "café cannot be written at step 7 (Permission denied); "),
        (OSError("odd\n  words"), "runs/x cannot be written at step 7 (odd words); "),
        (Silent(), "runs/x cannot be written at step 7 (Silent); "),
    ],
)  # fmt: skip
def test_file_step_and_reason_are_named(error: OSError, words: str) -> None:
    run = SimpleNamespace(saved=None, state_folder=Path("runs/x/state"))
    with pytest.raises(SaveError) as caught, save_errors(run, 7):
        raise error
    assert str(caught.value) == (
        f"{words}no state was saved so far. Make room or give write access, and resume with the "
        "same command."
    )


@pytest.mark.parametrize("saved", [0, 5])
def test_the_last_whole_state_is_named(saved: int) -> None:
    run = SimpleNamespace(saved=saved, state_folder=Path("runs/x/state"))
    with pytest.raises(SaveError) as caught, save_errors(run, 7):
        raise OSError(28, "No space left on device", "a")
    assert f"; the last whole state is that of step {saved}, in runs/x/state. M" in str(
        caught.value
    )


def test_other_errors_pass() -> None:
    run = SimpleNamespace(saved=None, state_folder=Path("state"))
    with pytest.raises(ValueError, match="not of a file"), save_errors(run, 7):
        raise ValueError("not of a file")
    with save_errors(run, 7):
        pass


def test_what_an_interrupted_save_has_left_is_finished(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    for name in LEFT:
        (tmp_path / name).write_text("half")
    repaired: list[Path] = []
    checked: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "repair", repaired.append)
        patch.setattr(saving, "check_replaceable", checked.append)
        prepare_folder(tmp_path)
    assert repaired == [tmp_path / name for name in ("bundle", "best", "state")]
    assert checked == [tmp_path / "bundle", tmp_path / "best"]
    assert not any((tmp_path / name).exists() for name in LEFT)


@pytest.mark.parametrize("name", RECORD)
def test_files_that_no_run_wrote_are_named(name: str, tmp_path: Path) -> None:
    if "." in name:
        (tmp_path / name).write_text("of somebody else")
    else:
        (tmp_path / name).mkdir()
        if name != "state":
            prepare_folder(tmp_path)  # an empty folder is nobody's
        (tmp_path / name / "file").write_text("of somebody else")
    if name == "state":  # only a run has one, although its run.json may be lost
        prepare_folder(tmp_path)
        return
    with pytest.raises(CheckpointError, match=rf"holds {name}, but no run.json"):
        prepare_folder(tmp_path)
