"""WebDataset-style tar shards: pictures with captions, maps and labels, for very large data sets.

Files of one item share their path up to the first dot of the name: `0001.jpg`, `0001.txt`,
`0001.seg.png`, `0001.cls`, `0001.json`. Headers are read once; members are then read in place,
on a disk or on a web server, and the draws of an epoch go through one shard after another, so
that a network is read in long runs.
"""

from __future__ import annotations

import io
import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import DataError, PictureError
from ...images import SUFFIXES, open_picture
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..segmentation import open_map, plain_lookup
from .files import LAYOUT, StreamedShard, index_all, shards_of
from .remote import url_of
from .tar import Member

_MAP_SUFFIXES = (".seg.png", ".segmentation.png", ".map.png")
_TEXT_SUFFIXES = (".txt", ".json", ".cls")
_MAX_CLASSES = 255
_TEXTS_KEPT, _TEXT_BYTES = 65_536, 8192


class TarShards(PictureDataset):
    """Items in uncompressed tar files, on a disk or on a web server.

    The root is a folder of `*.tar`, one tar file or its http(s) address, or a pattern with braces
    (`{000..146}`, `{a,b}`), for files also `*` and `?`; several are joined by `::`. If some names,
    or the folders they are in, contain the word "train" and others "val" or "test", these are the
    splits; otherwise all shards are one split.

    An item is a picture (by suffix); captions from `.txt` (one per line) or from `.json`
    ("captions", "caption" or "text"); a label from `.cls` or the JSON's "label"; a map of class
    ids, 255 = unlabeled, from `.seg.png`.

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
        self._shards = shards_of(root, split)
        entries: list[Entry] = []
        self._members: list[dict[str, Member]] = []
        self._spans: list[tuple[int, int]] = []
        self._shard_of: list[int] = []
        for number, (shard, items) in enumerate(
            zip(self._shards, index_all(self._shards), strict=True)
        ):
            first = len(entries)
            for key, members in items:
                picture = _picture(members)
                if picture is not None:
                    entries.append(Entry(shard.path / f"{key}{picture.suffix}"))
                    self._members.append(members)
                    self._shard_of.append(number)
            if len(entries) == first:
                raise DataError(f"{shard.name} holds no pictures; give shards that do.")
            self._spans.append((first, len(entries)))
        top = Path(root) if os.path.isdir(root) else self._shards[0].path.parent
        super().__init__(top, entries, **options)

    def _start_empty(self) -> None:
        super()._start_empty()
        self._texts: OrderedDict[int, dict[str, bytes]] = OrderedDict()
        self._latest: tuple[int, dict[str, bytes]] = (-1, {})

    def has_map(self, index: int) -> bool:
        """Return True if an item has a semantic map."""
        return _map(self._members[index]) is not None

    def captions(self, index: int) -> tuple[str, ...]:
        """Return all captions of an item."""
        text = self._text(index, ".txt")
        if text is not None:
            lines = text.decode("utf-8", errors="replace").splitlines()
        else:
            facts = self._facts(index)
            said = (facts[key] for key in ("captions", "caption", "text") if key in facts)
            lines = next(said, [])
            lines = [lines] if isinstance(lines, str) else lines
            if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
                raise PictureError(f"{self._name(index)}.json holds captions that are not texts.")
        return tuple(line.strip() for line in lines if line.strip())

    def label(self, index: int) -> int:
        """Return the label of an item, or -1."""
        text = self._text(index, ".cls")
        try:
            return int(self._facts(index).get("label", -1) if text is None else text)
        except (TypeError, ValueError):
            raise PictureError(f"the label of {self._name(index)} is not a whole number.") from None

    def _load(self, index: int) -> tuple[Image.Image, np.ndarray | None]:
        path, members = self.entries[index].path, self._members[index]
        name = self._shown(path)
        picture = open_picture(self._bytes(index, path.suffix), name=name)
        # An error in the captions or the label breaks the item too.
        self.captions(index)
        self.label(index)
        found = _map(members)
        if found is None:
            return picture, None
        values = open_map(io.BytesIO(self._bytes(index, found.suffix)), name=f"the map of {name}")
        return picture, self._classes_of(values, self.entries[index])

    def _name(self, index: int) -> str:
        return self._shown(self.entries[index].path.with_suffix(""))

    def _facts(self, index: int) -> dict[str, Any]:
        text = self._text(index, ".json")
        if text is None:
            return {}
        try:
            facts = json.loads(text)
        except ValueError as error:
            raise PictureError(f"{self._name(index)}.json is not valid JSON ({error}).") from None
        return facts if isinstance(facts, dict) else {}

    def _text(self, index: int, suffix: str) -> bytes | None:
        return self._bytes(index, suffix) if suffix in self._members[index] else None

    def _bytes(self, index: int, suffix: str) -> bytes:
        shard = self._shards[self._shard_of[index]]
        if isinstance(shard, StreamedShard):
            return self._streamed(shard, index)[suffix]
        return shard.read([self._members[index][suffix]])[0]

    def _streamed(self, shard: StreamedShard, index: int) -> dict[str, bytes]:
        """Return all bytes that are read of an item, from one request.

        The short texts of many items are kept: captions and labels are read at each draw (decoded
        pictures are cached by ``PictureDataset``).
        """
        members = self._members[index]
        wanted = {suffix: members[suffix] for suffix in _TEXT_SUFFIXES if suffix in members}
        texts, latest = self._texts.get(index), self._latest
        if latest[0] == index:
            return latest[1]
        if texts is not None and self._cache.get(index) is not None:
            return texts
        for member in (_picture(members), _map(members)):
            if member is not None:
                wanted[member.suffix] = member
        found = dict(zip(wanted, shard.read(list(wanted.values())), strict=True))
        self._latest = (index, found)
        short = {suffix: found[suffix] for suffix in _TEXT_SUFFIXES if suffix in found}
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
    return next((members[suffix] for suffix in _MAP_SUFFIXES if suffix in members), None)
