"""Bounds on what a picture file may cost to decode, checked before it is decoded.

A file of 111 kB can hold a progressive JPEG of 200 scans, each of which visits every pixel. Pixels,
scans and chunks are counted in the file itself; ``picture_reader`` limits seconds and memory.
"""

from __future__ import annotations

import struct

from regvq.errors import PictureError

SCANS = 64
"""Scans of a JPEG; encoders write 1 to 12."""
SCANNED = 800_000_000
"""Pixels times scans of a JPEG: 16 scans of the largest picture."""
CHUNKS = 20_000
"""Chunks of a PNG or a WebP, and comments of a GIF."""


def check_bounds(data: bytes, name: str) -> None:
    """Raise PictureError if the file ``data`` has more parts than any picture needs."""
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data, name)
    elif data.startswith(b"\x89PNG"):
        _check_png(data, name)
    elif data.startswith(b"GIF8") and data.count(b"\x21\xfe") > CHUNKS:
        raise PictureError(_too_many(name, "comments"))
    elif data.startswith(b"RIFF"):
        _check_webp(data, name)


def _check_jpeg(data: bytes, name: str) -> None:
    """Count the scans: inside a scan's data, a byte ff is followed by 00, so that every ff da
    starts one; those of an embedded thumbnail are counted, too."""
    scans = data.count(b"\xff\xda")
    if scans > SCANS:
        raise PictureError(_too_many(name, "scans"))
    pixels = 0
    for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2", b"\xff\xc9", b"\xff\xca"):
        place = data.find(marker)
        while place >= 0 and place + 9 <= len(data):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            length = struct.unpack(">H", data[place + 2 : place + 4])[0]
            if length == 8 + 3 * data[min(place + 9, len(data) - 1)]:  # a real header
                pixels = max(pixels, height * width)
            place = data.find(marker, place + 2)
    if scans > 2 and scans * pixels > SCANNED:
        raise PictureError(
            f"{name} has {scans} scans of {pixels / 1e6:.1f} million pixels; save it as a JPEG "
            "that is not progressive, or shrink it."
        )


def _check_png(data: bytes, name: str) -> None:
    place = 8
    for _ in range(CHUNKS):
        if place + 8 > len(data):
            return
        place += 12 + struct.unpack(">I", data[place : place + 4])[0]
    raise PictureError(_too_many(name, "chunks"))


def _check_webp(data: bytes, name: str) -> None:
    place = 12
    for _ in range(CHUNKS):
        if place + 8 > len(data):
            return
        size = struct.unpack("<I", data[place + 4 : place + 8])[0]
        place += 8 + size + size % 2
    raise PictureError(_too_many(name, "chunks"))


def _too_many(name: str, what: str) -> str:
    return f"{name} has far more {what} than a picture needs; save it anew as PNG or JPEG."
