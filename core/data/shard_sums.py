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

from ..bundles.checksums import digest_of
from ..errors import DataError
from ..paths import cache_folder

_THREADS = 4
_RACY_NS = 2_000_000_000
"""A file changed so shortly ago may change again without a new time, so it is not remembered."""


def check_sums(
    root: Path, wanted: Mapping[str, str], header: str, explain: Callable[[str], str]
) -> None:
    """Raise DataError, which names the file, unless all files have their checksums.

    wanted: the checksum of each file, by its name in `root`. header: the checksum of the header.
    explain: returns what can be seen of the damage of a file, by its name, or "".
    """
    stamps = {name: _stamp(root / name) for name in wanted}
    memory = (
        cache_folder()
        / "verified"
        / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:32]}.json"
    )
    known = {"header": header, "files": {name: list(stamp) for name, stamp in stamps.items()}}
    with contextlib.suppress(OSError, ValueError):
        if json.loads(memory.read_text(encoding="utf-8")) == known:
            return
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda name: _digest(root / name), wanted)
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


def _digest(file: Path) -> str:
    try:
        return digest_of(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); check it.") from error


def _stamp(file: Path) -> Sequence[int]:
    state = file.stat()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def _remember(memory: Path, known: Mapping[str, Any]) -> None:
    beside = memory.with_name(f"{memory.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(known), encoding="utf-8")
        os.replace(beside, memory)
