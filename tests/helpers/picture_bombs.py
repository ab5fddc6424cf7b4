"""Pictures that cost more to decode than their size suggests, each of at most 20 MB."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image


def many_scans(scans: int = 200, side: int = 3000) -> bytes:
    """Return a progressive JPEG whose last scan is repeated; each visits every block."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "gray").save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    return data[:last] + scan * scans + data[-2:]


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, rows: bytes | None = None) -> bytes:
    """Return a gray PNG with further ``chunks`` before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(width)) * height, 9) if rows is None else rows
    parts = (chunk(b"IHDR", header), *chunks, chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def text_bomb() -> bytes:
    """Return a PNG whose compressed texts hold 1 GB."""
    text = b"key\0\0" + zlib.compress(bytes(50_000_000), 9)
    return png(8, 8, *[chunk(b"zTXt", text)] * 20)


def profile_bomb() -> bytes:
    """Return a PNG whose compressed color profile holds 200 MB."""
    return png(8, 8, chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(200_000_000), 9)))


def many_chunks() -> bytes:
    """Return a PNG of 1.5 million empty chunks."""
    return png(8, 8, chunk(b"tEXt", b"") * 1_500_000)


def large() -> bytes:
    """Return a PNG of 400 million pixels in 390 kB."""
    return png(20_000, 20_000)


def comments() -> bytes:
    """Return a GIF of 2 million comments, which Pillow joins one by one."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "GIF")
    data = buffer.getvalue()
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1) * (data[10] >> 7)
    return data[:start] + b"\x21\xfe\x01a\x00" * 2_000_000 + data[start:]


def frames(kind: str, count: int) -> bytes:
    """Return an animation of ``count`` frames."""
    buffer = io.BytesIO()
    first, *rest = (
        Image.fromarray(np.full((32, 32), index % 256, np.uint8)) for index in range(count)
    )
    first.save(buffer, kind, save_all=True, append_images=rest, duration=10)
    return buffer.getvalue()


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "scans.jpg": (many_scans, "far more scans"),
    "few-scans.jpg": (lambda: many_scans(50, 6000), "scans of 36.0 million pixels"),
    "texts.png": (text_bomb, ""),
    "profile.png": (profile_bomb, ""),
    "chunks.png": (many_chunks, "far more chunks"),
    "large.png": (large, "is too large"),
    "comments.gif": (comments, "far more comments"),
}
"""The files, and a part of the sentence that refuses each; "" if it may be read, but fast."""
