"""webdataset-style tar shards: pictures with captions, maps and labels, for what outgrows a folder.

Files of one item share their path up to the first dot of the name: `0001.jpg`, `0001.txt`,
`0001.seg.png`, `0001.cls`, `0001.json`. Headers are read once; members are then read where they
lie, on a disk or on a web server, and the draws of an epoch go through one shard after another, so
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
    (`{000..146}`, `{a,b}`), of files also `*` and `?`; several are joined by `::`. Where some
    names, or the folders they lie in, have the word "train" and others "val" or "test", these are
    the splits; otherwise all shards are one split.

    Of an item: a picture (by suffix); captions from `.txt` (one a line) or from `.json`
    ("captions", "caption" or "text"); a label from `.cls` or the JSON's "label"; a map of class
    ids, 255 unlabeled, from `.seg.png`.

    An epoch's order shuffles the shards and the items within each: a permutation as everywhere,
    but without jumps between shards. It needs the number of items of each, so remote shards are
    indexed before the first draw, once (core.data.shards.files says what is asked of the server).

    Raises DataError: no shards, a compressed or truncated one, one without pictures; of remote
    ones also, later: the server did not answer in several attempts.
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
        shard = self._shards[self._shard_of[index]]
        if isinstance(shard, StreamedShard):
            return self._streamed(shard, index)[suffix]
        return shard.read([member])[0]

    def _streamed(self, shard: StreamedShard, index: int) -> dict[str, bytes]:
        """All that is read of an item, in one request; short texts of many items are remembered.

        Captions and labels are read at each draw (decoded pictures too: ``PictureDataset``).
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
        """Where the shards are, for sentences."""
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
