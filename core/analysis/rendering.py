"""Pictures of token grids and errors."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import numpy as np
from torch import Tensor

# Dark to light with increasing luminance, so that the order is kept in gray; our own anchors.
_RAMP = np.array(
    [(8, 8, 24), (66, 20, 104), (158, 38, 104), (226, 84, 60), (250, 166, 46), (255, 246, 196)],
    dtype=np.float64,
)


def token_picture(ids: Tensor | np.ndarray, colors: int | np.ndarray) -> np.ndarray:
    """Return a token grid ``ids`` (h, w) as a picture.

    colors: uint8 (K, 3), a color per code (such as its mean color): uint8 (h, w, 3); or
    uint8 (K, f, f, 3), a tile per code (such as its paint): uint8 (h * f, w * f, 3), a mosaic;
    or the codebook's size K: colors by code number, very different for near numbers.
    Raises ValueError if an id has no color.
    """
    grid = np.asarray(ids.cpu() if isinstance(ids, Tensor) else ids)
    table = number_colors(colors) if isinstance(colors, int) else np.asarray(colors)
    if grid.ndim != 2 or ((grid < 0) | (grid >= len(table))).any():
        raise ValueError(
            f"ids must be a grid (h, w) of codes 0 to {len(table) - 1}, got {grid.shape}"
        )
    painted = table[grid]
    if painted.ndim == 3:
        return painted
    height, width, f = painted.shape[:3]
    return painted.swapaxes(1, 2).reshape(height * f, width * f, 3)


@lru_cache(maxsize=8)
def number_colors(size: int) -> np.ndarray:
    """Return a fixed color per code number, uint8 (``size``, 3); adjacent numbers differ in hue."""
    # Multiples of 1/p and 1/p², p³ = p + 1, modulo 1 fill a square evenly (Roberts' R2 sequence).
    p = 1.32471795724474602596
    colors = [
        colorsys.hls_to_rgb(i / p % 1, 0.36 + 0.36 * (i / p**2 % 1), 0.72) for i in range(size)
    ]
    table = np.rint(np.array(colors).reshape(-1, 3) * 255).astype(np.uint8)
    table.setflags(write=False)  # all callers share it
    return table


def error_map(a: Tensor, b: Tensor) -> np.ndarray:
    """Return the differences of two images: float32 (H, W) in [0, 1].

    a, b: (C, H, W) in [-1, 1]. The mean over channels of the absolute difference on [0, 1]: 1 is
    black against white. Raises ValueError if the shapes differ.
    """
    if a.shape != b.shape or a.dim() != 3:
        raise ValueError(
            f"two images (C, H, W) of one shape are needed, got {tuple(a.shape)}, {tuple(b.shape)}"
        )
    difference = (a.detach().float().clamp(-1, 1) - b.detach().float().clamp(-1, 1)).abs()
    return (difference.mean(dim=0) / 2).cpu().numpy()


def color_error(error: np.ndarray, top: float = 0.25) -> np.ndarray:
    """Return an error map float (H, W) in color, uint8 (H, W, 3): from dark (0) to light (``top``).

    Raises ValueError if ``top`` is not positive.
    """
    return ramp(np.asarray(error, dtype=np.float64) / _positive(top))


def ramp(values: np.ndarray) -> np.ndarray:
    """Return values (…) in [0, 1] (others are clamped) as colors uint8 (…, 3), dark to light."""
    place = np.clip(values, 0, 1) * (len(_RAMP) - 1)
    low = np.minimum(place.astype(np.int64), len(_RAMP) - 2)
    share = (place - low)[..., None]
    return np.rint(_RAMP[low] * (1 - share) + _RAMP[low + 1] * share).astype(np.uint8)


def _positive(top: float) -> float:
    if not top > 0:
        raise ValueError(f"the error of the lightest color must be above 0, got {top}")
    return top
