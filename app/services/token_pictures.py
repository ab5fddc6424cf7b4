"""Pictures of tokens and codes: grids, sheets of tiles, heat maps, highlights."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

ERROR_TOP = 0.25
"""The error that is drawn brightest, on the range [0, 1] of a color channel."""
FLOOR = 0.16
"""Position on the color scale of a code that is used once: clearly above the dark background."""


def enlarge_grid(grid: np.ndarray, f: int, size: tuple[int, int]) -> np.ndarray:
    """Return a token grid (h, w, …) enlarged f times without smoothing, cropped to ``size``
    (width, height)."""
    return grid.repeat(f, axis=0).repeat(f, axis=1)[: size[1], : size[0]]


def enlarge_tile(tile: np.ndarray, side: int = 128) -> Image.Image:
    """Return a code's tile uint8 (f, f, 3) without smoothing, about ``side`` pixels wide."""
    f = max(1, side // tile.shape[0])
    return Image.fromarray(tile.repeat(f, axis=0).repeat(f, axis=1))


def highlight_tokens(picture: Image.Image, where: np.ndarray, f: int) -> Image.Image:
    """Return ``picture`` dimmed, except for the tokens ``where`` bool (h, w), which are framed."""
    pixels = np.asarray(picture).astype(np.float32)
    gray = pixels.mean(axis=-1, keepdims=True)
    dimmed = 0.30 * (0.45 * pixels + 0.55 * gray) + 12
    lit = enlarge_grid(where, f, picture.size)
    frame = _dilate(lit, max(1, f // 8)) & ~lit
    shown = np.where(lit[..., None], pixels, dimmed)
    shown[frame] = (255, 196, 92)
    return Image.fromarray(np.rint(shown).astype(np.uint8))


def _dilate(mask: np.ndarray, by: int) -> np.ndarray:
    padded = np.pad(mask, by)
    height, width = mask.shape
    grown = np.zeros_like(mask)
    for down in range(2 * by + 1):
        for right in range(2 * by + 1):
            grown |= padded[down : down + height, right : right + width]
    return grown


def heat_levels(counts: np.ndarray) -> np.ndarray:
    """Return counts (K,) on a log scale in [0, 1]: 0 for none, 1 for the most used code."""
    return np.log1p(counts) / max(math.log1p(float(counts.max(initial=0))), 1e-9)


def heat_picture(counts: np.ndarray, cell: int | None = None) -> Image.Image:
    """Return counts (K,) as a square heat map by code number; dead codes are crossed out.

    ``cell`` is the side of a code's cell in pixels; by default the picture has about 1024.
    """
    from regvq.analysis.rendering import ramp

    side = math.ceil(math.sqrt(len(counts)))
    cell = cell or max(3, min(24, 1024 // side))
    tiles = np.full((side * side, cell, cell, 3), (20, 23, 28), np.uint8)
    tiles[: len(counts), : cell - 1, : cell - 1] = ramp(FLOOR + (1 - FLOOR) * heat_levels(counts))[
        :, None, None
    ]
    cross = np.eye(cell - 1, dtype=bool)
    cross |= cross[::-1]
    mark = np.where(cross[..., None], (96, 104, 116), (20, 23, 28)).astype(np.uint8)
    tiles[: len(counts)][counts == 0, : cell - 1, : cell - 1] = mark
    grid = tiles.reshape(side, side, cell, cell, 3).swapaxes(1, 2)
    return Image.fromarray(grid.reshape(side * cell, side * cell, 3))


def tile_sheet(tiles: np.ndarray) -> Image.Image:
    """Return tiles uint8 (K, f, f, 3) side by side in a square sheet, row by row."""
    count, f = tiles.shape[:2]
    side = math.ceil(math.sqrt(count))
    sheet = np.zeros((side * side, f, f, 3), np.uint8)
    sheet[:count] = tiles
    return Image.fromarray(
        sheet.reshape(side, side, f, f, 3).swapaxes(1, 2).reshape(side * f, side * f, 3)
    )
