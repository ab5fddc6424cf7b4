"""Where each code lies on a map: from its bundle, from the owner's cache, or laid out now.

A UMAP takes seconds to minutes and depends on nothing but the codes: so it is made once a codebook
on a machine, and kept in ``$REGVQ_CACHE`` (or ``regvq-studio`` in the user's cache folder).
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from ..ui.errors import Refused
from .checkpoints import Model

log = logging.getLogger("regvq.app")

METHODS = ("umap", "pca")
NEIGHBOURS = (5, 15, 50)
"""How many neighbours a UMAP can hold on to; the middle one is what a bundle brings along."""

_remembered: OrderedDict[tuple, np.ndarray] = OrderedDict()


def layout(
    which: Model,
    codes: np.ndarray,
    method: str,
    axes: int = 2,
    neighbours: int = NEIGHBOURS[1],
    progress: Any = None,
) -> np.ndarray:
    """Places float32 (K, ``axes``) of the ``codes`` (K, D). Raises Refused for too few codes."""
    from regvq.analysis.embedding import FEWEST, pca_map, umap_map

    key = (which, method, axes, neighbours)
    found = _remembered.get(key)
    if found is None and method == "pca":
        found = pca_map(codes, axes)
    if found is None:
        found = _known(which, codes, axes, neighbours)
    if found is None:
        if len(codes) < FEWEST:
            raise Refused(f"UMAP needs {FEWEST} codes or more; this codebook has {len(codes)}.")

        def tell(share: float, words: str) -> None:
            if progress is not None:
                progress(share, desc=words)

        found = umap_map(codes, axes, neighbours, progress=tell)
        _keep(_file(codes, axes, neighbours), found)
    _remembered[key] = found
    while len(_remembered) > 24:
        _remembered.popitem(last=False)
    return found


def has_layout(which: Model, codes: np.ndarray, axes: int, neighbours: int) -> bool:
    """Whether that UMAP need not be laid out anew."""
    if (which, "umap", axes, neighbours) in _remembered:
        return True
    return _known(which, codes, axes, neighbours) is not None


def _known(which: Model, codes: np.ndarray, axes: int, neighbours: int) -> np.ndarray | None:
    shape = (len(codes), axes)
    if neighbours == NEIGHBOURS[1]:
        own = which.bundle.atlas.get(f"umap{axes}")
        if own is not None and own.shape == shape:
            return own.astype(np.float32)
    try:
        found = np.load(_file(codes, axes, neighbours), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None  # not there, or not whole: it is made again
    return found if found.shape == shape and found.dtype == np.float32 else None


def cache_folder() -> Path:
    """Where maps are kept on this machine; the owner's choice."""
    chosen = os.environ.get("REGVQ_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regvq-studio"


def _file(codes: np.ndarray, axes: int, neighbours: int) -> Path:
    codes = np.ascontiguousarray(codes, dtype=np.float32)
    digest = hashlib.sha256(f"{codes.shape}".encode() + codes.tobytes()).hexdigest()[:32]
    return cache_folder() / "maps" / f"{digest}-umap{axes}-{neighbours}.npy"


def _keep(path: Path, places: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".new", delete=False) as file:
            np.save(file, places, allow_pickle=False)
        os.replace(file.name, path)
    except OSError as error:  # a Space may have no place to write: then it is made again next time
        log.warning("The map could not be kept in %s: %s", path.parent, error)
