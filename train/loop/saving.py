"""Errors of saving, and the folder that a run may write to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from regvq.bundles.replacement import remove, repair
from regvq.bundles.storage import check_replaceable
from regvq.errors import CheckpointError

RECORD = ("bundle", "best", "state", "samples", "tensorboard", "log.jsonl", "history.npz")
"""The files and folders of a run, beside its ``run.json``."""
LEFT = ("run.json.new", "log.jsonl.new", "history.npz.new", "history.new.npz")
"""Files that a run leaves if it is killed while it replaces one."""


class SaveError(RuntimeError):
    """A file that cannot be written; states the file, the step and the last whole state."""


class Saving(Protocol):
    """A run, as far as its saves concern."""

    saved: int | None

    @property
    def state_folder(self) -> Path: ...


@contextmanager
def save_errors(run: Saving, step: int) -> Iterator[None]:
    """Turn an OSError inside into SaveError: one sentence with the remedy."""
    try:
        yield
    except OSError as error:
        file = error.filename2 or error.filename or run.state_folder.parent
        reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
        kept = "no state was saved so far"
        if run.saved is not None:
            kept = f"the last whole state is that of step {run.saved}, in {run.state_folder}"
        raise SaveError(
            f"{os.fsdecode(file)} cannot be written at step {step} ({reason}); {kept}. Make room "
            "or give write access, and resume with the same command."
        ) from None


def prepare_folder(out: Path) -> None:
    """Finish what an interrupted save has left in the run folder ``out``.

    Only the process that holds the lock of ``out`` may call this. Raises CheckpointError if the
    folder holds files of a run's names that no run has written.
    """
    if not (out / "run.json").exists() and not (out / "state").exists():
        foreign = [name for name in RECORD if _has_content(out / name)]
        if foreign:
            raise CheckpointError(
                f"{out} holds {', '.join(foreign)}, but no run.json: no run of this program wrote "
                "that; choose another --out."
            )
    for name in ("bundle", "best", "state"):
        repair(out / name)
    check_replaceable(out / "bundle")
    check_replaceable(out / "best")
    for name in LEFT:
        remove(out / name)


def _has_content(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))
