"""Telling a plain folder of pictures from a data set's own layout, whole or in part."""

from __future__ import annotations

import os
from pathlib import Path

from ..images import SUFFIXES


def fitting_name(name: str, root: str | Path | None) -> str:
    """Under which name to open `root` where only pictures are needed: `name`, or "folder".

    "folder" if the root holds pictures and not the least trace (`Items.markers`) of the layout in
    which the data set `name` is published. One trace is enough for `name`: what was extracted in
    part is to be refused, and not to be taken for something else.
    """
    from .published import PUBLISHED

    if root is None or name not in PUBLISHED or not os.path.isdir(root):
        return name
    for marker in PUBLISHED[name].markers:
        if next(Path(root).glob(marker), None) is not None:
            return name
    return "folder" if _holds_pictures(Path(root)) else name


def _holds_pictures(root: Path) -> bool:
    return any(
        Path(file).suffix.lower() in SUFFIXES for _, _, files in os.walk(root) for file in files
    )
