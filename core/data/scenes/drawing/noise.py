"""Smooth random fields in scene coordinates, so that a scene looks the same at every size.

A field is a cubic B-spline over a lattice of white noise. On a regular pixel grid it separates:
rows @ lattice @ columns, two small matrix products, where each row of the weight matrices is the
spline *averaged over the pixel* -- the field at 64 px is the area average of the one at 512 px, and
octaves finer than a pixel fade out instead of aliasing. Fields have about unit variance.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_SIDE = 512
_MOST_CELLS = 320
_SUBSAMPLES = 4
_SPLINE_GAIN = 1 / 0.479  # a cubic B-spline reduces the deviation of white noise to 0.479


@lru_cache(maxsize=1)
def table() -> np.ndarray:
    """Return (512, 512) float32 white noise of unit variance, read-only, equal for every scene."""
    values = np.random.default_rng(0x5CE7E5).standard_normal((_SIDE, _SIDE), dtype=np.float32)
    np.clip(values, -2.2, 2.2, out=values)
    values.setflags(write=False)
    return values


@lru_cache(maxsize=512)
def _weights(size: int, cells: float) -> np.ndarray:
    """Return the spline weights averaged over each pixel, (size, ceil(cells) + 3) float32."""
    at = (np.arange(size * _SUBSAMPLES) + 0.5) * (cells / (size * _SUBSAMPLES))
    cell = np.floor(at).astype(np.int64)
    t = at - cell
    splines = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    dense = np.zeros((len(at), int(np.ceil(cells)) + 3))
    for k, value in enumerate(splines):
        dense[np.arange(len(at)), cell + k] = value
    dense = dense.reshape(size, _SUBSAMPLES, -1).mean(1).astype(np.float32)
    dense.setflags(write=False)
    return dense


def _corner(key: int, octave: int, ny: int, nx: int) -> tuple[int, int]:
    mixed = (key * 7919 + octave * 104729 + 12345) & 0x7FFFFFFF
    return mixed % (_SIDE - ny + 1), (mixed // 509) % (_SIDE - nx + 1)


def field(
    size: int,
    fx: float,
    fy: float,
    key: int,
    *,
    octaves: int = 4,
    gain: float = 0.5,
    ridged: bool = False,
    rows: slice = slice(None),
    cols: slice = slice(None),
) -> np.ndarray:
    """Return fractal noise over a box of the picture, (h, w) float32, of about unit variance.

    fx and fy are the numbers of lattice cells across the picture in the first octave; each further
    octave doubles them and is scaled by `gain`. `ridged` turns valleys of |n| into crests (about
    [-2, 1]). `key` selects the field. Octaves that a picture of this size cannot show are left out.
    """
    lattice = table()
    top, bottom, _ = rows.indices(size)
    left, right, _ = cols.indices(size)
    height, width = bottom - top, right - left
    top, bottom, left, right = top / size, bottom / size, left / size, right / size
    total: np.ndarray | None = None
    amplitude, power = 1.0, 0.0
    for octave in range(octaves):
        power += amplitude * amplitude
        if max(fx, fy) > min(_MOST_CELLS, (1.0 if octave else 2.6) * size):
            break
        wy, wx = _weights(size, fy), _weights(size, fx)
        y0, x0 = _corner(key, octave, wy.shape[1], wx.shape[1])
        # only the part of the lattice under the box
        y1, y2 = int(top * fy), min(int(bottom * fy) + 4, wy.shape[1])
        x1, x2 = int(left * fx), min(int(right * fx) + 4, wx.shape[1])
        part = wy[rows, y1:y2] @ lattice[y0 + y1 : y0 + y2, x0 + x1 : x0 + x2]
        part = part @ wx[cols, x1:x2].T
        if ridged:
            np.abs(part, out=part)
            part *= -amplitude * _SPLINE_GAIN * 1.66
            part += amplitude * 1.33
        else:
            part *= amplitude * _SPLINE_GAIN
        total = part if total is None else np.add(total, part, out=total)
        amplitude *= gain
        fx, fy = fx * 2, fy * 2
    if total is None:  # too fine to show at this size
        return np.zeros((height, width), np.float32)
    scale: float = power**-0.5
    total *= scale
    return total


def line(size: int, cells: float, key: int, *, octaves: int = 4, gain: float = 0.5) -> np.ndarray:
    """Return fractal noise along one axis, (size,) float32, of about unit variance."""
    weights, widths = _line_weights(size, cells, octaves, gain)
    if not widths:
        return np.zeros(size, np.float32)
    lattice = table()
    parts = []
    for octave, width in enumerate(widths):
        y0, x0 = _corner(key, octave, 1, width)
        parts.append(lattice[y0, x0 : x0 + width])
    return weights @ np.concatenate(parts)


@lru_cache(maxsize=256)
def _line_weights(
    size: int, cells: float, octaves: int, gain: float
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return all octaves of `line` side by side, scaled, and their widths."""
    parts, power, amplitude = [], 0.0, 1.0
    for _ in range(octaves):
        power += amplitude * amplitude
        if cells > min(_MOST_CELLS, 2 * size):
            break
        parts.append(_weights(size, cells) * np.float32(amplitude * 1.45))
        amplitude *= gain
        cells *= 2
    if not parts:
        return np.zeros((size, 0), np.float32), ()
    weights = np.concatenate(parts, axis=1) * np.float32(power**-0.5)
    weights.setflags(write=False)
    return weights, tuple(part.shape[1] for part in parts)


def ground(
    size: int,
    rows: slice,
    depth: np.ndarray,
    fx: float,
    fy: float,
    key: int,
    *,
    octaves: int = 3,
    gain: float = 0.6,
) -> np.ndarray:
    """Return noise on the ground plane, (h, size) float32, of about unit variance near the viewer.

    depth (h,) is the distance of each row (1 at the lower edge of the picture, increasing upward);
    fx and fy are the numbers of cells per unit of ground. A row fades where its cells get finer
    than a pixel.
    """
    lattice = table()
    x = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    slope = np.full(len(depth), 1 / size, np.float32)  # ground from one row to the next
    np.abs(np.subtract(depth[1:], depth[:-1]), out=slope[1:])
    slope[0] = slope[min(1, len(slope) - 1)]
    total = np.zeros((len(depth), size), np.float32)
    amplitude, power = 1.0, 0.0
    for octave in range(octaves):
        power += amplitude * amplitude
        cell = np.maximum(depth * (fx / size), slope * fy)
        fade = np.minimum(1.6 - 1.6 * cell, 1) * amplitude
        first = int(np.searchsorted(fade, 0.02))  # rows get nearer, so fade increases along them
        if first >= len(depth):
            break
        y0, x0 = _corner(key, octave, 1, 1)
        v = depth[first:] * fy + y0
        iv = v.astype(np.int64)
        tv = (v - iv)[:, None]
        tv = (tv * tv * (3 - 2 * tv)).astype(np.float32)
        row = lattice[iv % _SIDE]
        row += tv * (lattice[(iv + 1) % _SIDE] - row)
        u = x[None, :] * (depth[first:] * fx)[:, None].astype(np.float32) + (x0 + 8 * _SIDE)
        iu = u.astype(np.int32)
        tu = u - iu
        tu *= tu * (3 - 2 * tu)
        starts = np.arange(0, row.size, _SIDE, dtype=np.int32)[:, None]
        row = row.ravel()
        left = row.take((iu & (_SIDE - 1)) + starts)
        iu += 1
        iu &= _SIDE - 1
        iu += starts
        left += tu * (row.take(iu) - left)
        left *= (fade[first:] * 1.35).astype(np.float32)[:, None]
        total[first:] += left
        amplitude *= gain
        fx, fy = fx * 2, fy * 2
    total *= power**-0.5
    return total
