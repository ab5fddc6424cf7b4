"""Orders and grids of codes in which neighbors look alike.

Both are our own constructions, deterministic, without a K x K matrix, and quick up to 65,536 codes.
"""

from __future__ import annotations

import numpy as np

from .codes import main_axes

_SMALL = 16
_ROUNDS_PER_RADIUS = 32


def paint_features(paints: np.ndarray, axes: int = 12) -> np.ndarray:
    """What codes look like, in numbers: float32 (K, F), F <= ``axes``; paints uint8 (K, f, f, 3).

    The main axes of their pixels: mostly color, then edges and texture.
    """
    return main_axes(paints.reshape(len(paints), -1).astype(np.float32) / 255, axes)


def order_by_likeness(features: np.ndarray) -> np.ndarray:
    """The codes in a row, int64 (K,) code ids, such that neighbors have alike features (K, F).

    Halved along the main axis again and again, each half turned so that it begins where the one
    before ended; the last few by going to the nearest one left.
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
        waiting += [second, first]  # a stack: the first half comes off next
    return np.array(order, dtype=np.int64)


def grid_layout(features: np.ndarray, columns: int) -> np.ndarray:
    """A cell for every code, int64 (K,), such that codes with alike features (K, F) are near.

    Cells are numbered row by row, ``columns`` to a row; the K codes take cells 0 to K - 1.
    It starts from rows along the first main axis, sorted along the second; then pairs of codes
    change places whenever both together come closer to the mean of their surroundings, which begin
    wide and shrink. Raises ValueError if ``columns`` is below 1.
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
            # |x - m|^2 summed over both: only the product of the differences changes with a swap.
            better = ((one - two) * (here - there)).sum(axis=1) < 0
            a, b = pairs[0, better], pairs[1, better]
            code_at[a], code_at[b] = code_at[b], code_at[a]
        radius //= 2
    cells = np.empty(count, dtype=np.int64)
    cells[code_at] = np.arange(count)
    return cells


def _sorted_rows(features: np.ndarray, columns: int) -> np.ndarray:
    """Code ids by cell, int64 (K,): rows along the first main axis, each sorted by the second."""
    axes = main_axes(features, 2)
    code_at = np.argsort(axes[:, 0], kind="stable")
    for start in range(0, len(code_at), columns):
        row = code_at[start : start + columns]
        code_at[start : start + columns] = row[np.argsort(axes[row, -1], kind="stable")]
    return code_at


def _near_pairs(count: int, columns: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Random pairs of cells (2, K // 2), no cell twice, nearly all within a tile of ``side``."""
    row, column = np.divmod(np.arange(count), columns)
    shift_row, shift_column = rng.integers(side, size=2)  # so that tiles have no fixed borders
    tile = (row + shift_row) // side * (columns + 1) + (column + shift_column) // side
    shuffled = np.argsort(tile + rng.random(count), kind="stable")
    return shuffled[: count // 2 * 2].reshape(-1, 2).T


def _surroundings(placed: np.ndarray, rows: int, columns: int, radius: int) -> np.ndarray:
    """Mean features (K, F) over the square of ``radius`` cells around each cell.

    The cell's own code counts too: without it, neighbors that change at once chase each other.
    """
    count, width = placed.shape
    field = np.zeros((rows * columns, width + 1), dtype=np.float64)
    field[:count, :width] = placed
    field[:count, width] = 1  # how many cells were summed: fewer at the edges and at the end
    grid = field.reshape(rows, columns, width + 1)
    sums = _box(_box(grid, radius, 0), radius, 1).reshape(rows * columns, width + 1)[:count]
    return (sums[:, :width] / sums[:, width:]).astype(np.float32)


def _box(grid: np.ndarray, radius: int, axis: int) -> np.ndarray:
    """Sums over 2 * radius + 1 entries along an axis, cut off at the ends, by running totals."""
    length = grid.shape[axis]
    totals = np.concatenate([np.zeros_like(grid.take([0], axis)), grid.cumsum(axis)], axis)
    place = np.arange(length)
    above = np.minimum(place + radius + 1, length)
    return totals.take(above, axis) - totals.take(np.maximum(place - radius, 0), axis)


def _main_axis(features: np.ndarray) -> np.ndarray:
    return main_axes(features, 1)[:, 0]


def _chain(features: np.ndarray, members: np.ndarray, last: int | None) -> list[int]:
    """The members one after another, each the nearest to the one before that is left."""
    left = members.tolist()
    chain: list[int] = []
    end = features[last] if last is not None else features[left[0]]
    while left:
        apart = np.square(features[left] - end).sum(axis=1)
        chain.append(left.pop(int(apart.argmin())))
        end = features[chain[-1]]
    return chain
