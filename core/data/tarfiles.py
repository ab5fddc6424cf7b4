"""Tar files as webdataset writes them: which members make up an item, and where each of them lies.

Only headers are read, so that a tar of gigabytes is indexed in a moment, and from wherever it can
be read at a position: a file, or a server that sends parts of files.
"""

from __future__ import annotations

import os
import re
import tarfile
from dataclasses import dataclass
from itertools import product
from typing import BinaryIO

from core.data import DataError

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)$")


@dataclass(frozen=True)
class Member:
    """A file in a tar: its suffix from the first dot of its name, and where its bytes lie."""

    suffix: str
    offset: int
    size: int


Index = tuple[tuple[str, dict[str, Member]], ...]
"""Items in order: key (the path up to the first dot of the name) and members by suffix."""


def members_of(stream: BinaryIO, size: int, name: str) -> Index:
    """The index of a tar of `size` bytes, read from `stream`, which can seek.

    Raises DataError, which gives `name`: no tar, or cut off. What `stream` raises goes through.
    """
    found: dict[str, dict[str, Member]] = {}
    cut = DataError(f"the shard {name} is truncated; put it there again whole.")
    end, block = 0, tarfile.BLOCKSIZE
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                end = member.offset_data
                if not member.isfile():
                    continue
                end += -(-member.size // block) * block
                if member.offset_data + member.size > size:
                    raise cut
                folder, base = os.path.split(member.name)
                if base.startswith("."):
                    continue
                stem, dot, suffix = base.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                suffix = dot + suffix.lower()
                place = Member(suffix, member.offset_data, member.size)
                found.setdefault(key, {})[suffix] = place
    except tarfile.TarError as error:
        if "unexpected end" in str(error) or "truncated" in str(error):
            raise cut from error
        raise DataError(f"{name} is no tar file ({error}); give *.tar.") from error
    stream.seek(end)
    if stream.read(block) != bytes(block):
        raise cut  # whole members, but the blocks of zeros that end a tar file are not there
    return tuple(found.items())


def expand_braces(pattern: str) -> list[str]:
    """`a-{0..2}{x,y}` -> a-0x, a-0y, a-1x, ...; a range keeps the width of its first number."""
    pieces = _BRACES.split(pattern)
    choices = []
    for index, piece in enumerate(pieces):
        span = _RANGE.match(piece) if index % 2 else None
        if span:
            low, high = span.groups()
            numbers = range(int(low), int(high) + 1)
            choices.append([f"{number:0{len(low)}d}" for number in numbers])
        else:
            choices.append(piece.split(",") if index % 2 else [piece])
    return ["".join(chosen) for chosen in product(*choices)]
