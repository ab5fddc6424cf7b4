"""Pictures and arrays in the forms that a page loads: PNG files, data addresses, base64."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from .cache import RecentItems


@dataclass(frozen=True)
class PageFile:
    """A picture file of a view model; ``ui.pictures.publish`` gives it an address."""

    data: bytes = field(repr=False)
    name: str
    kind: str = "png"
    """The file's extension and its MIME type after ``image/``."""


def png(picture: Image.Image, effort: int = 2) -> bytes:
    """Return a picture as a PNG file; ``effort`` is zlib's level (6 is what most programs use)."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=effort)
    return buffer.getvalue()


def png_file(picture: Image.Image | np.ndarray, name: str) -> PageFile:
    """Return a picture, or its pixels uint8 (H, W, 3), as a PNG file for the page."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    return PageFile(png(picture), name)


_drawn: RecentItems[str, PageFile] = RecentItems(32)


def drawn_once(
    draw: Callable[..., Image.Image | np.ndarray], name: str, *arrays: np.ndarray
) -> PageFile:
    """Return ``draw(*arrays)`` as a PNG file for the page; equal arrays are drawn once.

    A chart takes longer to draw than to look up, and visitors ask for the same ones.
    """
    key = hashlib.sha256(f"{draw.__qualname__} {name}".encode())
    for array in arrays:
        key.update(f"{array.shape} {array.dtype.str}".encode() + array.tobytes())
    found = _drawn.get(key.hexdigest())
    if found is None:
        found = _drawn[key.hexdigest()] = png_file(draw(*arrays), name)
    return found


def data_url(pixels: np.ndarray) -> str:
    """Return small pixels uint8 (H, W, 3) as a PNG in a ``data:`` address."""
    return "data:image/png;base64," + base64.b64encode(png(Image.fromarray(pixels))).decode()


def pack(array: np.ndarray, kind: str) -> str:
    """Return an array as base64 of its values in NumPy's type ``kind``.

    A page handles base64 much faster than long JSON lists.
    """
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode()
