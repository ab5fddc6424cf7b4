"""The place of each code on a map: from its bundle, from the machine's cache, or computed now.

A UMAP takes seconds to minutes and depends on nothing but the codes, so it is computed once per
codebook and machine and kept in the cache folder (``$REGVQ_CACHE``, see ``core.paths``).
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from regvq.paths import cache_folder

from .cache import RecentItems
from .checkpoints import TokenizerHandle
from .errors import UserError
from .scene_counts import Progress

log = logging.getLogger("regvq.app")

METHODS = ("umap", "pca")
NEIGHBORS = (5, 15, 50)
"""The choices of UMAP's ``n_neighbors``."""
STORED_NEIGHBORS = NEIGHBORS[1]
"""The choice whose UMAP a bundle stores."""


class TooFewCodes(UserError):
    """A codebook that is too small for a UMAP."""


_remembered: RecentItems[tuple, np.ndarray] = RecentItems(24)


def layout(
    handle: TokenizerHandle,
    codes: np.ndarray,
    method: str,
    axes: int = 2,
    neighbors: int = STORED_NEIGHBORS,
    progress: Progress | None = None,
) -> np.ndarray:
    """Return places float32 (K, ``axes``) of the ``codes`` (K, D).

    Raises TooFewCodes if there are too few codes for a UMAP.
    """
    from regvq.analysis.embedding import FEWEST, pca_map, umap_map

    key = (handle, method, axes, neighbors)
    found = _remembered.get(key)
    if found is None and method == "pca":
        found = pca_map(codes, axes)
    if found is None:
        found = _stored(handle, codes, axes, neighbors)
    if found is None:
        if len(codes) < FEWEST:
            raise TooFewCodes(f"UMAP needs {FEWEST} codes or more; this codebook has {len(codes)}.")

        def report(share: float, words: str) -> None:
            if progress is not None:
                progress(share, desc=words)

        found = umap_map(codes, axes, neighbors, progress=report)
        _store(_cache_file(codes, axes, neighbors), found)
    _remembered[key] = found
    return found


def has_layout(handle: TokenizerHandle, codes: np.ndarray, axes: int, neighbors: int) -> bool:
    """Return True if that UMAP needs no computation."""
    if (handle, "umap", axes, neighbors) in _remembered:
        return True
    return _stored(handle, codes, axes, neighbors) is not None


def _stored(
    handle: TokenizerHandle, codes: np.ndarray, axes: int, neighbors: int
) -> np.ndarray | None:
    shape = (len(codes), axes)
    if neighbors == STORED_NEIGHBORS:
        own = handle.bundle.atlas.get(f"umap{axes}")
        if own is not None and own.shape == shape:
            return own.astype(np.float32)
    try:
        found: Any = np.load(_cache_file(codes, axes, neighbors), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # missing or incomplete: computed again
    return found if found.shape == shape and found.dtype == np.float32 else None


def _cache_file(codes: np.ndarray, axes: int, neighbors: int) -> Path:
    codes = np.ascontiguousarray(codes, dtype=np.float32)
    digest = hashlib.sha256(f"{codes.shape}".encode() + codes.tobytes()).hexdigest()[:32]
    return cache_folder() / "maps" / f"{digest}-umap{axes}-{neighbors}.npy"


def _store(path: Path, places: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".new", delete=False) as file:
            np.save(file, places, allow_pickle=False)
        os.replace(file.name, path)
    except OSError as error:  # a Space may have no writable folder: computed again next time
        log.warning("The map could not be stored in %s: %s", path.parent, error)
