"""Facts about a checkpoint's codes: from its bundle, or computed here once and cached."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .cache import RecentItems
from .checkpoints import TokenizerHandle
from .code_atlas import AT_ONCE, CodeAtlas
from .encoding import PageFile, pack, png
from .painting import PAINTER
from .scene_counts import Progress, class_counts
from .token_pictures import tile_sheet

log = logging.getLogger("regvq.app")

UNUSED = 90
"""Gray level of a code without a value on the color scale."""

SHEET = 2**20
"""Pixels up to which the tiles of all codes are sent to a page in one picture."""


_atlases: RecentItems[TokenizerHandle, CodeAtlas] = RecentItems(6)
_opening = threading.Lock()


def atlas(handle: TokenizerHandle) -> CodeAtlas:
    """Return what is known of the checkpoint's codes; the rest follows in quiet moments."""
    _ = handle.tokenizer  # loading it may take seconds, in which others need not wait
    with _opening:
        found = _atlases.touch(handle)
        if found is None:
            found = _atlases[handle] = CodeAtlas(handle)
    PAINTER.want(found)
    return found


def code_sheet(handle: TokenizerHandle) -> PageFile | None:
    """Return the tiles that all codes decode to, side by side in one picture file; None for a large
    codebook, of which a page asks for the tiles that it shows, and before all are painted."""
    known = atlas(handle)
    if known.size * known.patch**2 > SHEET:
        return None
    if not known.complete and known.size <= AT_ONCE:
        known.look([0])
    return _sheet(handle) if known.complete else None


@lru_cache(maxsize=6)
def _sheet(handle: TokenizerHandle) -> PageFile:
    return PageFile(png(tile_sheet(atlas(handle).tiles)), "codes")


def tiles_view(
    handle: TokenizerHandle, codes: Any, seconds: float | None = 0.0
) -> dict[str, Any] | None:
    """Return the tiles of some codes (without repetition) for a page: those that are painted, after
    up to ``seconds`` of painting more (None: all of them). None without any."""
    known = atlas(handle)
    codes = np.unique(np.asarray(codes, dtype=np.int64))
    known.look(codes, seconds)
    codes = codes[known.painted[codes]]
    if not len(codes):
        return None
    return {
        "of": pack(codes, "<u4"),
        "sheet": PageFile(png(tile_sheet(known.tiles[codes])), "tiles"),
    }


@lru_cache(maxsize=6)
def codebook(handle: TokenizerHandle) -> np.ndarray:
    """Return the codes' vectors, float32 (K, D)."""
    return handle.tokenizer.quantizer.codebook().detach().cpu().numpy()


@lru_cache(maxsize=6)
def norms(handle: TokenizerHandle) -> np.ndarray:
    """Return the length of each code's vector, float32 (K,)."""
    return np.linalg.norm(codebook(handle), axis=1)


# ---------------------------------------------------------------- real patches


@dataclass(frozen=True)
class Patches:
    """The pieces of real pictures that each code encodes, as a bundle stores them."""

    tiles: np.ndarray
    """uint8 (n, s, s, 3), ordered by code"""
    starts: np.ndarray
    """int64 (K + 1,): index in ``tiles`` of each code's first patch"""
    sheet: bytes
    """The same tiles as one WebP picture."""
    cells: int
    """Width of a patch in tokens: the code's own token in the middle, its surroundings around."""
    source: str
    pictures: int

    def of(self, code: int) -> np.ndarray:
        """Return a code's patches, uint8 (m, s, s, 3)."""
        return self.tiles[self.starts[code] : self.starts[code + 1]]


@lru_cache(maxsize=6)
def patches(handle: TokenizerHandle) -> Patches | None:
    """Return a bundle's real patches; None if it has none (old bundles) or they are unreadable."""
    from regvq.analysis.real_patches import unpack_patches

    known = handle.bundle.atlas
    try:
        found = unpack_patches(known)
    except ValueError as error:
        log.warning("%s: %s", handle.name, error)
        return None
    if found is None or len(found[1]) != handle.tokenizer.codebook_size + 1:
        return None
    return Patches(
        *found,
        sheet=known["patches"].tobytes(),
        cells=2 * int(known["patches_context"]) + 1,
        source=str(known["patches_source"]),
        pictures=int(known["patches_pictures"]),
    )


# ---------------------------------------------------------------- colors


def dominant_classes(
    handle: TokenizerHandle, progress: Progress | None = None
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return the class that each code covers most, int64 (K,), -1 for none; the names of the
    classes; and their colors uint8 (C, 3)."""
    from regvq.analysis.rendering import number_colors

    counts, names = class_counts(handle, progress)
    most = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    return most, list(names), number_colors(len(names))
