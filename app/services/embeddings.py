"""The place of each code on a map: from its bundle, from the machine's cache, or computed now.

A UMAP takes seconds to minutes and depends on nothing but the codes, so it is computed once per
codebook and machine and kept in the cache folder (``$REGVQ_CACHE``, see ``core.paths``).
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np

from regvq.paths import cache_folder

from .array_cache import load_array, store_array
from .cache import RecentItems
from .checkpoints import TokenizerHandle
from .code_stats import atlas
from .errors import UserError
from .scene_counts import Progress

METHODS = ("umap", "pca")
NEIGHBORS = (5, 15, 50)
"""The choices of UMAP's ``n_neighbors``."""
STORED_NEIGHBORS = NEIGHBORS[1]
"""The choice whose UMAP a bundle stores."""


class TooFewCodes(UserError):
    """A codebook that is too small for a UMAP."""


_remembered: RecentItems[tuple, np.ndarray] = RecentItems(24)
_computing = threading.Lock()


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

        if _computing.locked():
            report(0.0, "Waiting for another map")
        with _computing:
            found = _stored(handle, codes, axes, neighbors)  # by the one that was waited for
            if found is None:
                used = atlas(handle).counts
                found = umap_map(codes, axes, neighbors, uses=used, progress=report)
                store_array(_cache_file(codes, axes, neighbors), found)
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
    return load_array(_cache_file(codes, axes, neighbors), shape, np.float32)


def _cache_file(codes: np.ndarray, axes: int, neighbors: int) -> Path:
    codes = np.ascontiguousarray(codes, dtype=np.float32)
    digest = hashlib.sha256(f"{codes.shape}".encode() + codes.tobytes()).hexdigest()[:32]
    return cache_folder() / "maps" / f"{digest}-umap{axes}-{neighbors}.npy"
