"""Data sets for commands that need only pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def name_for_pictures(name: str, root: Path | None) -> str:
    """Return the name under which to open a data set if only its pictures are needed.

    It is ``name``, or "folder" if ``root`` is a plain folder of pictures; this is then printed.
    """
    from regvq.data import fitting_name

    fitting = fitting_name(name, root)
    if fitting != name:
        print(f"{root} is not laid out as {name!r}: it is read as a plain folder of pictures")
    return fitting


def data_lines(trainer: Any) -> list[str]:
    """Return a line on each data set that a run trains on or is measured on."""
    from regvq.data.contents import summary

    shards = getattr(trainer, "shards", None)
    train = shards.summary() if shards is not None else summary(trainer.data, "train")
    return [f"training on {train}", f"held out: {summary(trainer.held_out, 'test')}"]
