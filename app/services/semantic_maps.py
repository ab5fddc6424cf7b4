"""Semantic maps and masks that a user gives, read as classes and cells."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError
from .picture_reader import read_fitted
from .priors import PriorHandle

NEAR = 40.0
"""The largest distance (Euclidean, 0 to 255 per channel) of a pixel to its class's color."""
STRAY = 0.01
"""Share of pixels that may be farther away: a brush's soft edges and JPEG's artifacts."""
MARKED = 128
"""Gray level from which on a mask's pixels are marked."""


@dataclass(frozen=True)
class Legend:
    """The classes of a map and the colors that stand for them."""

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    @property
    def table(self) -> np.ndarray:
        """The palette as uint8 (C, 3)."""
        return np.array(self.palette, np.uint8)

    def hex_color(self, index: int) -> str:
        """Return a class's color as #rrggbb."""
        return "#" + bytes(self.palette[index]).hex()


def legend(handle: PriorHandle) -> Legend:
    """Return the legend of a prior's maps. Raises UserError if its bundle has none."""
    classes, palette = handle.data.get("classes"), handle.data.get("palette")
    try:
        found = Legend(
            tuple(map(str, classes)), tuple((int(r), int(g), int(b)) for r, g, b in palette)
        )
        bytes(channel for color in found.palette for channel in color)
    except (TypeError, ValueError):
        found = Legend((), ())
    if not found.classes or len(found.classes) != len(found.palette):
        raise UserError(f"The prior {handle.name} does not name the colors of its maps' classes.")
    return found


def read_map(path: Any, known: Legend, size: tuple[int, int]) -> np.ndarray:
    """Return a picture in class colors as classes int64 (height, width), at ``size`` (width,
    height).

    Each pixel becomes the class of the nearest color. Raises UserError, with the color, if more
    than a stray few are near none; PictureError if the file is not a picture, or is transparent in
    part.
    """
    if not path:
        raise UserError("There is no map yet: draw one or start from an example.")
    pixels = np.asarray(read_fitted(path, Path(path).name, size, "map")).astype(np.int64)
    flat = pixels.reshape(-1, 3)
    colors, place, counts = np.unique(flat, axis=0, return_inverse=True, return_counts=True)
    nearest = np.empty(len(colors), np.int64)
    distance = np.empty(len(colors))
    table = known.table.astype(np.int64)
    for start in range(0, len(colors), 4096):  # a photograph can have as many colors as pixels
        some = slice(start, start + 4096)
        squares = np.square(colors[some, None] - table).sum(-1)
        nearest[some], distance[some] = squares.argmin(1), np.sqrt(squares.min(1))
    far = distance > NEAR
    share = counts[far].sum() / counts.sum()
    if share > STRAY:
        worst = int(np.where(far, counts, 0).argmax())
        best = int(nearest[worst])
        raise UserError(
            f"The map contains the color #{bytes(colors[worst].tolist()).hex()}, which stands for "
            f"no class (unknown colors cover {100 * share:.0f} % of it); the nearest known one is "
            f"{known.hex_color(best)}, {known.classes[best]}."
        )
    return nearest[place.reshape(-1)].reshape(size[1], size[0])


def read_mask(path: Any, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Return a picture, light where something is marked, as cells bool ``shape`` (rows, columns).

    On a transparent layer, strokes of any color mark; of a photograph from which a part was erased,
    that part is marked. A cell is marked if any of its pixels is, at ``size`` (width, height).
    Raises UserError without a mask, and as ``check_mask``; PictureError if the file is not a
    picture, or if its transparency can be understood in several ways.
    """
    if not path:
        raise UserError("There is no mask: give a picture that is white where to inpaint.")
    marks = read_fitted(path, Path(path).name, size, "mask")
    light = np.asarray(marks.convert("L")) >= MARKED
    rows, columns = shape
    cells = light.reshape(rows, size[1] // rows, columns, size[0] // columns).any(axis=(1, 3))
    return check_mask(cells)


def check_mask(cells: np.ndarray) -> np.ndarray:
    """Return ``cells`` bool (h, w). Raises UserError unless some are marked and some are not."""
    if not cells.any():
        raise UserError("The mask marks nothing: erase the part to inpaint.")
    if cells.all():
        raise UserError(
            "The mask covers the whole picture, so nothing of it would be kept: leave a part, or "
            "generate a new picture."
        )
    return cells


def unpack_cells(text: Any, count: int, most: int) -> np.ndarray:
    """Return what the page drew, int64 (``count``,): base64 of one byte per cell, 0 to ``most``.

    Raises UserError for anything else.
    """
    try:
        data = base64.b64decode(text, validate=True) if len(text) <= 2 * count + 8 else b""
    except (TypeError, ValueError, binascii.Error):
        data = b""
    found = np.frombuffer(data, np.uint8)
    if len(found) != count or (found > most).any():
        raise UserError("The drawing does not belong to this prior; start again.")
    return found.astype(np.int64)
