"""The identity of the pictures of a run: their names and sizes, wherever their folder lies."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from regvq.bundles.checksums import content_digest
from regvq.data import Dataset
from regvq.data.token_shards import TokenShards

from ..cli.common import evenly_spaced

SIZED = 200_000
"""Files whose size is read: of more pictures, this many, spread evenly; each costs a request."""

Contents = dict[str, Any]


def pictures_identity(data: Dataset | TokenShards) -> Contents:
    """Return the number of pictures, and a digest of their names and sizes if they are files.

    The digest does not depend on the place of the folder. Of token shards it is that of their
    header.
    """
    header = getattr(data, "header", None)
    if header is not None:
        return {"pictures": len(data), "sha256": content_digest(header)}
    entries = getattr(data, "entries", None)
    if not entries:
        return {"pictures": len(data)}
    root, sized = str(getattr(data, "root", "")), set(evenly_spaced(len(entries), SIZED))
    lines = []
    for index, entry in enumerate(entries):
        name = os.path.relpath(entry.path, root) if root else str(entry.path)
        files = (entry.path, entry.map) if index in sized else ()
        sizes = (str(_size(file)) for file in files if file is not None)
        lines.append(" ".join((name, *sizes)))
    return {"pictures": len(entries), "sha256": _digest(lines)}


def _size(file: Path) -> int:
    """Return a file's size; that of the shard for a member of a tar file, 0 for an address."""
    for place in (file, *file.parents):
        try:
            found = os.stat(place)
        except OSError:
            continue
        return found.st_size if not os.path.isdir(place) else 0
    return 0


def _digest(lines: list[str]) -> str:
    text = "\n".join(lines).encode("utf-8", errors="surrogateescape")
    return hashlib.sha256(text).hexdigest()


def difference(before: Contents, now: Contents) -> str | None:
    """Return the words on the difference of two contents; None if they are the same."""
    if before == now:
        return None
    had, has = before.get("pictures"), now.get("pictures")
    if had != has:
        return f"holds {has} pictures, but the run was started with {had}"
    return f"holds {has} pictures, but other ones (names or sizes) than those of the start"
