"""Maps to paint from: pictures in class colours read as classes, examples, and masks."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..ui.errors import Refused
from .priors import Painter

NEAR = 40.0
"""How far (Euclid, 0 to 255 a channel) a colour may be from a class's to be taken for it."""
STRAY = 0.01
"""Share of pixels that may be farther: the soft edges of a brush, and what JPEG leaves."""
MARKED = 128
"""A mask's pixels from this grey on are marked."""
SHOWN = (45, 24, 50, 9, 60, 3, 33, 71)
"""The drawn scenes whose captions and maps are examples."""

# How the captions of other data sets are worded, by what the data's or the prior's name contains.
WORDED = {
    "bird": (
        "this small perching bird is red and black with a short black cone bill",
        "this small perching bird is yellow, olive and white with a short black bill",
        "this medium-sized duck-like bird is black and white with a grey bill",
        "this large bird is brown and black with a curved hooked bill",
    ),
    "flickr": (
        "a dog runs through shallow water on a beach",
        "two children play on the grass in a park",
        "a man in a red jacket stands on a snowy mountain",
    ),
    "coco": (
        "a plate of food on a wooden table",
        "a train at a station on a sunny day",
        "a boat on a lake below mountains",
    ),
}
WORDED["cub"] = WORDED["bird"]


@dataclass(frozen=True)
class Legend:
    """The classes of a map and the colours that they are painted in."""

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    @property
    def table(self) -> np.ndarray:
        """uint8 (C, 3)"""
        return np.array(self.palette, np.uint8)

    def colour(self, index: int) -> str:
        """A class's colour as #rrggbb."""
        return "#" + bytes(self.palette[index]).hex()


def legend(painter: Painter) -> Legend:
    """What the maps of a prior are painted with. Raises Refused if its bundle does not say."""
    classes, palette = painter.data.get("classes"), painter.data.get("palette")
    try:
        found = Legend(
            tuple(map(str, classes)), tuple((int(r), int(g), int(b)) for r, g, b in palette)
        )
        bytes(channel for colour in found.palette for channel in colour)
    except (TypeError, ValueError):
        found = Legend((), ())
    if not found.classes or len(found.classes) != len(found.palette):
        raise Refused(
            f"The prior {painter.name} does not say which colours its maps are painted in."
        )
    return found


def read_map(path: Any, known: Legend, size: tuple[int, int]) -> np.ndarray:
    """A picture of class colours as classes int64 (height, width) at ``size`` (width, height).

    Each pixel becomes the class of the nearest colour. Raises Refused, naming the colour, where
    more than a stray few are near none; core.images.PictureError where it is no picture.
    """
    from regvq.images import open_picture

    if not path:
        raise Refused("There is no map yet: paint one, or start from an example.")
    whole = open_picture(path, name=Path(path).name if isinstance(path, str) else None)
    pixels = np.asarray(fitted(whole, size, Image.Resampling.NEAREST)).astype(np.int64)
    flat = pixels.reshape(-1, 3)
    colours, place, counts = np.unique(flat, axis=0, return_inverse=True, return_counts=True)
    nearest = np.empty(len(colours), np.int64)
    apart = np.empty(len(colours))
    table = known.table.astype(np.int64)
    for start in range(0, len(colours), 4096):  # a photograph has as many colours as pixels
        some = slice(start, start + 4096)
        squares = np.square(colours[some, None] - table).sum(-1)
        nearest[some], apart[some] = squares.argmin(1), np.sqrt(squares.min(1))
    far = apart > NEAR
    share = counts[far].sum() / counts.sum()
    if share > STRAY:
        worst = int(np.where(far, counts, 0).argmax())
        best = int(nearest[worst])
        raise Refused(
            f"The map holds the colour #{bytes(colours[worst].tolist()).hex()}, which stands for "
            f"nothing (unknown colours cover {100 * share:.0f} % of it); the nearest known one is "
            f"{known.colour(best)}, {known.classes[best]}."
        )
    return nearest[place.reshape(-1)].reshape(size[1], size[0])


def fitted(picture: Image.Image, size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    """The middle of a picture in the proportions of ``size`` (width, height), at that size."""
    width, height = size
    scale = min(picture.width / width, picture.height / height)
    across, down = scale * width, scale * height
    left, top = (picture.width - across) / 2, (picture.height - down) / 2
    return picture.resize(size, how, box=(left, top, left + across, top + down))


def read_mask(path: Any, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """A picture, light where something is marked, as cells bool ``shape`` (rows, columns).

    A cell is marked if any of its pixels is, at ``size``. Raises Refused for no mask at all, and
    as ``checked_mask``.
    """
    from regvq.images import open_picture

    if not path:
        raise Refused("There is no mask: give a picture that is white where to repaint.")
    whole = open_picture(path, name=Path(path).name if isinstance(path, str) else None)
    light = np.asarray(fitted(whole, size, Image.Resampling.NEAREST).convert("L")) >= MARKED
    rows, columns = shape
    cells = light.reshape(rows, size[1] // rows, columns, size[0] // columns).any(axis=(1, 3))
    return checked_mask(cells)


def checked_mask(cells: np.ndarray) -> np.ndarray:
    """``cells`` bool (h, w) if they mark something and leave something, or Refused."""
    if not cells.any():
        raise Refused("The mask marks nothing: rub out what is to be repainted.")
    if cells.all():
        raise Refused(
            "The mask covers the whole picture, so that nothing of it would be kept: leave a part, "
            "or draw a new picture."
        )
    return cells


def unpacked(text: Any, count: int, most: int) -> np.ndarray:
    """What the page painted: ``count`` numbers from 0 to ``most``, one byte each in base64."""
    try:
        data = base64.b64decode(text, validate=True) if len(text) <= 2 * count + 8 else b""
    except (TypeError, ValueError, binascii.Error):
        data = b""
    found = np.frombuffer(data, np.uint8)
    if len(found) != count or (found > most).any():
        raise Refused("What was painted does not belong to this prior; start again.")
    return found.astype(np.int64)


# ---------------------------------------------------------------- examples


def scenes_like(painter: Painter) -> bool:
    """Whether it was trained on the drawn scenes, whose examples can be drawn here."""
    return painter.data.get("name") == "scenes"


@lru_cache(maxsize=4)
def scenes(size: int) -> tuple[tuple[str, np.ndarray], ...]:
    """Captions and maps uint8 (size, size) of drawn scenes that no prior was trained on."""
    from regvq.data import open_dataset

    drawn = open_dataset("scenes", size=size, seed=0, split="test")
    items = (drawn[index] for index in SHOWN)
    return tuple((item.caption, item.segmentation.numpy().astype(np.uint8)) for item in items)


def prompts(painter: Painter) -> tuple[str, ...]:
    """Prompts to start from, worded as the captions that the prior was trained on."""
    if scenes_like(painter):
        return tuple(sorted((caption for caption, _ in scenes(64)), key=len))
    about = f"{painter.data.get('name', '')} {painter.name}".lower()
    return next((words for key, words in WORDED.items() if key in about), ())


def example_maps(painter: Painter) -> tuple[tuple[str, np.ndarray], ...]:
    """Maps to start from: a title and classes uint8 (height, width) for each."""
    width, height = painter.size
    if scenes_like(painter) and width == height:
        return scenes(width)
    return house_fronts(legend(painter), width, height)


def house_fronts(known: Legend, width: int, height: int) -> tuple[tuple[str, np.ndarray], ...]:
    """Fronts of houses, if there are classes for them: floors of windows, and a door."""
    at = {name: index for index, name in enumerate(known.classes)}
    if not {"facade", "window", "door"} <= set(at):
        return ()
    made = []
    for floors, columns in ((3, 4), (4, 3), (5, 5), (2, 3)):
        ids = np.full((height, width), at.get("background", at["facade"]), np.uint8)
        top, left, right = height // 12, width // 16, width - width // 16
        ids[top:, left:right] = at["facade"]
        for floor in range(floors):
            for column in range(columns):
                y = top + (floor + 0.25) * (height - top) / floors
                x = left + (column + 0.28) * (right - left) / columns
                down, across = 0.5 * (height - top) / floors, 0.44 * (right - left) / columns
                ground_floor = floor == floors - 1
                door = ground_floor and column == columns // 2
                bottom = height if door else int(y + down)
                kind = "door" if door else "window"
                ids[int(y) : bottom, int(x) : int(x + across)] = at[kind]
                if not door and "sill" in at:
                    sill = slice(int(y + down), int(y + down) + max(1, height // 40))
                    ids[sill, int(x) : int(x + across)] = at["sill"]
        if "cornice" in at:
            ids[top : top + max(2, height // 30), left:right] = at["cornice"]
        made.append((f"{floors} floors of {columns}", ids))
    return tuple(made)
