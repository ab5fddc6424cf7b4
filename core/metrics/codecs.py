"""JPEG, WebP and AVIF at as many bytes as a picture's tokens take.

A tokenizer is also a codec: its file is the token ids at log2 K bits each, without entropy coding.
What the picture codecs are given here is meant to be generous where it is free (4:2:0 chroma,
optimized or progressive Huffman tables) and plain otherwise: the picture's own size,
whole files with their headers, and the bytes stated, because at these budgets a codec often cannot
get down to them: then the smallest file it can write is taken, budget exceeded or not.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, features


@dataclass(frozen=True)
class Coded:
    """A picture after a codec."""

    codec: str
    quality: int
    bytes: int
    """Size of the whole file, headers included."""
    picture: Image.Image
    """The file decoded again (RGB)."""


def token_bytes(tokens: int, codebook_size: int) -> int:
    """Bytes that ``tokens`` ids take at log2(``codebook_size``) bits each, rounded up."""
    return math.ceil(tokens * math.log2(codebook_size) / 8)


def available_codecs() -> tuple[str, ...]:
    """Those of "jpeg", "webp" and "avif" that this machine's Pillow can write."""
    modules = {"jpeg": "jpg", "webp": "webp", "avif": "avif"}
    return tuple(codec for codec, module in modules.items() if features.check(module))


def smallest(picture: Image.Image, codec: str) -> Coded:
    """The RGB ``picture`` at the codec's lowest quality: the smallest file it reaches.

    Raises ValueError if the codec is unknown or Pillow cannot write it.
    """
    lowest, _ = _qualities(codec)
    return _decoded(codec, lowest, _encode(picture, codec, lowest))


def within(picture: Image.Image, codec: str, budget: int) -> Coded:
    """The RGB ``picture`` at the quality with the largest file of at most ``budget`` bytes.

    If none is that small: ``smallest(picture, codec)``. By bisection, since a file grows with
    its quality. Raises ValueError as ``smallest`` does.
    """
    low, high = _qualities(codec)
    best_quality, best = low, _encode(picture, codec, low)
    if len(best) <= budget:
        low += 1
        while low <= high:
            middle = (low + high) // 2
            data = _encode(picture, codec, middle)
            if len(data) <= budget:
                # Sizes may dip by a few bytes from one quality to the next: keep the largest seen.
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
    """Lowest and highest quality. Raises ValueError for a codec that cannot be written."""
    if codec not in available_codecs():
        can = ", ".join(available_codecs())
        raise ValueError(f"Pillow here cannot write {codec!r}; it can write {can}")
    return (1, 100) if codec == "jpeg" else (0, 100)  # JPEG's scale begins at 1


def _encode(picture: Image.Image, codec: str, quality: int) -> bytes:
    return min((save(picture, quality) for save in _ENCODERS[codec]), key=len)


def _save(**settings: object) -> Callable[[Image.Image, int], bytes]:
    def save(picture: Image.Image, quality: int) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, quality=quality, **settings)
        return buffer.getvalue()

    return save


# Several ways to write the same pixels: the smaller file counts.
_ENCODERS = {
    "jpeg": (
        _save(format="JPEG", optimize=True, subsampling="4:2:0"),
        _save(format="JPEG", optimize=True, subsampling="4:2:0", progressive=True),
    ),
    "webp": (_save(format="WEBP", method=6),),
    # One thread, so that the file does not depend on the machine.
    "avif": (_save(format="AVIF", speed=6, subsampling="4:2:0", max_threads=1),),
}
