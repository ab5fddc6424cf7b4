"""SHA-256 of files, and of JSON objects that state it themselves.

A JSON object is sealed by its own SHA-256 in the entry ``sha256``: that of its content without this
entry, whatever the spaces and the order of its keys.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEAL = "sha256"
"""The entry of a JSON object that holds the SHA-256 of the other entries."""
_CHUNK = 1 << 20
_SETTLED = 2_000_000_000  # ns; a file system's clock may be this coarse
_MOST = 4096

Mark = tuple[int, int, int]
_known: dict[str, tuple[Mark, str]] = {}


def mark_of(file: Path) -> Mark:
    """Return what changes when a file is replaced or written: inode, size and time of writing."""
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits; computed again only if it changed."""
    place, mark = os.path.abspath(file), mark_of(file)
    known = _known.get(place)
    if known is not None and known[0] == mark:
        return known[1]
    digest, space = hashlib.sha256(), bytearray(_CHUNK)
    with open(file, "rb", buffering=0) as stream:
        while count := stream.readinto(space):
            digest.update(memoryview(space)[:count])
    found = digest.hexdigest()
    # A file that was written just now could be written once more without a change of its time.
    if mark_of(file) == mark and time.time_ns() - mark[2] > _SETTLED:
        if len(_known) >= _MOST:
            _known.clear()
        _known[place] = mark, found
    return found


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with its own SHA-256 as the last entry."""
    content = {key: entry for key, entry in value.items() if key != SEAL}
    return {**content, SEAL: content_digest(content)}


def content_digest(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON object, without its own entry ``sha256``."""
    content = {key: entry for key, entry in value.items() if key != SEAL}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def seal_holds(value: Mapping[str, Any]) -> bool | None:
    """Return True if a JSON object is what it was when it was sealed; None if it never was."""
    return value[SEAL] == content_digest(value) if SEAL in value else None
