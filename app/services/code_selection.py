"""Selections of codes: a polygon's codes, and the page of a selection's tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .checkpoints import TokenizerHandle, open_tokenizer
from .code_stats import atlas, patches
from .encoding import PageFile, pack, png
from .token_pictures import tile_sheet
from .validation import whole_number

SHOWN = 240
"""Codes on a page of a selection."""
PATCHES = 480
"""Real patches on a page."""
PATIENCE = 0.4
"""Seconds in which the missing tiles of a page are painted."""
NO_PATCHES = "This checkpoint stores no patches; python train/patches.py adds them."
NOTHING: dict[str, Any] = {"total": 0}
"""The view of no selection."""


@dataclass(frozen=True)
class Selection:
    """The codes of a checkpoint that a user has selected, the most used first."""

    checkpoint: str
    codes: np.ndarray
    """int64 (n,)"""


def select(
    checkpoint: Any, codes: np.ndarray, counts: np.ndarray | None = None
) -> Selection | None:
    """Return the selection of some codes, the most used first; None of none. Raises UserError.

    counts: int (K,), the uses; by default those of the checkpoint's own count.
    """
    handle = open_tokenizer(checkpoint)
    if not len(codes):
        return None
    counts = atlas(handle).counts if counts is None else counts
    return Selection(handle.name, codes[np.argsort(-counts[codes], kind="stable")])


def codes_of(selection: Any, checkpoint: Any) -> np.ndarray | None:
    """Return the selected codes of a checkpoint; None for another checkpoint's selection."""
    if isinstance(selection, Selection) and selection.checkpoint == checkpoint:
        return selection.codes
    return None


def group_view(checkpoint: Any, selection: Any, page: Any = 0, view: Any = "tiles") -> Any:
    """Return what the page draws of a selection: one page of tiles or of real patches."""
    codes = codes_of(selection, checkpoint)
    if codes is None:
        return NOTHING
    handle = open_tokenizer(checkpoint)
    counts = atlas(handle).counts
    uses, dead = int(counts[codes].sum()), int((counts[codes] == 0).sum())
    share = f"{100 * uses / max(1, int(counts.sum())):.2g} % of all tokens"
    found: dict[str, Any] = {
        "total": len(codes),
        "share": share + (f", {dead:,} dead" if dead else ""),
        "view": "real" if view == "real" else "tiles",
        "note": "",
    }
    part = _real(handle, codes, found) if view == "real" else codes
    pages = max(1, -(-len(part) // SHOWN))
    page = whole_number(page, "page", 0, pages - 1)
    shown = part[page * SHOWN : (page + 1) * SHOWN]
    tiles, number = _tiles(handle, shown, view)
    if page == 0:
        found["list"] = {"codes": pack(codes, "<u4"), "uses": pack(counts[codes], "<f8")}
    columns = int(np.ceil(np.sqrt(max(1, len(tiles)))))
    return {
        **found,
        "page": page,
        "pages": pages,
        "first": page * SHOWN,
        "of": len(part),
        "codes": shown.tolist(),
        "uses": counts[shown].tolist(),
        "counts": number.tolist(),
        "sheet": PageFile(png(tile_sheet(tiles)), "selection") if len(tiles) else None,
        "columns": columns,
        "rows": columns,
    }


def _real(handle: TokenizerHandle, codes: np.ndarray, found: dict[str, Any]) -> np.ndarray:
    """Return the codes that have real patches, and put the note on them in ``found``."""
    real = patches(handle)
    if real is None:
        found["note"] = NO_PATCHES
        return codes[:0]
    having = codes[np.diff(real.starts)[codes] > 0]
    without = len(codes) - len(having)
    found["note"] = f"From {real.pictures:,} {real.source}" + (
        f"; {without:,} {'code does' if without == 1 else 'codes do'} not occur in them."
        if without
        else "."
    )
    return having


def _tiles(handle: TokenizerHandle, codes: np.ndarray, view: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the tiles of a page, uint8 (n, s, s, 3), and the number of them per code."""
    if view != "real":
        return atlas(handle).look(codes, PATIENCE), np.ones(len(codes), np.int64)
    real = patches(handle)
    if real is None or not len(codes):
        return np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64)
    # As many per code as fit, so that a small selection shows more of each of its codes.
    most = int(np.clip(PATCHES // len(codes), 1, 6))
    number = np.minimum(np.diff(real.starts)[codes], most)
    tiles = [real.of(int(code))[:count] for code, count in zip(codes, number, strict=True)]
    return np.concatenate(tiles), number
