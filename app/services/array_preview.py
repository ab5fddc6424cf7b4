"""An array as a picture that a page shows: a PNG of three of its channels, which holds all of them.

A browser shows no .npy file and no TIFF. So an upload becomes a PNG with the whole array in a
private chunk, and goes wherever the page's picture goes.
"""

from __future__ import annotations

import io
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, PngImagePlugin

if TYPE_CHECKING:
    import numpy as np

CHUNK = b"npAr"
"""The chunk: ancillary, private, safe to copy (PNG, section 4.7), a compressed .npy file."""
LARGEST = 80 * 2**20
"""Bytes of an array that is read from a chunk: 16 channels of 1,024 x 1,024 floats are 67 MB."""


def with_array(picture: Image.Image, array: np.ndarray) -> bytes:
    """Return a picture as a PNG file that holds ``array`` (H, W, C), too."""
    import numpy as np

    kept = io.BytesIO()
    np.save(kept, array, allow_pickle=False)
    info = PngImagePlugin.PngInfo()
    info.add(CHUNK, zlib.compress(kept.getvalue(), 1))
    file = io.BytesIO()
    picture.save(file, format="PNG", pnginfo=info, compress_level=2)
    return file.getvalue()


def hidden_array(path: str) -> bytes | None:
    """Return the .npy file in such a PNG; None for any other file, and for a chunk that is broken
    or too large."""
    if Path(path).suffix.lower() != ".png":
        return None
    with suppress(Exception), Image.open(path, formats=["PNG"]) as picture:
        for name, data, *_ in getattr(picture, "private_chunks", ()):
            if name == CHUNK:
                return _unpacked(data)
    return None


def _unpacked(data: bytes) -> bytes | None:
    engine = zlib.decompressobj()
    found = engine.decompress(data, LARGEST)
    return None if engine.unconsumed_tail else found
