"""Runs and evaluations that need pictures alone, from whatever folder holds some."""

from __future__ import annotations

from pathlib import Path


def name_for_pictures(name: str, root: Path | None) -> str:
    """Under which name to open a data set of which only pictures are needed.

    That is ``name``, or "folder", which is then said, where ``root`` is a plain folder of pictures.
    """
    from regvq.data import fitting_name

    fitting = fitting_name(name, root)
    if fitting != name:
        print(f"{root} is not laid out as {name!r}: it is read as a plain folder of pictures")
    return fitting
