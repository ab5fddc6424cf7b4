"""Pictures that a user gives, opened, shrunk and cached."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .cache import RecentItems
from .encoding import png
from .errors import UserError

if TYPE_CHECKING:
    import numpy as np
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
    array: np.ndarray | None = field(default=None, compare=False, repr=False)
    """The channels (H, W, C), as `regvq.arrays.read_array` has them, of a picture that is not
    RGB."""
    path: str = field(default="", compare=False, repr=False)
    """The file, if it is one."""


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


AGAIN = 30.0
"""Seconds after which a picture that took too long is tried once more: the machine may have been
busy."""


class _Refusal(NamedTuple):
    sentence: str
    until: float


_opened: RecentItems[tuple[str, int, int, bool], Picture | _Refusal] = RecentItems(24)
_opening = threading.Lock()


def open_array(path: str) -> Picture:
    """Return the picture file at ``path`` with the channels and the bits that it has.

    Its ``image`` is empty: what is shown depends on the tokenizer. Raises PictureError.
    """
    found = Path(path).stat()
    return _open_file(path, found.st_mtime_ns, found.st_size, channels=True)


def with_array(picture: Picture, image: Image.Image, array: np.ndarray) -> Picture:
    """Return ``picture`` with these channels, shown as ``image``."""
    digest = hashlib.sha256(f"{array.shape} {array.dtype}".encode() + array.tobytes()).hexdigest()
    return replace(picture, digest=digest, image=image, array=array)


def _open_file(path: str, written: int, count: int, channels: bool = False) -> Picture:
    """Return the picture, read in a process of its own, or remembered: a slider that moves asks for
    the same file many times per second, and a refusal is as good the second time, unless it is one
    of a busy moment."""
    from regvq.errors import PictureError

    from .picture_reader import Unfinished

    key = (path, written, count, channels)
    with _opening:
        found = _opened.touch(key)
    if found is None or (isinstance(found, _Refusal) and time.monotonic() > found.until):
        try:
            found = _read(path, channels)
        except PictureError as error:
            lasts = AGAIN if isinstance(error, Unfinished) else math.inf
            found = _Refusal(str(error), time.monotonic() + lasts)
        with _opening:
            _opened[key] = found
    if isinstance(found, _Refusal):
        raise PictureError(found.sentence)
    return found


def _read(path: str, channels: bool) -> Picture:
    from PIL import Image

    from .picture_reader import read_channels, read_picture

    name = Path(path).name
    if not channels:
        return replace(_of(*read_picture(path, name, MAX_SIDE)), path=path)
    array, whole = read_channels(path, name, MAX_SIDE)
    unseen = Image.new("RGB", (1, 1))
    return with_array(Picture("", unseen, whole, path=path), unseen, array)


def screen(path: Any) -> None:
    """Read a picture file in advance, so that a handler has it at once, or its refusal.

    Raises PictureError for one that cannot be read within the limits of ``picture_reader``.
    """
    if isinstance(path, str) and Path(path).is_file():
        open_picture(path)


@lru_cache(maxsize=12)
def limit_size(picture: Picture, side: int) -> Picture:
    """Return ``picture`` at most ``side`` pixels long."""
    from regvq import images

    if max(picture.image.size) <= side:
        return picture
    if picture.array is not None:
        from PIL import Image

        from regvq.arrays import resized

        small = images.shrink(picture.image, side)
        array = resized(picture.array, *small.size, Image.Resampling.LANCZOS)
        return with_array(picture, small, array)
    small = _shrink(picture.image, side)
    return replace(small, uploaded=picture.uploaded, path=picture.path)


def _shrink(whole: Image.Image, side: int) -> Picture:
    from regvq import images

    return _of(images.shrink(whole, side), whole.size)


def _of(image: Image.Image, uploaded: tuple[int, int]) -> Picture:
    digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    return Picture(digest, image, uploaded)


@lru_cache(maxsize=12)
def original_png(picture: Picture) -> bytes:
    """Return the picture as a PNG file; its size is one of the figures, so zlib's usual level."""
    return png(picture.image, effort=6)
