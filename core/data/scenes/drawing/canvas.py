"""The canvas of a scene: colors, and the share of each pixel that each class covers."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..classes import CLASS_INDEX, CLASSES


class Box(NamedTuple):
    """A rectangle of pixels, as slices, with the coordinates of its pixel centers."""

    rows: slice
    cols: slice
    y: np.ndarray  # (h, 1) in picture heights, downward
    x: np.ndarray  # (1, w) in picture widths


@lru_cache(maxsize=16)
def _centers(size: int) -> np.ndarray:
    centers = ((np.arange(size) + 0.5) / size).astype(np.float32)
    centers.setflags(write=False)
    return centers


def clip(value: np.ndarray | float, low: float, high: float) -> np.ndarray:
    """Clip values as np.clip does, without its wrapper, which is slow on small arrays."""
    return np.minimum(np.maximum(value, low), high)


def steepness(values: np.ndarray, axis: int) -> np.ndarray:
    """Return central differences of (h, w) along an axis, per pixel (repeated at both ends)."""
    result = np.zeros_like(values)
    along, change = (values, result) if axis == 0 else (values.T, result.T)
    if len(along) > 2:
        np.subtract(along[2:], along[:-2], out=change[1:-1])
        change[0], change[-1] = change[1], change[-2]
        result *= 0.5
    return result


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """Return 0 below `low`, 1 above `high`, and a smooth S between."""
    t = clip((value - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


class Canvas:
    """A square picture (3, size, size) float32 in [0, 1] with exact class coverage.

    Layers are painted back to front with a coverage in [0, 1] per pixel; the share that a layer
    covers is taken from the classes below it, so `segmentation` is the class that covers most of
    each pixel.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.px = 1.0 / size
        self.image = np.zeros((3, size, size), np.float32)
        # One plane per class that occurs, in the order of `names`; unused planes cost nothing.
        self.coverage = np.zeros((len(CLASSES), size, size), np.float32)
        self.names: list[str] = []
        self.owner = np.full((size, size), -1, np.int16)
        self.owned = False

    def box(self, x0: float = 0.0, x1: float = 1.0, y0: float = 0.0, y1: float = 1.0) -> Box | None:
        """Return the pixels that touch [x0, x1] x [y0, y1], and one more on each side, or None."""
        size = self.size
        left, right = max(0, int(x0 * size) - 1), min(size, int(x1 * size) + 2)
        top, bottom = max(0, int(y0 * size) - 1), min(size, int(y1 * size) + 2)
        if left >= right or top >= bottom or x1 <= 0 or y1 <= 0:
            return None
        centers = _centers(size)
        return Box(
            slice(top, bottom),
            slice(left, right),
            centers[top:bottom, None],
            centers[None, left:right],
        )

    def paint(
        self,
        box: Box,
        alpha: np.ndarray,
        color: np.ndarray,
        label: str | None = None,
        *,
        cover: np.ndarray | None = None,
        owner: int = -1,
    ) -> None:
        """Blend `color` ((3,) or (3, h, w)) over the box by `alpha` (h, w) in [0, 1].

        With a `label`, the class gets `cover` (default: alpha) of each pixel; without one (haze,
        rain, shadows) the map is unchanged. `owner` is the number of the thing, by which visible
        things are found later.
        """
        region = self.image[:, box.rows, box.cols]
        if color.ndim == 1:
            color = color.astype(np.float32)[:, None, None]
        region += alpha * (color - region)
        if label is None:
            return
        if cover is None:
            cover = alpha
        rest = 1 - cover
        if self.names:
            self.coverage[: len(self.names), box.rows, box.cols] *= rest
        if label not in self.names:
            self.names.append(label)
        self.coverage[self.names.index(label), box.rows, box.cols] += cover
        if owner >= 0 or self.owned:
            self.owned = True
            np.copyto(self.owner[box.rows, box.cols], owner, where=cover > 0.5)

    def edge(self, inside: np.ndarray, slope: float = 1.0) -> np.ndarray:
        """Return the coverage from a signed distance, positive inside, of about this slope."""
        return clip(inside * (self.size / slope) + 0.5, 0, 1)

    def stroke(self, distance: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
        """Return the coverage of a line of half-width `radius`; below a pixel it gets fainter."""
        thin = np.minimum(1, np.multiply(radius, 2 * self.size))
        return clip((radius - distance) * self.size + 0.5, 0, 1) * thin

    def segmentation(self) -> np.ndarray:
        """Return the class of largest coverage of each pixel, (size, size) int64."""
        top = np.argmax(self.coverage[: len(self.names)], axis=0)
        return np.array([CLASS_INDEX[name] for name in self.names], np.int64)[top]
