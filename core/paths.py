"""Folders that the project reads and writes."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent

IN_TREE = _PACKAGE.name == "core" and (_PACKAGE.parent / "pyproject.toml").is_file()
"""True if the library runs from the project's source tree (an editable installation does)."""

ROOT = _PACKAGE.parent if IN_TREE else Path.cwd()
"""The folder of ``checkpoints/`` and ``runs/``: the source tree, or, where the library was
installed, the folder in which the process was started."""


def cache_folder() -> Path:
    """Return the folder for files that can be computed or fetched again. It may not exist yet.

    It is ``$REGVQ_CACHE``, by default ``regvq-studio`` in the user's cache folder
    (``$XDG_CACHE_HOME`` or ``~/.cache``).
    """
    chosen = os.environ.get("REGVQ_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regvq-studio"
