"""Data sets of which a command needs the pictures alone."""

from __future__ import annotations

from pathlib import Path


def name_for_pictures(name: str, root: Path | None) -> str:
    """Return the name under which to open a data set of which only the pictures are needed.

    It is ``name``, or "folder" if ``root`` is a plain folder of pictures, which is then printed.
    """
    from regvq.data import fitting_name

    fitting = fitting_name(name, root)
    if fitting != name:
        print(f"{root} is not laid out as {name!r}: it is read as a plain folder of pictures")
    return fitting
