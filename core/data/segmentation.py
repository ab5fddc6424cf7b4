"""Semantic maps: reading class ids from files without changing any, and colors to paint them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import PictureError
from ..formats import LOSSLESS
from ..images import MAX_PIXELS
from ..orientation import load, orientation_of, turn

UNLABELED = 255
_ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True, eq=False)
class MapFile:
    """The content of a map's file.

    values: uint8 (H, W), upright if the file itself has an EXIF orientation.
    other: uint8 (H, W), a second reading of the same file, or None. A gray file of 1, 2 or 4 bits
        holds ids, or levels that a tool stored without loss in fewer bits (255 is then 1); a
        paletted one holds ids, or an index of a palette that holds them as gray levels.
    turned: True if the file has an orientation of its own, and was turned by it.
    """

    values: np.ndarray
    other: np.ndarray | None = None
    turned: bool = False


def open_map(source: str | Path | BinaryIO, *, name: str) -> np.ndarray:
    """Return the values of a one-channel file (mostly PNG) as uint8 (H, W).

    A paletted file yields its indices, not its colors; gray of less than 8 bits its samples.
    Raises PictureError, which names the file, if it is missing, broken, too large, of a format that
    loses values, has several channels, or holds values above 255.
    """
    return read_map(source, name=name).values


def read_map(source: str | Path | BinaryIO, *, name: str) -> MapFile:
    """Return `open_map` with what else the file says of its values. Raises PictureError."""
    try:
        with Image.open(source) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise PictureError(f"{name} is too large; shrink it to {MAX_PIXELS:,} pixels.")
            if picture.mode not in _ONE_CHANNEL:
                raise PictureError(
                    f"{name} is a picture of mode {picture.mode}, not a map: a map has one channel "
                    "of class ids; give the file of class ids."
                )
            if picture.format not in LOSSLESS:
                raise PictureError(
                    f"{name} is a {picture.format} file, which changes class ids; give the map as "
                    "PNG."
                )
            levels = _levels(picture)
            orientation = load(picture)
            values_HW, other_HW = _readings(picture, levels)
            turned = orientation != 1
            if turned and orientation_of(picture) == orientation:  # not yet turned by Pillow
                values_HW = turned_map(values_HW, orientation)
                other_HW = None if other_HW is None else turned_map(other_HW, orientation)
    except FileNotFoundError as error:
        raise PictureError(f"{name} does not exist; check the path.") from error
    except PictureError:
        raise
    except Exception as error:  # decoders raise almost anything on broken data
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise PictureError(f"{name} is broken ({reason[:120]}); copy it again.") from error
    for values in (values_HW, other_HW):
        if values is not None and not 0 <= values.min() <= values.max() <= 255:
            wrong = int(values.max()) if values.max() > 255 else int(values.min())
            raise PictureError(f"{name} holds the value {wrong}; ids go from 0 to 255.")
    other_HW = None if other_HW is None else other_HW.astype(np.uint8)
    return MapFile(values_HW.astype(np.uint8), other_HW, turned)


def _levels(picture: Image.Image) -> int | None:
    """Return the number of gray levels of a file that Pillow stretches to 256, or None.

    It must be called before the picture is loaded.
    """
    tiles = getattr(picture, "tile", None)  # only a picture that was opened from a file has them
    if not tiles:
        return None
    decoder, _, _, arguments = tiles[0]
    raw = arguments if isinstance(arguments, str) else (arguments or ("",))[0]
    if picture.mode == "1":
        return 2
    if picture.mode == "L" and isinstance(raw, str) and raw[:3] in ("L;2", "L;4"):
        return 1 << int(raw[2])
    if decoder in ("ppm", "ppm_plain") and picture.mode == "L":  # a PGM names its largest value
        return int(arguments[-1]) + 1
    return None


def _readings(picture: Image.Image, levels: int | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the values of a loaded map, and the other reading if it differs."""
    values_HW = np.asarray(picture)
    if levels is not None:
        stretched = np.asarray(picture.convert("L"))
        samples = np.rint(stretched * ((levels - 1) / 255)).astype(np.uint8)
        # A PGM states its largest value, so that its samples are the ids.
        ambiguous = picture.format != "PPM" and bool(samples.any())
        return samples, stretched if ambiguous else None
    if picture.mode == "P":
        colors = np.array(picture.getpalette("RGB") or [], np.int64).reshape(-1, 3)
        used = np.flatnonzero(np.bincount(values_HW.ravel(), minlength=256))
        if len(colors) > used.max() and (colors[used] == colors[used, :1]).all():
            grays = colors[:, 0].astype(np.uint8)[values_HW]
            return values_HW, None if (grays == values_HW).all() else grays
    return values_HW, None


def turned_map(ids_HW: np.ndarray, orientation: int) -> np.ndarray:
    """Return a map on a picture's stored pixels as one on the upright picture."""
    return np.asarray(turn(Image.fromarray(ids_HW), orientation))


def place_map(
    found: MapFile, stored: tuple[int, int], upright: tuple[int, int], orientation: int
) -> MapFile:
    """Return a map that lies on the pixels of its upright picture, if its size permits.

    A map lies on the stored pixels of its picture, as annotation tools that ignore EXIF draw it,
    and is turned together with it. It is left as it is if it has an orientation of its own, or if
    only the upright picture has its size. `stored` and `upright`: the picture's (width, height).
    """
    size = found.values.shape[::-1]
    if orientation == 1 or found.turned or (size == upright and size != stored):
        return found
    other = None if found.other is None else turned_map(found.other, orientation)
    return MapFile(turned_map(found.values, orientation), other)


def as_classes(
    values_HW: np.ndarray,
    classes: int,
    lookup: np.ndarray | None,
    name: str,
    other_HW: np.ndarray | None = None,
) -> np.ndarray:
    """Convert the values of a map file to class ids uint8 (H, W), 255 = unlabeled.

    `lookup` int16 (256,) gives the class of each value, -1 if it is not allowed; without one a
    value is its class, and 255 is unlabeled. `other_HW`: the second reading of the file
    (`MapFile`), which counts if the first holds values that are not allowed. Raises PictureError
    for a value that is not allowed, and if both readings are allowed but differ.
    """
    if lookup is None:
        lookup = plain_lookup(classes)
    ids_HW = lookup[values_HW]
    if other_HW is not None and (lookup[other_HW] >= 0).all():
        if (ids_HW < 0).any():
            ids_HW = lookup[other_HW]
        elif (ids_HW != lookup[other_HW]).any():
            first, second = (", ".join(map(str, np.unique(x)[:5])) for x in (values_HW, other_HW))
            raise PictureError(
                f"{name} may hold the values {first} or, as gray levels, {second}; save it with 8 "
                "bits per pixel and without a palette."
            )
    if (ids_HW < 0).any():
        wrong = np.unique(values_HW[ids_HW < 0])
        shown = ", ".join(str(value) for value in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        allowed = np.flatnonzero(lookup >= 0)
        raise PictureError(
            f"{name} holds the label value{'s' if len(wrong) > 1 else ''} {shown}, outside "
            f"{_ranges(allowed)}; give the map with the values of the published data set."
        )
    return ids_HW.astype(np.uint8)


def plain_lookup(classes: int, first: int = 0, unlabeled: int = UNLABELED) -> np.ndarray:
    """Return int16 (256,): `first`, `first` + 1, ... are classes 0, 1, ...; `unlabeled` is 255."""
    lookup = np.full(256, -1, np.int16)
    lookup[unlabeled] = UNLABELED
    lookup[first : first + classes] = np.arange(classes)
    return lookup


def on_grid(segmentation: Tensor, step: int) -> Tensor:
    """Reduce class ids int64 (H, W), 0..255, to (H/step, W/step): the most frequent of each square.

    If several are equally frequent, the lowest is taken. H and W must be multiples of `step`.
    """
    height, width = (side // step for side in segmentation.shape)
    cells = segmentation.view(height, step, width, step).permute(0, 2, 1, 3)
    cells = cells.reshape(height * width, step * step)
    offset = torch.arange(height * width)[:, None] * 256
    counts = torch.bincount((cells + offset).flatten(), minlength=height * width * 256)
    # argmax does not define which of equal counts it returns, so counts are made distinct.
    ranked = counts.view(-1, 256) * 256 + torch.arange(255, -1, -1)
    return ranked.argmax(1).view(height, width)


def spread_palette(classes: int) -> np.ndarray:
    """Return uint8 (C, 3): a fixed color for each class, far from the others.

    The bits of the class number go, three at a time, to the highest free bits of red, green and
    blue: the color map of PASCAL VOC (Everingham et al. 2010). For up to 256 classes.
    """
    ids = np.arange(classes)
    palette = np.zeros((classes, 3), np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = ids >> (3 * level + channel) & 1
            palette[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return palette


def paint_map(ids_HW: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Paint class ids (H, W) as uint8 (H, W, 3); unlabeled pixels are black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return table[ids_HW]


def _ranges(values: np.ndarray) -> str:
    runs = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return " and ".join(f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
