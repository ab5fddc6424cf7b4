"""Semantic maps: reading class ids from files without changing any, and colors to paint them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import PictureError
from ..images import MAX_PIXELS

UNLABELED = 255
_ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


def open_map(source: str | Path | BinaryIO, *, name: str) -> np.ndarray:
    """Return the values of a one-channel file (mostly PNG) as uint8 (H, W).

    A paletted file yields its indices, not its colors. Raises PictureError, which names the
    file, if it is missing, broken, too large, has several channels, or holds values above 255.
    """
    try:
        with Image.open(source) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise PictureError(f"{name} is too large; shrink it to {MAX_PIXELS:,} pixels.")
            if picture.mode not in _ONE_CHANNEL:
                raise PictureError(
                    f"{name} is a picture of mode {picture.mode}, not a map: a map has one channel "
                    "of class ids; give the file of class ids."
                )
            values_HW = np.asarray(picture)
    except FileNotFoundError as error:
        raise PictureError(f"{name} does not exist; check the path.") from error
    except PictureError:
        raise
    except Exception as error:  # decoders raise almost anything on broken data
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise PictureError(f"{name} is broken ({reason[:120]}); copy it again.") from error
    if values_HW.dtype != np.uint8:
        if values_HW.size and not 0 <= values_HW.min() <= values_HW.max() <= 255:
            raise PictureError(f"{name} holds values up to {values_HW.max()}; ids go up to 255.")
        values_HW = values_HW.astype(np.uint8)
    return values_HW


def as_classes(
    values_HW: np.ndarray, classes: int, lookup: np.ndarray | None, name: str
) -> np.ndarray:
    """Convert the values of a map file to class ids uint8 (H, W), 255 = unlabeled.

    `lookup` int16 (256,) gives the class of each value, -1 if it is not allowed; without one a
    value is its class, and 255 is unlabeled. Raises PictureError for a value that is not allowed.
    """
    if lookup is None:
        lookup = plain_lookup(classes)
    ids_HW = lookup[values_HW]
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
