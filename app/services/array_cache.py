"""Arrays in the cache folder: written completely or not at all, and missing if they do not fit."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import numpy as np

log = logging.getLogger("regvq.app")


def load_array(path: Path, shape: tuple[int, ...], kind: type) -> np.ndarray | None:
    """Return the array in ``path``; None if it is missing, damaged or of another shape or type."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = isinstance(found, np.ndarray) and found.shape == shape and found.dtype == kind
    return found if fits else None


def store_array(path: Path, array: np.ndarray) -> None:
    """Write an array to ``path``; where nothing can be written, it is computed again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".new", delete=False) as file:
            np.save(file, array, allow_pickle=False)
        os.replace(file.name, path)
    except OSError as error:  # a Space may have no writable folder
        log.warning("%s could not be stored in %s: %s", path.name, path.parent, error)
