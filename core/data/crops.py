"""The geometry of training draws: where a crop lies, and what it becomes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..arrays import resized
from ..images import shrink

ASPECT = 4 / 3
"""The largest ratio of the sides of a crop, as in Szegedy et al. 2015."""


def crop_box(
    height: int,
    width: int,
    size: int,
    scale: tuple[float, float],
    rng: np.random.Generator,
    aspect: float = ASPECT,
) -> tuple[int, int, int, int]:
    """Draw the top, left, height and width of a crop of a picture, in pixels.

    `size`: the least side, if the picture has as many pixels. `scale`: the smallest and largest
    side, as fractions of the short side. `aspect`: the largest ratio of the sides, at least 1; a
    scale of (1, 1) means whole squares, whatever it is. `PictureDataset` describes the
    distribution.
    """
    short = min(height, width)
    floor = min(size, short)
    low, high = (max(floor, fraction * short) for fraction in scale)
    side = math.exp(rng.uniform(math.log(low), math.log(high)))
    stretch = math.exp(rng.uniform(-1, 1) * math.log(aspect) / 2)  # root of the aspect
    if scale[0] == 1:
        stretch = 1.0
    # Clamping moves both sides toward a square, so the aspect stays within its bounds.
    crop_width = min(max(round(side * stretch), floor), width)
    crop_height = min(max(round(side / stretch), floor), height)
    left = int(rng.integers(width - crop_width + 1))
    top = int(rng.integers(height - crop_height + 1))
    return top, left, crop_height, crop_width


def fitted(array: np.ndarray, size: int, filter: Image.Resampling) -> np.ndarray:
    """Return pixels (H, W, C) or class ids (H, W) resized to a square of `size`.

    RGB of 8 bits and class ids stay uint8; other pixels become float32 in [0, 1].
    """
    if not _is_plain(array):
        return resized(array, size, size, filter)
    picture = Image.fromarray(np.ascontiguousarray(array))
    # reducing_gap averages pixels first; NEAREST must pick a pixel, not mix several.
    gap = None if filter == Image.Resampling.NEAREST else 3.0
    return np.asarray(picture.resize((size, size), filter, reducing_gap=gap))


def shrunk(array: np.ndarray, short_side: int) -> np.ndarray:
    """Return pixels (H, W, C) with a short side of at most `short_side`, as `fitted` returns them;
    smaller ones as they are."""
    height, width = array.shape[:2]
    if min(height, width) <= short_side:
        return array
    longest = round(max(height, width) * short_side / min(height, width))
    if _is_plain(array):
        return np.asarray(shrink(Image.fromarray(array), longest))
    height, width = (max(1, round(side * longest / max(height, width))) for side in (height, width))
    return resized(array, width, height, Image.Resampling.LANCZOS)


def _is_plain(array: np.ndarray) -> bool:
    """Return True for RGB of 8 bits and for class ids, which Pillow resizes as they are."""
    return array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2] == 3)


def exchanged(pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return uint8 (256,): the class of each class in a mirrored picture."""
    table = np.arange(256, dtype=np.uint8)
    for a, b in pairs:
        table[[a, b]] = b, a
    return table
