"""webdataset-style tar shards: pictures with captions, maps and labels, for what outgrows a folder.

Files of one item share their path up to the first dot of the name: `0001.jpg`, `0001.txt`,
`0001.seg.png`, `0001.cls`, `0001.json`. Headers are read once; members are then read where they
lie, and the draws of an epoch go through one shard after another, so that a network disk is read
in long runs.
"""

from __future__ import annotations

import glob
import io
import json
import os
import re
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.data import DataError
from core.data.items import About, Entry, Items
from core.data.maps import open_map, plain_lookup
from core.images import SUFFIXES, PictureError, open_picture

_LAYOUT = "*.tar, or name shards as 'DIR/train-{000..146}.tar'"
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)$")
_MAP_SUFFIXES = (".seg.png", ".segmentation.png", ".map.png")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_MAX_CLASSES = 255


@dataclass(frozen=True)
class _Member:
    suffix: str
    offset: int
    size: int


class TarShards(Items):
    """Items in uncompressed tar files.

    The root is a folder of `*.tar`, one tar file, or a pattern with braces (`{000..146}`,
    `{a,b}`), `*` and `?`. Where file names begin with "train" and others with "val" or "test" (or
    lie in such subfolders), these are the splits; otherwise all shards are one split.

    Of an item: a picture (by suffix); captions from `.txt` (one a line) or from `.json`
    ("captions", "caption" or "text"); a label from `.cls` or the JSON's "label"; a map of class
    ids, 255 unlabelled, from `.seg.png`.

    An epoch's order shuffles the shards and the items within each: a permutation as everywhere,
    but without jumps between shards.

    Raises DataError: no shards, a compressed or truncated one, one without pictures.
    """

    name = "shards"
    about = About(
        what="tar shards as webdataset writes them: pictures, captions, labels, maps",
        where="yours, or made from any data set with tar --sort=name",
        terms="those of the pictures in them",
    )
    lookup = plain_lookup(_MAX_CLASSES)

    def __init__(self, root: str | Path | None, split: str = "train", **options: Any) -> None:
        if root is None:
            raise DataError(f"the data set {self.name!r} needs a root: give a folder of {_LAYOUT}.")
        shards = shard_files(root, split)
        entries: list[Entry] = []
        self._members: list[dict[str, _Member]] = []
        self._spans: list[tuple[int, int]] = []
        for shard in shards:
            first = len(entries)
            for key, members in _index(shard):
                picture = _picture(members)
                if picture is not None:
                    entries.append(Entry(shard / f"{key}{picture.suffix}"))
                    self._members.append(members)
            if len(entries) == first:
                raise DataError(f"{shard} holds no pictures; give shards that do.")
            self._spans.append((first, len(entries)))
        top = Path(root)
        super().__init__(top if top.is_dir() else shards[0].parent, entries, **options)

    def has_map(self, index: int) -> bool:
        """Whether an item has a semantic map."""
        return _map(self._members[index]) is not None

    def captions(self, index: int) -> tuple[str, ...]:
        """All captions of an item."""
        text = self._bytes(index, ".txt")
        if text is not None:
            lines = text.decode("utf-8", errors="replace").splitlines()
        else:
            facts = self._facts(index)
            said = (facts[key] for key in ("captions", "caption", "text") if key in facts)
            lines = next(said, [])
            lines = [lines] if isinstance(lines, str) else lines
            if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
                raise PictureError(f"{self._name(index)}.json holds captions that are no text.")
        return tuple(line.strip() for line in lines if line.strip())

    def label(self, index: int) -> int:
        """The label of an item, or -1."""
        text = self._bytes(index, ".cls")
        try:
            return int(self._facts(index).get("label", -1) if text is None else text)
        except (TypeError, ValueError):
            raise PictureError(f"the label of {self._name(index)} is no whole number.") from None

    def _load(self, index: int) -> tuple[Image.Image, np.ndarray | None]:
        members, name = self._members[index], self._shown(self.entries[index].path)
        picture = open_picture(self._bytes(index, _picture(members).suffix), name=name)
        self.captions(index), self.label(index)  # what is wrong with them breaks the item, too
        found = _map(members)
        if found is None:
            return picture, None
        values = open_map(io.BytesIO(self._bytes(index, found.suffix)), name=f"the map of {name}")
        return picture, self._classes_of(values, self.entries[index])

    def _name(self, index: int) -> str:
        return self._shown(self.entries[index].path.with_suffix(""))

    def _facts(self, index: int) -> dict[str, Any]:
        text = self._bytes(index, ".json")
        if text is None:
            return {}
        try:
            facts = json.loads(text)
        except ValueError as error:
            raise PictureError(f"{self._name(index)}.json is no JSON ({error}).") from None
        return facts if isinstance(facts, dict) else {}

    def _bytes(self, index: int, suffix: str) -> bytes | None:
        member = self._members[index].get(suffix)
        if member is None:
            return None
        shard = self.entries[index].path
        shard = next(folder for folder in shard.parents if folder.suffix == ".tar")
        try:
            with shard.open("rb") as stream:
                stream.seek(member.offset)
                data = stream.read(member.size)
        except OSError as error:
            raise PictureError(f"{shard} cannot be read ({error.strerror}).") from error
        if len(data) < member.size:
            raise PictureError(f"{shard} was cut off while it was read; copy it again.")
        return data

    def _permutation(self, rng: np.random.Generator) -> np.ndarray:
        spans = [self._spans[i] for i in rng.permutation(len(self._spans))]
        return np.concatenate([first + rng.permutation(last - first) for first, last in spans])


def shard_files(root: str | Path, split: str) -> list[Path]:
    """The shards of a split, sorted. Raises DataError if there are none."""
    root = Path(root)
    if root.is_dir():
        found = sorted(root.rglob("*.tar"))
    else:
        patterns = [Path(text) for text in expand_braces(str(root))]
        found = [
            Path(name)
            for pattern in patterns
            for name in (sorted(glob.glob(str(pattern))) if _is_glob(pattern) else [pattern])
        ]
        absent = next((path for path in found if not path.is_file()), None)
        if absent is not None:
            raise DataError(f"the shard {absent} does not exist; give {_LAYOUT}.")
    if not found:
        packed = root.is_dir() and any(f.name.endswith(_COMPRESSED) for f in root.rglob("*.t*"))
        hint = f"give a folder of {_LAYOUT}"
        hint = "they are compressed: unpack them to .tar" if packed else hint
        raise DataError(f"there are no tar shards at {root}; {hint}.")
    base = root if root.is_dir() else None
    of = {path: _split_of(path, base) for path in found}
    if "train" not in of.values() or not {"val", "test"} & set(of.values()):
        return found
    for part in {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}[split]:
        if chosen := [path for path in found if of[path] == part]:
            return chosen
    raise DataError(f"there are no tar shards of the split {split!r} at {root}.")


def _split_of(path: Path, base: Path | None) -> str | None:
    places = path.relative_to(base).parts if base is not None else path.parts[-2:]
    for place in reversed(places):
        word = re.split(r"[^a-z]", place.lower())[0]
        for split, words in (("train", ("train", "training")), ("test", ("test", "testing")),
                             ("val", ("val", "valid", "validation"))):  # fmt: skip
            if word in words:
                return split
    return None


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


def _is_glob(path: Path) -> bool:
    return any(sign in str(path) for sign in "*?[")


def _index(shard: Path) -> tuple[tuple[str, dict[str, _Member]], ...]:
    if shard.name.endswith(_COMPRESSED):
        raise DataError(f"{shard} is compressed and cannot be read in place; unpack it to .tar.")
    try:
        state = shard.stat()
    except OSError as error:
        raise DataError(f"{shard} cannot be read ({error.strerror}); check it.") from error
    return _headers(str(shard), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _headers(path: str, size: int, changed: int) -> tuple[tuple[str, dict[str, _Member]], ...]:
    """Members of a shard by key; one reading of its headers for all who open it."""
    found: dict[str, dict[str, _Member]] = {}
    cut = DataError(f"the shard {path} is truncated; copy or download it again.")
    end, block = 0, tarfile.BLOCKSIZE
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                end = member.offset_data
                if not member.isfile():
                    continue
                end += -(-member.size // block) * block
                if member.offset_data + member.size > size:
                    raise cut
                folder, name = os.path.split(member.name)
                if name.startswith("."):
                    continue
                stem, dot, suffix = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                suffix = dot + suffix.lower()
                place = _Member(suffix, member.offset_data, member.size)
                found.setdefault(key, {})[suffix] = place
    except tarfile.TarError as error:
        if "unexpected end" in str(error) or "truncated" in str(error):
            raise cut from error
        raise DataError(f"{path} is no tar file ({error}); give {_LAYOUT}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); check it.") from error
    with open(path, "rb") as stream:
        stream.seek(end)
        if stream.read(block) != bytes(block):
            raise cut  # whole members, but the blocks of zeros that end a tar file are not there
    return tuple(found.items())


def _picture(members: dict[str, _Member]) -> _Member | None:
    return next(
        (member for suffix, member in members.items() if suffix in SUFFIXES), None
    )


def _map(members: dict[str, _Member]) -> _Member | None:
    return next((members[suffix] for suffix in _MAP_SUFFIXES if suffix in members), None)
