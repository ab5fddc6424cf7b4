"""The shards that a root names, and the bytes of their members, read locally or streamed."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from ...errors import DataError, PictureError
from ..remote import (
    PartsFile,
    facts_of,
    is_pattern,
    is_web,
    listed,
    read_part,
    redact_query,
    url_of,
)
from ..splits import are_splits, served_by, split_inside
from .cache import copy_of, keep_index, kept_index
from .items import Index, Member
from .tar import COMPRESSED, expand_braces, members_of

LAYOUT = (
    "*.tar, or name shards as 'DIR/train-{000..146}.tar' or 'https://HOST/train-{000..146}.tar'"
)
_JOIN = "::"
_AHEAD = 16 * 1024  # bytes fetched at once when the headers of a remote shard are read
_GAP = 64 * 1024  # a gap of so many bytes between members is fetched along with them
_INDEXERS = 16


@dataclass(frozen=True)
class LocalShard:
    """A tar file on a disk."""

    path: Path

    @property
    def name(self) -> str:
        """The path, as messages name it."""
        return str(self.path)

    def members(self) -> Index:
        """Return the index of its items. Raises DataError."""
        try:
            state = self.path.stat()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error.strerror}); check it.") from error
        return _headers(str(self.path), state.st_size, state.st_mtime_ns)

    def size(self) -> int | None:
        """Return its size in bytes."""
        return self.path.stat().st_size

    def read(self, members: Sequence[Member]) -> list[bytes]:
        """Return the bytes of members. Raises PictureError."""
        try:
            with self.path.open("rb") as stream:
                return _read_from(stream, members, self.name)
        except OSError as error:
            raise PictureError(f"{self.path} cannot be read ({error.strerror}).") from error


@dataclass(frozen=True)
class StreamedShard:
    """A tar file on a web server, in a bucket, or at another place that fsspec speaks to.

    If the server sends parts of files, headers and members are requested when they are needed, and
    only the index is kept on disk. If it does not, the shard is copied whole, into a folder of
    bounded size (see core.data.shards.cache).
    """

    url: str

    @property
    def path(self) -> Path:
        """The address as a path, to show and to tell files apart; it is not a file."""
        return Path(redact_query(self.url))

    @property
    def name(self) -> str:
        """The address without its query, as messages name it."""
        return redact_query(self.url)

    def members(self) -> Index:
        """Return the index of its items.

        Headers are read once, also for later runs. Raises DataError.
        """
        facts = facts_of(self.url)
        return _remote_headers(self.url, facts.size, facts.mark)

    def size(self) -> int | None:
        """Return its size in bytes, or None if the server does not report it."""
        return facts_of(self.url).size

    def read(self, members: Sequence[Member]) -> list[bytes]:
        """Return the bytes of members; members that lie together are requested together.

        Raises DataError, not PictureError: a failing network does not mean that pictures are
        broken.
        """
        facts = facts_of(self.url)
        if not facts.parts:
            return self._read_copy(members)
        first = min(member.offset for member in members)
        last = max(member.offset + member.size for member in members)
        if last - first > sum(member.size for member in members) + _GAP:
            return [read_part(self.url, member.offset, member.size) for member in members]
        data = read_part(self.url, first, last - first)
        return [data[m.offset - first : m.offset - first + m.size] for m in members]

    def _read_copy(self, members: Sequence[Member]) -> list[bytes]:
        while True:
            try:
                with copy_of(self.url, facts_of(self.url)).open("rb") as stream:
                    return _read_from(stream, members, self.name)
            except FileNotFoundError:
                continue  # another process removed the copy before it was opened


Shard = LocalShard | StreamedShard


def shards_of(root: str | Path, split: str) -> list[Shard]:
    """Return the shards of a split, in order. Raises DataError if there are none."""
    return of_split(all_shards(root), root, split)[0]


def all_shards(root: str | Path) -> list[Shard]:
    """Return the shards that a root names, of all splits. Raises DataError if there are none."""
    folder = Path(root) if os.path.isdir(root) else None  # Path.is_dir fails on long addresses
    far = url_of(root) if folder is None and _JOIN not in str(root) else None
    packed = False
    found: list[Shard]
    if far is not None and not is_web(far) and not _is_tar(far):
        names = listed(far)
        found = [StreamedShard(name) for name in names if name.endswith(".tar")]
        packed = not found and any(name.endswith(COMPRESSED) for name in names)
    elif folder is not None:
        found = [LocalShard(path) for path in sorted(folder.rglob("*.tar"))]
        packed = not found and any(f.name.endswith(COMPRESSED) for f in folder.rglob("*.t*"))
    else:
        found = [shard for part in str(root).split(_JOIN) for shard in _named(part)]
        packed = any(shard.path.name.endswith(COMPRESSED) for shard in found)
    if packed:
        raise DataError(f"the shards at {_shown(root)} are compressed: unpack them to .tar.")
    if not found:
        raise DataError(f"there are no tar shards at {_shown(root)}; give a folder of {LAYOUT}.")
    return found


def of_split(
    shards: Sequence[Shard], root: str | Path, split: str
) -> tuple[list[Shard], list[str], list[str]]:
    """Return the shards of a split, sentences about shards without one, and remarks."""
    folder = Path(root) if os.path.isdir(root) else None
    splits = [_split_of(shard.path, folder) for shard in shards]
    if not are_splits(splits):
        named = sorted({each for each in splits if each is not None})
        if not named:
            return list(shards), [], ["no name of a shard says a split: all are in every split"]
        said = f"the names of shards say {' and '.join(named)} alone: all are in every split"
        return list(shards), [], [said]
    skipped = [
        f"the shard {shard.name} names no split, although others do"
        for shard, each in zip(shards, splits, strict=True)
        if each is None
    ]
    wanted = served_by(split, {each for each in splits if each is not None})
    chosen = [shard for shard, each in zip(shards, splits, strict=True) if each == wanted]
    return chosen, skipped, []


def index_all(shards: Sequence[Shard]) -> list[Index]:
    """Return the index of each shard; remote ones are requested in parallel, with a bar."""
    if all(isinstance(shard, LocalShard) for shard in shards):
        return [shard.members() for shard in shards]
    from tqdm import tqdm

    pool = ThreadPoolExecutor(_INDEXERS)
    try:
        found = pool.map(lambda shard: shard.members(), shards)
        bar = tqdm(found, "indexing", len(shards), leave=False, disable=None, unit="shard")
        return list(bar)
    finally:
        pool.shutdown(cancel_futures=True)


def _named(pattern: str) -> list[Shard]:
    """Return the shards that one path, address or pattern names."""
    if pattern.startswith("pipe:"):
        raise DataError(f"commands such as {pattern!r} are not run; give a path or an address.")
    url = url_of(pattern)
    if url is not None:
        if not _is_tar(url):
            raise DataError(
                f"{redact_query(url)} is not a tar file: a web server does not list its files, so "
                "name the shards as 'https://HOST/train-{000..146}.tar'."
            )
        return [
            StreamedShard(name)
            for each in expand_braces(url)
            for name in (listed(each) if not is_web(each) and is_pattern(each) else [each])
        ]
    found = [
        Path(name)
        for each in expand_braces(pattern)
        for name in (sorted(glob.glob(each)) if any(sign in each for sign in "*?[") else [each])
    ]
    absent = next((path for path in found if not path.is_file()), None)
    if absent is not None:
        raise DataError(f"the shard {absent} does not exist; give {LAYOUT}.")
    return [LocalShard(path) for path in found]


def _is_tar(url: str) -> bool:
    return urlsplit(url).path.endswith((".tar", *COMPRESSED))


def _shown(root: str | Path) -> str:
    url = url_of(root)
    return str(root) if url is None else redact_query(url)


def _split_of(path: Path, base: Path | None) -> str | None:
    """Return the split that a path names: the first such word of the file name, or of a folder."""
    places = path.relative_to(base).parts if base is not None else path.parts[-2:]
    for place in reversed(places):
        if (split := split_inside(place)) is not None:
            return split
    return None


def _read_from(stream: BinaryIO, members: Sequence[Member], name: str) -> list[bytes]:
    found = []
    for member in members:
        stream.seek(member.offset)
        found.append(stream.read(member.size))
        if len(found[-1]) < member.size:
            raise PictureError(f"{name} was truncated while it was read; copy it again.")
    return found


@lru_cache(maxsize=8192)
def _headers(path: str, size: int, changed: int) -> Index:
    """Return the index of a local shard; its headers are read once for all who open it."""
    try:
        with open(path, "rb") as stream:
            return members_of(stream, size, path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); check it.") from error


@lru_cache(maxsize=8192)
def _remote_headers(url: str, size: int | None, mark: str) -> Index:
    facts = facts_of(url)
    index = kept_index(url, facts)
    if index is None:
        if facts.parts and size:
            stream = io.BufferedReader(PartsFile(url, size), _AHEAD)
            index = members_of(stream, size, redact_query(url))
        else:
            index = _index_of_copy(url)
        keep_index(url, facts, index)
    return index


def _index_of_copy(url: str) -> Index:
    while True:
        copy = copy_of(url, facts_of(url))
        try:
            with copy.open("rb") as stream:
                return members_of(stream, os.fstat(stream.fileno()).st_size, redact_query(url))
        except FileNotFoundError:
            continue  # another process removed it to make room
