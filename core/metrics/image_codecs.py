"""JPEG, WebP and AVIF with as many bytes as a picture's tokens take.

A tokenizer is also a codec: its file is the token ids at log2 K bits each, without entropy coding.
The settings of the picture codecs are favorable where that is free (4:2:0 chroma, optimized or
progressive Huffman tables) and plain otherwise: pictures at their own size, whole files with their
headers. The bytes are stated, because a codec often cannot reach these budgets: then the smallest
file it can write is taken, even if it exceeds the budget.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image, features


@dataclass(frozen=True)
class Coded:
    """A picture after coding and decoding."""

    codec: str
    quality: int
    bytes: int
    """Size of the whole file, headers included."""
    picture: Image.Image
    """The decoded file (RGB)."""


def token_bytes(tokens: int, codebook_size: int) -> int:
    """Return the bytes of ``tokens`` ids at log2(``codebook_size``) bits each, rounded up."""
    return math.ceil(tokens * math.log2(codebook_size) / 8)


def available_codecs() -> tuple[str, ...]:
    """Return those of "jpeg", "webp" and "avif" that this machine's Pillow can write."""
    modules = {"jpeg": "jpg", "webp": "webp", "avif": "avif"}
    return tuple(codec for codec, module in modules.items() if features.check(module))


def smallest(picture: Image.Image, codec: str) -> Coded:
    """Code the RGB ``picture`` at the codec's lowest quality, which gives its smallest file.

    Raises ValueError if the codec is unknown or Pillow cannot write it.
    """
    lowest, _ = _qualities(codec)
    return _decoded(codec, lowest, _encode(picture, codec, lowest))


def within(picture: Image.Image, codec: str, budget: int) -> Coded:
    """Code the RGB ``picture`` at the quality with the largest file of at most ``budget`` bytes.

    If no file is that small, return ``smallest(picture, codec)``. By bisection, since a file grows
    with its quality. Raises ValueError as ``smallest`` does.
    """
    low, high = _qualities(codec)
    best_quality, best = low, _encode(picture, codec, low)
    if len(best) <= budget:
        low += 1
        while low <= high:
            middle = (low + high) // 2
            data = _encode(picture, codec, middle)
            if len(data) <= budget:
                # A higher quality may give a few bytes less: keep the largest file found.
                if len(data) >= len(best):
                    best_quality, best = middle, data
                low = middle + 1
            else:
                high = middle - 1
    return _decoded(codec, best_quality, best)


def _decoded(codec: str, quality: int, data: bytes) -> Coded:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return Coded(codec, quality, len(data), picture)


def _qualities(codec: str) -> tuple[int, int]:
    """Return the lowest and highest quality.

    Raises ValueError for a codec that cannot be written.
    """
    if codec not in available_codecs():
        available = ", ".join(available_codecs())
        raise ValueError(f"this Pillow cannot write {codec!r}; available: {available}")
    return (1, 100) if codec == "jpeg" else (0, 100)  # JPEG's scale starts at 1


def _encode(picture: Image.Image, codec: str, quality: int) -> bytes:
    return min((save(picture, quality) for save in _ENCODERS[codec]), key=len)


def _save(**settings: Any) -> Callable[[Image.Image, int], bytes]:
    def save(picture: Image.Image, quality: int) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, quality=quality, **settings)
        return buffer.getvalue()

    return save


# Several encodings of the same pixels: the smallest file counts.
_ENCODERS = {
    "jpeg": (
        _save(format="JPEG", optimize=True, subsampling="4:2:0"),
        _save(format="JPEG", optimize=True, subsampling="4:2:0", progressive=True),
    ),
    "webp": (_save(format="WEBP", method=6),),
    # One thread, so that the file does not depend on the machine.
    "avif": (_save(format="AVIF", speed=6, subsampling="4:2:0", max_threads=1),),
}
