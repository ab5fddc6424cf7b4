"""Orders and grids of codes in which neighbors look similar.

Both are our own constructions, deterministic, without a K x K matrix, and fast up to 65,536 codes.
"""

from __future__ import annotations

import numpy as np

from .codes import main_axes

_SMALL = 16
_ROUNDS_PER_RADIUS = 32


def paint_features(paints: np.ndarray, axes: int = 12) -> np.ndarray:
    """Return the appearance of codes as numbers, float32 (K, F), F <= ``axes``.

    paints: uint8 (K, f, f, 3). The features are the main axes of their pixels: mostly color, then
    edges and texture.
    """
    return main_axes(paints.reshape(len(paints), -1).astype(np.float32) / 255, axes)


def order_by_similarity(features: np.ndarray) -> np.ndarray:
    """Return a sequence of all codes, int64 (K,), in which neighbors have similar features (K, F).

    The codes are halved along the main axis repeatedly, each half oriented to start near the end of
    the one before; the last few are ordered by going to the nearest remaining one.
    """
    features = np.asarray(features, dtype=np.float64)
    order: list[int] = []
    waiting = [np.arange(len(features))]
    while waiting:
        members = waiting.pop()
        if len(members) <= _SMALL:
            order += _chain(features, members, order[-1] if order else None)
            continue
        along = _main_axis(features[members])
        members = members[np.argsort(along, kind="stable")]
        half = len(members) // 2
        first, second = members[:half], members[half:]
        if order:
            end = features[order[-1]]
            far_first = np.square(features[first].mean(axis=0) - end).sum()
            far_second = np.square(features[second].mean(axis=0) - end).sum()
            if far_second < far_first:
                first, second = second, first
        waiting += [second, first]  # a stack: the first half is taken next
    return np.array(order, dtype=np.int64)


def order_by_color(colors: np.ndarray) -> np.ndarray:
    """Return a sequence of all codes, int64 (K,), by their colors uint8 (K, 3).

    Grays come first, then the hues in order; within each of them from dark to light, in Oklab
    (Ottosson, 2020).
    """
    share = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    light, a, b = (np.cbrt(linear @ _TO_LMS.T) @ _LMS_TO_LAB.T).T
    hue = np.floor((np.arctan2(b, a) / np.pi + 1) / 2 * 18)
    return np.argsort(np.where(np.hypot(a, b) < 0.025, -1, hue) + light, kind="stable")


_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.793617785, -0.0040720468],
        [1.9779984951, -2.428592205, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.808675766],
    ]
)


def grid_layout(features: np.ndarray, columns: int) -> np.ndarray:
    """Return a cell for every code, int64 (K,), near those of codes with similar features (K, F).

    Cells are numbered row by row, ``columns`` per row; the K codes take cells 0 to K - 1. The
    layout starts with rows along the first main axis, sorted along the second; then pairs of codes
    are exchanged whenever both together get closer to the mean of their surroundings, which start
    large and shrink. Raises ValueError if ``columns`` is below 1.
    """
    if columns < 1:
        raise ValueError(f"a grid needs 1 column or more, got {columns}")
    features = np.asarray(features, dtype=np.float32)
    count = len(features)
    if count == 0:
        return np.empty(0, dtype=np.int64)
    rows = -(-count // columns)
    code_at = _sorted_rows(features, columns)
    rng = np.random.default_rng(0)  # any fixed seed: the same codes give the same grid
    radius = max(rows, columns) // 4
    while radius >= 1:
        for _ in range(_ROUNDS_PER_RADIUS):
            around = _surroundings(features[code_at], rows, columns, radius)
            pairs = _near_pairs(count, columns, 2 * radius + 1, rng)
            one, two = features[code_at[pairs[0]]], features[code_at[pairs[1]]]
            here, there = around[pairs[0]], around[pairs[1]]
            # Of |x - m|^2 summed over both, a swap changes only the product of the differences.
            better = ((one - two) * (here - there)).sum(axis=1) < 0
            a, b = pairs[0, better], pairs[1, better]
            code_at[a], code_at[b] = code_at[b], code_at[a]
        radius //= 2
    cells = np.empty(count, dtype=np.int64)
    cells[code_at] = np.arange(count)
    return cells


def rough_grid(features: np.ndarray, columns: int) -> np.ndarray:
    """Return cells as ``grid_layout``, without its exchanges: at once for 262,144 codes, too.

    Rows lie along the first main axis and are sorted along the second.
    """
    features = np.asarray(features, dtype=np.float32)
    cells = np.empty(len(features), dtype=np.int64)
    cells[_sorted_rows(features, columns)] = np.arange(len(features))
    return cells


def _sorted_rows(features: np.ndarray, columns: int) -> np.ndarray:
    """Return code ids by cell, int64 (K,): rows along the first main axis, sorted by the second."""
    axes = main_axes(features, 2)
    code_at = np.argsort(axes[:, 0], kind="stable")
    for start in range(0, len(code_at), columns):
        row = code_at[start : start + columns]
        code_at[start : start + columns] = row[np.argsort(axes[row, -1], kind="stable")]
    return code_at


def _near_pairs(count: int, columns: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return random pairs of cells (2, K // 2), no cell twice, nearly all within one tile.

    ``side``: the side of a tile in cells.
    """
    row, column = np.divmod(np.arange(count), columns)
    shift_row, shift_column = rng.integers(side, size=2)  # so that tiles have no fixed borders
    tile = (row + shift_row) // side * (columns + 1) + (column + shift_column) // side
    shuffled = np.argsort(tile + rng.random(count), kind="stable")
    return shuffled[: count // 2 * 2].reshape(-1, 2).T


def _surroundings(placed: np.ndarray, rows: int, columns: int, radius: int) -> np.ndarray:
    """Return mean features (K, F) over the square of ``radius`` cells around each cell.

    The cell's own code counts too: without it, neighbors exchanged at the same time would
    oscillate.
    """
    count, width = placed.shape
    field = np.zeros((rows * columns, width + 1), dtype=np.float64)
    field[:count, :width] = placed
    field[:count, width] = 1  # the number of cells summed: fewer at the edges and at the end
    grid = field.reshape(rows, columns, width + 1)
    sums = _box(_box(grid, radius, 0), radius, 1).reshape(rows * columns, width + 1)[:count]
    return (sums[:, :width] / sums[:, width:]).astype(np.float32)


def _box(grid: np.ndarray, radius: int, axis: int) -> np.ndarray:
    """Return sums over 2 * radius + 1 entries along an axis, cut at the ends, by running totals."""
    length = grid.shape[axis]
    totals = np.concatenate([np.zeros_like(grid.take([0], axis)), grid.cumsum(axis)], axis)
    place = np.arange(length)
    above = np.minimum(place + radius + 1, length)
    return totals.take(above, axis) - totals.take(np.maximum(place - radius, 0), axis)


def _main_axis(features: np.ndarray) -> np.ndarray:
    return main_axes(features, 1)[:, 0]


def _chain(features: np.ndarray, members: np.ndarray, last: int | None) -> list[int]:
    """Return the members in sequence, each the nearest remaining one to its predecessor."""
    left = members.tolist()
    chain: list[int] = []
    end = features[last] if last is not None else features[left[0]]
    while left:
        distances = np.square(features[left] - end).sum(axis=1)
        chain.append(left.pop(int(distances.argmin())))
        end = features[chain[-1]]
    return chain
