"""Checksums of token shards: of every file in `header.json`, and of the header itself.

One changed byte of an id, a map or a label is still an id, a map or a label, so that only a
checksum shows it. Files are read for it once: which files of which size and time were whole is kept
below `core.paths.cache_folder()`, and may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..paths import cache_folder

OWN = "sha256"
"""The field of a header that holds the checksum of all others."""
_CHUNK = 1 << 22
_THREADS = 4
_RACY_NS = 2_000_000_000
"""A file changed so shortly ago may change again without a new time, so it is not remembered."""


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sealed(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header with the checksum of its own content."""
    return {**header, OWN: _content_digest(header)}


def is_intact(header: Mapping[str, Any]) -> bool:
    """Return True if a header has the content that it was sealed with."""
    return header.get(OWN) == _content_digest(header)


def _content_digest(header: Mapping[str, Any]) -> str:
    content = {key: value for key, value in header.items() if key != OWN}
    return digest_of(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def check_sums(
    root: Path, wanted: Mapping[str, str], header: str, explain: Callable[[str], str]
) -> None:
    """Raise DataError, which names the file, unless all files have their checksums.

    wanted: the checksum of each file, by its name in `root`. header: the checksum of the header.
    explain: returns what can be seen of the damage of a file, by its name, or "".
    """
    stamps = {name: _stamp(root / name) for name in wanted}
    memory = cache_folder() / "verified" / f"{digest_of(str(root.resolve()).encode())[:32]}.json"
    known = {"header": header, "files": {name: list(stamp) for name, stamp in stamps.items()}}
    with contextlib.suppress(OSError, ValueError):
        if json.loads(memory.read_text(encoding="utf-8")) == known:
            return
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda name: file_digest(root / name), wanted)
        for name, digest in zip(wanted, found, strict=True):
            if digest != wanted[name]:
                seen = explain(name)
                raise DataError(
                    f"the shard {root / name} is damaged{f' ({seen})' if seen else ''}: its "
                    "checksum is not the one in header.json; copy it again, or delete the folder "
                    "and encode again."
                )
    now = time.time_ns()
    if all(now - stamp[1] > _RACY_NS for stamp in stamps.values()):
        _remember(memory, known)


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits. Raises DataError."""
    found = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while data := stream.read(_CHUNK):
                found.update(data)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); check it.") from error
    return found.hexdigest()


def _stamp(file: Path) -> Sequence[int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def _remember(memory: Path, known: Mapping[str, Any]) -> None:
    beside = memory.with_name(f"{memory.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(known), encoding="utf-8")
        os.replace(beside, memory)
