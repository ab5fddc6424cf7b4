"""Pictures that a user gives, opened, shrunk and cached."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .encoding import png
from .errors import UserError

if TYPE_CHECKING:
    from PIL import Image

MAX_SIDE = 1024
"""Longest side, in pixels, of the pictures that a model gets."""


@dataclass(frozen=True)
class Picture:
    """An opened picture, at most ``MAX_SIDE`` pixels long. Two are equal if their pixels are."""

    digest: str
    image: Image.Image = field(compare=False, repr=False)
    uploaded: tuple[int, int] = field(compare=False)
    """Width and height before the picture was shrunk."""


def open_picture(path: Any) -> Picture:
    """Return the picture at ``path``, a file's path or anything that core.images opens.

    Raises UserError without a picture, PictureError if it cannot be read.
    """
    from regvq import images

    if not path:
        raise UserError("There is no picture yet: upload one or choose an example.")
    if isinstance(path, str):
        try:
            found = Path(path).stat()
        except (OSError, ValueError):
            found = None  # the reader has the sentence for it
        if found is not None:
            return _open_file(path, found.st_mtime_ns, found.st_size)
    return _shrink(images.open_picture(path), MAX_SIDE)


def picture_or_example(path: Any) -> Picture:
    """Return the picture at ``path``, or the first example without one."""
    from .examples import examples

    return open_picture(path or examples()[0].path)


@lru_cache(maxsize=8)  # a slider that moves asks for the same file many times per second
def _open_file(path: str, written: int, count: int) -> Picture:
    from regvq import images

    return _shrink(images.open_picture(path, name=Path(path).name), MAX_SIDE)


@lru_cache(maxsize=12)
def limit_size(picture: Picture, side: int) -> Picture:
    """Return ``picture`` at most ``side`` pixels long."""
    if max(picture.image.size) <= side:
        return picture
    return replace(_shrink(picture.image, side), uploaded=picture.uploaded)


def _shrink(whole: Image.Image, side: int) -> Picture:
    from regvq import images

    image = images.shrink(whole, side)
    digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    return Picture(digest, image, whole.size)


@lru_cache(maxsize=12)
def original_png(picture: Picture) -> bytes:
    """Return the picture as a PNG file; its size is one of the figures, so zlib's usual level."""
    return png(picture.image, effort=6)
