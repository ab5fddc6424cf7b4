"""Pictures of the visible window of a map of codes, for the place under a figure's marks.

A browser pans a picture quickly, however many codes it shows; of marks it takes a few thousand. So
all codes in the window are drawn here, as dots or as their tiles, in one picture, and at most
MOST_MARKS of them become marks that answer to the pointer.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

MOST_MARKS = 4096
"""Marks of one figure: without a GPU a browser pans 16,384 at 11 frames per second (measured)."""
MOST_TILES = 4096
"""Codes in a window up to which they are drawn as tiles."""
GROUND = (20, 23, 28)
_FINE = 2  # dots are drawn this many times larger and reduced, so that they are round


@dataclass(frozen=True)
class Window:
    """A rectangle of a map and the pixels in which it is shown."""

    left: float
    right: float
    bottom: float
    top: float
    width: int = 1200
    height: int = 900

    def holds(self, places: np.ndarray) -> np.ndarray:
        """Return True for each of the places (n, 2) in the window, bool (n,)."""
        x, y = places[:, 0], places[:, 1]
        return (x >= self.left) & (x <= self.right) & (y >= self.bottom) & (y <= self.top)

    def pixels(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the column and the row of places (n, 2), float (n,) each."""
        right = (places[:, 0] - self.left) / max(self.right - self.left, 1e-12) * self.width
        down = (self.top - places[:, 1]) / max(self.top - self.bottom, 1e-12) * self.height
        return right, down

    def grown(self, share: float) -> Window:
        """Return the window with a margin of ``share`` of its sides at each side."""
        x, y = share * (self.right - self.left), share * (self.top - self.bottom)
        return Window(
            self.left - x, self.right + x, self.bottom - y, self.top + y,
            round(self.width * (1 + 2 * share)), round(self.height * (1 + 2 * share)),
        )  # fmt: skip


FITTED = (1400, 1000)
"""The pixels of a window whose axes have no common unit."""


def whole_window(
    places: np.ndarray, longest: int = 1400, margin: float = 0.03, fit: bool = False
) -> Window:
    """Return the window that shows all places (K, 2), its longer side ``longest`` pixels.

    fit: True if the axes need no common unit: then the window has FITTED pixels.
    """
    low, high = places.min(axis=0).astype(float), places.max(axis=0).astype(float)
    span = np.maximum(high - low, 1e-6 * max(1.0, float(np.abs(high).max(initial=0.0))))
    span = np.maximum(span, 0.02 * span.max())
    middle = (low + high) / 2
    half = span / 2 + margin * (span if fit else span.max())
    (left, bottom), (right, top) = (middle - half).tolist(), (middle + half).tolist()
    if fit:
        return Window(left, right, bottom, top, *FITTED)
    scale = longest / (2 * half.max())
    width, height = np.maximum(np.rint(2 * half * scale), 16).astype(int).tolist()
    return Window(left, right, bottom, top, width, height)


def dot_radius(count: int, zoom: float = 1.0) -> float:
    """Return the radius in pixels of a dot of a map of ``count`` codes, enlarged ``zoom`` times."""
    own = 4.6 if count <= 1500 else 3 if count <= 6000 else 2 if count <= 20_000 else 1.4
    return own * min(2.4, max(zoom, 1.0) ** 0.5)


def draw_dots(
    window: Window, places: np.ndarray, colors: np.ndarray, radius: float, faint: np.ndarray | None
) -> np.ndarray:
    """Return a picture uint8 (height, width, 3) of dots, later ones above earlier ones.

    places: float (n, 2); colors: uint8 (n, 3); faint: bool (n,), dots to darken.
    """
    width, height = window.width * _FINE, window.height * _FINE
    packed = np.zeros((len(places), 4), np.uint8)
    packed[:, :3] = colors
    if faint is not None:
        mixed = 0.16 * packed[faint, :3] + 0.84 * np.array(GROUND)
        packed[faint, :3] = mixed.astype(np.uint8)
    ground = np.array([*GROUND, 0], np.uint8).view(np.uint32)[0]
    reach = int(np.ceil(radius * _FINE))
    side = height + 2 * reach, width + 2 * reach
    canvas = np.full(side[0] * side[1], ground, np.uint32)
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = down**2 + right**2 <= (radius * _FINE) ** 2
    offsets = (down[disk] * side[1] + right[disk]).astype(np.int64)
    x, y = window.pixels(places)
    column = np.clip(np.rint(x * _FINE - 0.5), 0, width - 1).astype(np.int64) + reach
    row = np.clip(np.rint(y * _FINE - 0.5), 0, height - 1).astype(np.int64) + reach
    spots = row * side[1] + column
    inks = packed.view(np.uint32)[:, 0]
    for start in range(0, len(spots), 65_536):
        some = slice(start, start + 65_536)
        canvas[(spots[some, None] + offsets).ravel()] = np.repeat(inks[some], len(offsets))
    fine = canvas.reshape(side)[reach : reach + height, reach : reach + width]
    pixels = fine.view(np.uint8).reshape(window.height, _FINE, window.width, _FINE, 4)
    return (pixels[..., :3].sum(axis=(1, 3), dtype=np.uint16) // _FINE**2).astype(np.uint8)


def tile_side(window: Window, count: int, radius: float) -> int:
    """Return the side in pixels of the tiles of ``count`` codes in a window."""
    room = (window.width * window.height / max(count, 1)) ** 0.5
    return round(max(7, min(30, 0.62 * room, 3.4 * radius)))


def draw_tiles(
    window: Window, places: np.ndarray, tiles: np.ndarray, side: int, faint: np.ndarray | None
) -> np.ndarray:
    """Return a picture uint8 (height, width, 3) of tiles, without smoothing.

    places: float (n, 2), the tiles' centers; tiles: uint8 (n, f, f, 3); faint: bool (n,).
    """
    picture = np.empty((window.height + 2 * side, window.width + 2 * side, 3), np.uint8)
    picture[:] = GROUND
    at = np.minimum(np.arange(side) * tiles.shape[1] // side, tiles.shape[1] - 1)
    large = tiles[:, at][:, :, at]
    if faint is not None and faint.any():
        mixed = 0.2 * large[faint] + 0.8 * np.array(GROUND)
        large = large.copy()
        large[faint] = mixed.astype(np.uint8)
    x, y = window.pixels(places)
    columns = np.rint(x + side / 2).astype(int).clip(0, window.width + side)
    rows = np.rint(y + side / 2).astype(int).clip(0, window.height + side)
    for column, row, tile in zip(columns.tolist(), rows.tolist(), large, strict=True):
        picture[row : row + side, column : column + side] = tile
    return picture[side : side + window.height, side : side + window.width]


def draw_cells(
    window: Window, code_at: np.ndarray, columns: int, faces: np.ndarray, dead: np.ndarray
) -> np.ndarray:
    """Return a picture uint8 (height, width, 3) of codes in a grid, a unit square per cell.

    code_at: int (K,), the code in each cell, row by row from the top; the cell in column c and row
    r covers c to c + 1 and -r - 1 to -r. faces: uint8 (K, 3), a color per code, or (K, f, f, 3), a
    tile per code. dead: bool (K,), codes that are crossed out.
    """
    x = window.left + (np.arange(window.width) + 0.5) * (
        (window.right - window.left) / window.width
    )
    y = (np.arange(window.height) + 0.5) * (window.top - window.bottom) / window.height - window.top
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, down = x - column, y - row
    cell = row[:, None] * columns + column
    inside = (column >= 0) & (column < columns) & (row[:, None] >= 0) & (cell < len(code_at))
    code = code_at[np.where(inside, cell, 0)]
    if faces.ndim == 2:
        picture = faces[code]
    else:
        f = faces.shape[1]
        picture = faces[
            code,
            np.minimum((down * f).astype(int), f - 1)[:, None],
            np.minimum((right * f).astype(int), f - 1),
        ]
    side = window.width / max(window.right - window.left, 1e-9)
    gone = dead[code] & inside
    if side >= 4:  # not by hue alone: a dead code is crossed out
        stroke = np.abs(right - (1 - down)[:, None]) < max(0.5 / side, 0.07)
        within = (np.minimum(right, 1 - right) > 0.2) & (np.minimum(down, 1 - down) > 0.2)[:, None]
        picture[gone & ~(stroke & within)] = (27, 31, 37) if faces.ndim == 2 else (0, 0, 0)
        picture[gone & stroke & within] = (109, 118, 131)
        gap = max(1.0, round(0.06 * side)) / side
        inside &= (right < 1 - gap) & (down < 1 - gap)[:, None]
    else:
        picture[gone] = (43, 50, 59)
    picture[~inside] = GROUND
    return picture


def image_of(window: Window, picture: np.ndarray) -> dict[str, object]:
    """Return a picture of a window as an image of a figure's layout, under its marks."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=90, method=1)
    source = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {
        "source": source,
        "xref": "x",
        "yref": "y",
        "x": window.left,
        "y": window.top,
        "sizex": window.right - window.left,
        "sizey": window.top - window.bottom,
        "sizing": "stretch",
        "layer": "below",
    }
