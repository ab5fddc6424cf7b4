"""Windows of maps, and selections of codes, as a page sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .checkpoints import TokenizerHandle
from .code_stats import atlas
from .errors import UserError
from .validation import finite, whole_number

if TYPE_CHECKING:
    from regvq.plots.windows import Window

MARGIN = 0.2
"""The share of a window that is drawn beyond each of its sides, so that a short drag shows it."""
MOST_POINTS = 400
"""Points of a polygon."""
MOST_HIDDEN = 500
"""Classes that a page may hide."""
FARTHEST = 1e9
"""The largest coordinate of a window; maps lie within some hundreds."""
PATIENCE = 0.3
"""Seconds in which the missing tiles of a window are painted; the page asks again for the rest."""


def parse_window(event: Any) -> Window:
    """Return the window of an event {x: [left, right], y: [bottom, top], width, height in pixels},
    with its margin. Raises UserError."""
    from regvq.plots.windows import Window

    x, y = _pair(event, "x"), _pair(event, "y")
    width = whole_number(getattr(event, "width", None), "width", 1, 4096)
    height = whole_number(getattr(event, "height", None), "height", 1, 4096)
    most = 1600 / max(width, height)
    if most < 1:
        width, height = round(width * most), round(height * most)
    return Window(*x, *y, max(1, width), max(1, height)).grown(MARGIN)


def parse_hidden(event: Any) -> frozenset[str]:
    """Return the classes that an event's page hides, its "hidden". Raises UserError."""
    found = getattr(event, "hidden", None)
    if found is None:
        return frozenset()
    if not isinstance(found, list) or len(found) > MOST_HIDDEN:
        raise UserError(f"Hidden classes must be a list of at most {MOST_HIDDEN} names.")
    if not all(isinstance(one, str) for one in found):
        raise UserError("The names of hidden classes must be texts.")
    return frozenset(found)


def _pair(event: Any, name: str) -> tuple[float, float]:
    found = getattr(event, name, None)
    values = [finite(one) for one in found] if isinstance(found, list) and len(found) == 2 else []
    if None in values or not values or values[0] == values[1]:
        raise UserError(f"The window's {name} must be two different numbers.")
    if any(abs(one) > FARTHEST for one in values if one is not None):
        raise UserError(f"The window's {name} must be at most {FARTHEST:g} from 0.")
    low, high = sorted(float(one) for one in values if one is not None)
    return low, high


def codes_within(places: np.ndarray, polygon: Any) -> np.ndarray:
    """Return the codes whose places (K, 2) lie in a polygon, int64 (n,), by the even-odd rule.

    polygon: a list of at most MOST_POINTS [x, y]. Raises UserError.
    """
    if not isinstance(polygon, list) or not 3 <= len(polygon) <= MOST_POINTS:
        raise UserError(f"A selection must be a polygon of 3 to {MOST_POINTS} points.")
    corners = []
    for point in polygon:
        pair = [finite(one) for one in point] if isinstance(point, list) else []
        if len(pair) != 2 or None in pair:
            raise UserError("A point of a selection must be two numbers.")
        corners.append(pair)
    line = np.array(corners, dtype=np.float64)
    low, high = line.min(axis=0), line.max(axis=0)
    near = np.flatnonzero(((places >= low) & (places <= high)).all(axis=1))
    x, y = places[near].astype(np.float64).T
    inside = np.zeros(len(near), dtype=bool)
    for (xa, ya), (xb, yb) in zip(line, np.roll(line, 1, axis=0), strict=True):
        if ya != yb:
            inside ^= ((ya > y) != (yb > y)) & (x < (xb - xa) * (y - ya) / (yb - ya) + xa)
    return near[inside]


def chosen_mask(selected: np.ndarray | None, size: int) -> np.ndarray | None:
    """Return True for each selected code, bool (size,); None without a selection."""
    if selected is None or not len(selected):
        return None
    mask = np.zeros(size, dtype=bool)
    mask[selected[selected < size]] = True
    return mask


def tiles_in(
    handle: TokenizerHandle, places: np.ndarray, counts: np.ndarray, window: Window
) -> np.ndarray | None:
    """Return the tiles of all codes, uint8 (K, f, f, 3), after painting missing ones of a window
    for PATIENCE seconds; None if the window holds more codes than are drawn as tiles."""
    from regvq.plots.windows import MOST_TILES

    inside = np.flatnonzero(window.holds(places))
    if len(inside) > MOST_TILES:
        return None
    known = atlas(handle)
    known.look(inside[np.argsort(-counts[inside], kind="stable")], PATIENCE)
    return known.tiles


def is_painted(handle: TokenizerHandle) -> np.ndarray:
    """Return True for each code whose tile is known, bool (K,)."""
    return atlas(handle).painted
