"""WebDataset-style tar shards: pictures with captions, maps and labels, for very large data sets.

Files of one item share their path without the suffix: `0001.jpg`, `0001.txt`, `0001.seg.png`,
`0001.cls`, `0001.json` (core.data.shards.items describes other names). Headers are read once;
members are then read in place, on a disk or on a web server, and the draws of an epoch go through
one shard after another, so that a network is read in long runs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import DataError, PictureError
from ...formats import SUFFIXES
from ...images import open_picture, open_turned
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..remote import url_of
from ..segmentation import plain_lookup, read_map
from ..text import captions_in, cleaned, decode, label_in, lines_of, parse_json
from .files import LAYOUT, StreamedShard, all_shards, index_all, of_split
from .items import MAP_SUFFIXES, TEXT_SUFFIXES, Member, sentences

_MAX_CLASSES = 255
_CAPTIONS = ("captions", "caption", "text")
_TEXTS_KEPT, _TEXT_BYTES = 65_536, 8192


class TarShards(PictureDataset):
    """Items in uncompressed tar files, on a disk or at any place that fsspec speaks to.

    The root is a folder of `*.tar`, one tar file or its address (https, s3, gs, hf and others), or
    a pattern with braces (`{000..146}`, `{a,b}`) and, except on a web server, which lists no files,
    also `*` and `?`; several are joined by `::`. If some names,
    or the folders they are in, contain a word for training and others one for validation or test
    (core.data.splits), these are the splits, and shards without such a word are in `skipped`;
    otherwise all shards are one split.

    An item is a picture (by suffix); captions from `.txt` (one per line) or from `.json`
    ("captions", "caption" or "text"; null is none); a label, a number from 0, from `.cls` or the
    JSON's "label"; a map of class ids, 255 = unlabeled, from `.seg.png`. Texts are UTF-8, or what
    their byte order mark says; an item whose text, label or map is wrong counts as broken.

    The order of an epoch shuffles the shards and the items within each: a permutation as
    everywhere, but without jumps between shards. It needs the number of items of each shard, so
    remote shards are indexed once, before the first draw (core.data.shards.files describes the
    requests).

    Raises DataError if there are no shards, or if one is compressed, truncated or without pictures;
    for remote shards also later, if the server does not answer in several attempts.
    """

    name = "shards"
    about = DatasetInfo(
        what="tar shards as webdataset writes them: pictures, captions, labels, maps",
        where="yours, or made from any data set with tar --sort=name",
        terms="those of the pictures in them",
    )
    markers = ("**/*.tar*", "**/*.tgz")
    lookup = plain_lookup(_MAX_CLASSES)

    def __init__(self, root: str | Path | None, split: str = "train", **options: Any) -> None:
        if root is None:
            raise DataError(f"the data set {self.name!r} needs a root: give a folder of {LAYOUT}.")
        everything = all_shards(root)
        self._shards, skipped, remarks = of_split(everything, root, split)
        entries: list[Entry] = []
        unread = Counter[str]()
        self._members: list[dict[str, Member]] = []
        self._spans: list[tuple[int, int]] = []
        self._shard_of: list[int] = []
        for number, (shard, index) in enumerate(
            zip(self._shards, index_all(self._shards), strict=True)
        ):
            first = len(entries)
            for key, members in index.items:
                picture = next(iter(members.values()))
                entries.append(Entry(shard.path / f"{key}{picture.suffix}"))
                self._members.append(members)
                self._shard_of.append(number)
            problems = sentences(index.problems, shard.path.name)
            if len(entries) == first:
                raise DataError(
                    f"{shard.name} holds no pictures; give shards that do"
                    f"{' (' + '; '.join(problems) + ')' if problems else ''}."
                )
            skipped += problems
            remarks += sentences(index.notes, shard.path.name)
            unread += index.unread
            self._spans.append((first, len(entries)))
        top = Path(root) if os.path.isdir(root) else self._shards[0].path.parent
        super().__init__(top, entries, skipped=skipped, remarks=remarks, unread=unread, **options)

    def _start_empty(self) -> None:
        super()._start_empty()
        self._texts: OrderedDict[int, dict[str, bytes]] = OrderedDict()
        self._latest: tuple[int, dict[str, bytes]] = (-1, {})

    def has_map(self, index: int) -> bool:
        """Return True if an item has a semantic map."""
        return _map(self._members[index]) is not None

    def has_caption(self, index: int) -> bool:
        """Return True if an item has a .txt that is not empty. Nothing is read."""
        text = self._members[index].get(".txt")
        return text is not None and text.size > 0

    def has_label(self, index: int) -> bool:
        """Return True if an item has a .cls. Nothing is read."""
        return ".cls" in self._members[index]

    @property
    def with_json(self) -> int:
        """The number of items with a .json, which may hold captions and a label."""
        return sum(".json" in members for members in self._members)

    def parts(self) -> tuple[bool, bool, bool]:
        """Return True for each of captions, maps and labels that any item has.

        Texts on a disk are read until one holds a caption; on a web server, a file that may hold
        one counts, since each would be a request.
        """
        captions, maps, labels = super().parts()
        with_json = self.with_json > 0
        may_caption, may_label = captions or with_json, labels or with_json
        if any(isinstance(shard, StreamedShard) for shard in self._shards):
            return may_caption, maps, may_label
        return (
            may_caption and self._any(lambda row: bool(self.captions(row)), ".txt"),
            maps,
            may_label and self._any(lambda row: self.label(row) >= 0, ".cls"),
        )

    def _any(self, holds: Callable[[int], bool], suffix: str) -> bool:
        for row, members in enumerate(self._members):
            if suffix in members or ".json" in members:
                with contextlib.suppress(PictureError):  # a broken item; reading it will tell
                    if holds(row):
                        return True
        return False

    def manifest(self) -> Iterator[str]:
        """Yield a line for each shard: its name, its size and the number of its items."""
        for shard, (first, last) in zip(self._shards, self._spans, strict=True):
            yield json.dumps([shard.path.name, shard.size(), last - first])

    def captions(self, index: int) -> tuple[str, ...]:
        """Return all captions of an item. Raises PictureError for texts that are none."""
        text = self._text(index, ".txt")
        captions = cleaned(line for _, line in lines_of(text)) if text is not None else ()
        if captions:
            return captions
        facts = self._facts(index)
        found = (facts[key] for key in _CAPTIONS if facts.get(key) is not None)
        try:
            return captions_in(next(found, None))
        except ValueError as error:
            raise PictureError(f"{self._name(index)}.json holds {error}.") from None

    def label(self, index: int) -> int:
        """Return the label of an item, or -1. Raises PictureError for a label that is none."""
        text = self._text(index, ".cls")
        try:
            return label_in(self._facts(index).get("label") if text is None else text)
        except ValueError as error:
            raise PictureError(
                f"the label of {self._name(index)} is {error}, not a whole number; write a number "
                "from 0, or leave it out."
            ) from None

    def _load(self, index: int) -> tuple[Image.Image, np.ndarray | None]:
        path, members = self.entries[index].path, self._members[index]
        name, found = self._shown(path), _map(members)
        data = self._bytes(index, path.suffix.lower())
        # An error in the captions or the label breaks the item too.
        self.captions(index)
        self.label(index)
        if found is None:
            return open_picture(data, name=name), None
        picture, orientation = open_turned(data, name=name)
        file, of = io.BytesIO(self._bytes(index, found.suffix)), f"the map of {name}"
        return picture, self._on(picture, orientation, read_map(file, name=of), of)

    def _name(self, index: int) -> str:
        return self._shown(self.entries[index].path.with_suffix(""))

    def _facts(self, index: int) -> dict[str, Any]:
        text = self._text(index, ".json")
        if text is None:
            return {}
        try:
            facts = parse_json(text)
        except ValueError as error:
            raise PictureError(f"{self._name(index)}.json is not valid JSON ({error}).") from None
        return facts if isinstance(facts, dict) else {}

    def _text(self, index: int, suffix: str) -> str | None:
        if suffix not in self._members[index]:
            return None
        try:
            return decode(self._bytes(index, suffix), f"{self._name(index)}{suffix}")
        except ValueError as error:
            raise PictureError(f"{error}.") from None

    def _bytes(self, index: int, suffix: str) -> bytes:
        shard = self._shards[self._shard_of[index]]
        if isinstance(shard, StreamedShard):
            return self._streamed(shard, index, suffix)[suffix]
        return shard.read([self._members[index][suffix]])[0]

    def _streamed(self, shard: StreamedShard, index: int, suffix: str) -> dict[str, bytes]:
        """Return all bytes that are read of an item, from one request; at least those of a suffix.

        The short texts of many items are kept: captions and labels are read at each draw (decoded
        pictures are cached by ``PictureDataset``).
        """
        members = self._members[index]
        wanted = {suffix: members[suffix] for suffix in TEXT_SUFFIXES if suffix in members}
        texts, latest = self._texts.get(index), self._latest
        if latest[0] == index:
            return latest[1]
        if texts is not None and suffix in texts and self._cache.get(index) is not None:
            return texts
        for member in (_picture(members), _map(members)):
            if member is not None:
                wanted[member.suffix] = member
        found = dict(zip(wanted, shard.read(list(wanted.values())), strict=True))
        self._latest = (index, found)
        short = {suffix: found[suffix] for suffix in TEXT_SUFFIXES if suffix in found}
        if sum(map(len, short.values())) <= _TEXT_BYTES:
            with self._lock:
                self._texts[index] = short
                while len(self._texts) > _TEXTS_KEPT:
                    self._texts.popitem(last=False)
        return found

    @property
    def place(self) -> str:
        """The folder or address of the shards, as messages name it."""
        return url_of(self.root) or str(self.root)

    def _shown(self, path: Path) -> str:
        text = super()._shown(path)
        return url_of(text) or text

    def __getstate__(self) -> dict:
        return {k: v for k, v in super().__getstate__().items() if k not in ("_texts", "_latest")}

    def _permutation(self, rng: np.random.Generator) -> np.ndarray:
        spans = [self._spans[i] for i in rng.permutation(len(self._spans))]
        return np.concatenate([first + rng.permutation(last - first) for first, last in spans])


def _picture(members: dict[str, Member]) -> Member | None:
    return next((member for suffix, member in members.items() if suffix in SUFFIXES), None)


def _map(members: dict[str, Member]) -> Member | None:
    return next((members[suffix] for suffix in MAP_SUFFIXES if suffix in members), None)
