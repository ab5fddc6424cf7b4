"""Masks, which mark some pixels of a picture, and maps that are painted in colors.

Transparency is the trap of both: laid over white, as a photograph's is, it becomes paint. So it is
either understood here or refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from .errors import PictureError
from .formats import LOSSLESS
from .images import MAX_PIXELS, name_of, open_picture, open_with_alpha, printable_name

_OPAQUE = 0.5  # of the strongest alpha: from here on it counts as paint, as of a marker of 40 %
_SHARE = 0.99  # of the opaque pixels; the rest are soft edges of strokes
_FEW, _MANY = 8, 20  # coarse colors: at most so many are strokes, more are a photograph
_DARK, _LIGHT = 64, 192  # of 255
_COUNTED = 4_000_000  # pixels, spread evenly, of which colors are counted at most
_ADVICE = "give a mask without transparency, white where it marks something and black elsewhere"


def open_part(source: str | Path | BinaryIO, *, name: str) -> np.ndarray:
    """Return a mask bool (H, W) of the pixels that are not black, of any bit depth and mode.

    The rule is that of CelebAMask-HQ's authors: any value but 0 marks a pixel. Of a paletted file
    the colors count, not the indices, and a pixel that is fully transparent marks nothing.

    Raises PictureError, which names the file, if it is missing or broken.
    """
    try:
        with Image.open(source) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise PictureError(f"{name} is too large; shrink it to {MAX_PIXELS:,} pixels.")
            if picture.format not in LOSSLESS:
                raise PictureError(
                    f"{name} is a {picture.format} file, whose black is not exactly 0; give the "
                    "mask as PNG."
                )
            picture.load()
            if picture.mode == "P" or "transparency" in picture.info:
                picture = picture.convert("RGBA")
            elif picture.mode in ("CMYK", "YCbCr", "HSV", "LAB"):
                picture = picture.convert("RGB")
            values = np.asarray(picture)
            alpha = picture.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    except FileNotFoundError as error:
        raise PictureError(f"{name} does not exist; extract it again.") from error
    except PictureError:
        raise
    except Exception as error:  # decoders raise almost anything on broken data
        raise PictureError(f"{name} is missing or broken; extract it again.") from error
    if values.ndim == 2:
        return np.not_equal(values, 0)
    marked = np.asarray((values[..., :-1] if alpha else values).any(axis=2))
    return np.asarray(marked & (values[..., -1] != 0)) if alpha else marked


def open_mask(source: Any, *, name: str | None = None) -> Image.Image:
    """Read a mask that a person painted as RGB: light where it marks something.

    A mask without transparency is read as a picture: light is marked, dark is not. Strokes of any
    color on a transparent layer are white in the result, and the rest of the layer black. A
    photograph from which a part was erased, so that it is transparent, marks that part.

    `source`: as for `core.images.open_picture`. Raises PictureError, which names the transparency,
    if black and white strokes lie on one layer, if nothing is painted, or if strokes and a
    photograph cannot be distinguished; and as `open_picture`.
    """
    rgba_HW4 = np.asarray(open_with_alpha(source, name=name))
    alpha, said = rgba_HW4[..., 3], printable_name(name or name_of(source))
    if alpha.min() == 255:
        return open_picture(source, name=name)
    opaque = alpha >= max(1, _OPAQUE * int(alpha.max()))
    if opaque.all():  # laid over white, a faint black would become light
        return Image.fromarray(np.ascontiguousarray(rgba_HW4[..., :3]))
    if not opaque.any():
        raise PictureError(f"{said} is wholly transparent, so that it marks nothing; {_ADVICE}.")
    paint, hidden = rgba_HW4[opaque][:, :3], rgba_HW4[~opaque][:, :3]
    light = paint.sum(axis=1, dtype=np.uint16)  # of a large picture, a mean would take gigabytes
    kinds = _colors(paint)
    # Under the transparency of a layer of strokes lies black or white; under that of an erased
    # photograph, its own colors, or black where a browser erased it.
    plain = ((hidden == 0).all(1) | (hidden == 255).all(1)).mean() > _SHARE
    if kinds > _MANY:
        marked = ~opaque
    elif kinds <= _FEW and plain:
        if min((light < 3 * _DARK).mean(), (light > 3 * _LIGHT).mean()) > 1 - _SHARE:
            raise PictureError(
                f"{said} has dark and light strokes on a transparent layer, so that it is unclear "
                f"which of the three are marked; {_ADVICE}."
            )
        marked = opaque
    else:
        raise PictureError(
            f"{said} is transparent in part, and may be strokes or a picture from which a part was "
            f"erased; {_ADVICE}."
        )
    return Image.fromarray(marked.astype(np.uint8) * 255).convert("RGB")


def _colors(pixels_N3: np.ndarray) -> int:
    """Return how many coarse colors (8 levels per channel) cover nearly all of the pixels."""
    pixels_N3 = pixels_N3[:: 1 + len(pixels_N3) // _COUNTED]
    red, green, blue = (pixels_N3[:, k].astype(np.uint16) >> 5 for k in range(3))
    coarse = red * 64 + green * 8 + blue
    counts = np.sort(np.bincount(coarse))[::-1]
    return int(np.searchsorted(np.cumsum(counts), _SHARE * len(coarse))) + 1


def open_opaque(source: Any, *, name: str | None = None) -> Image.Image:
    """Read a picture of class colors as RGB.

    `source`: as for `core.images.open_picture`. Raises PictureError, which names the transparency,
    if a pixel is transparent, which would be read as white; and as `open_picture`.
    """
    clear = np.asarray(open_with_alpha(source, name=name))[..., 3] < 255
    if clear.any():
        raise PictureError(
            f"{printable_name(name or name_of(source))} is transparent in "
            f"{max(clear.mean(), 0.01):.0%} of its pixels, which stands for no class; fill it with "
            "the colors of classes and save it without transparency."
        )
    return open_picture(source, name=name)
