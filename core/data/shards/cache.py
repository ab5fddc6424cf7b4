"""The files kept on disk of remote shards: their indices, and a bounded number of whole copies.

They are in `core.paths.cache_folder()`. Copies are made of shards whose server sends no parts, and
of parquet files; together they take at most REGVQ_CACHE_GB gigabytes (20 by default), and the least
recently used ones are removed first. Any of these files may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError
from ...paths import cache_folder
from ..remote import Facts, download, redact_query
from .items import Index, LeftOut, Member

_DEFAULT_GB = 20.0
_COPIES = (".tar", ".parquet")
_one_at_a_time = threading.Lock()  # concurrent downloads could together exceed the limit


def kept_index(url: str, facts: Facts) -> Index | None:
    """Return the index kept of exactly this file, or None."""
    try:
        kept = json.loads(_index_file(url, facts).read_text(encoding="utf-8"))
        return Index(
            tuple(
                (key, {row[0]: Member(*row) for row in members}) for key, members in kept["items"]
            ),
            LeftOut(Counter(kept["problems"][0]), kept["problems"][1]),
            LeftOut(Counter(kept["notes"][0]), kept["notes"][1]),
            Counter(kept["unread"]),
        )
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None  # missing, incomplete, or of an earlier version: it is made again


def keep_index(url: str, facts: Facts, index: Index) -> None:
    """Keep an index for later runs; if nothing can be written, they index again."""
    kept = {
        "items": [(key, list(members.values())) for key, members in index.items],
        "problems": (index.problems.counts, index.problems.first),
        "notes": (index.notes.counts, index.notes.first),
        "unread": index.unread,
    }
    file = _index_file(url, facts)
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(kept, separators=(",", ":")), encoding="utf-8")
        os.replace(beside, file)


def copy_of(url: str, facts: Facts, suffix: str = ".tar") -> Path:
    """Return a whole copy of a remote file, downloaded if there is none; ``suffix``: of its name.

    Processes that need the same copy wait for the first of them. Raises DataError if it cannot be
    downloaded, or if it is larger than the limit of all copies together.
    """
    file = cache_folder() / "shards" / f"{_key(url, facts)}{suffix}"
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time, _locked(file.with_suffix(".lock")):
                if not file.exists():
                    _fetch(url, facts, file)
        os.utime(file)  # the time of its last use
    except OSError as error:
        raise DataError(
            f"{error.filename or file.parent}: {error.strerror}; set REGVQ_CACHE to a folder "
            "for copies."
        ) from error
    return file


def _fetch(url: str, facts: Facts, file: Path) -> None:
    limit, size = _limit_bytes(), facts.size or 0
    if size > limit:
        raise DataError(
            f"{redact_query(url)} has {size / 1e9:.3g} GB, but copies may take only "
            f"{limit / 1e9:.3g} GB; set REGVQ_CACHE_GB to more."
        )
    _make_room(file.parent, limit - size)
    part = file.with_suffix(".part")
    try:
        download(url, part)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _make_room(folder: Path, limit: int) -> None:
    copies = []
    for copy in (file for suffix in _COPIES for file in folder.glob(f"*{suffix}")):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            state = copy.stat()
            copies.append((state.st_mtime_ns, state.st_size, copy))
    total = sum(size for _, size, _ in copies)
    for _, size, copy in sorted(copies):
        if total <= limit:
            break
        copy.unlink(missing_ok=True)
        total -= size


def _limit_bytes() -> int:
    text = os.environ.get("REGVQ_CACHE_GB", "")
    try:
        limit = float(text) if text else _DEFAULT_GB
    except ValueError:
        limit = -1.0
    if not 0 < limit < float("inf"):
        raise DataError(f"REGVQ_CACHE_GB is {text!r}; set it to a number of gigabytes above 0.")
    return round(limit * 1e9)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    import fcntl  # not available on Windows, where everything but these copies works

    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # released by the system if this process dies
        yield


def _index_file(url: str, facts: Facts) -> Path:
    return cache_folder() / "index" / f"{_key(url, facts)}.json"


def _key(url: str, facts: Facts) -> str:
    text = f"{redact_query(url)} {facts.size} {facts.mark}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
