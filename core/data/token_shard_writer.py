"""Writing token shards (``core.data.token_shards``): a folder that can be interrupted and resumed.

A header is written first, with no rows. Each shard's files are written under another name, synced
and renamed before the header counts them, so that the header never vouches for a file that is not
complete, and the finished files are the same after any interruption.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bundles.replacement import NEW, is_leftover, remove, write_bytes
from ..bundles.storage import CHECKSUMS, write_sealed
from ..errors import DataError
from .contents import EVERYTHING, contents_of, identity_of, parts_of
from .sample import Dataset, Sample
from .segmentation import UNLABELED, on_grid
from .text import MAX_LABEL, cleaned
from .token_header import (
    FORMAT,
    HEADER,
    WITH_LEVELS,
    WITHOUT_SUMS,
    arrays_of,
    check_files,
    files_of,
    read_header,
    shard_file,
    token_dtype,
)

_PROGRESS = {
    "rows": [],
    "skipped": 0,
    "found": {"captions": 0, "maps": 0, "labels": 0},
    CHECKSUMS: [],
    "complete": False,
}


def new_header(
    tokenizer: Mapping[str, Any], data: Dataset, size: int, views: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the header of shards that are still to be written.

    ``tokenizer``: its ``name``, ``fingerprint``, ``codebook_size`` and ``downsampling``, and
    ``levels`` if it has several. ``size``: the side of the encoded squares in pixels. ``views``:
    the number of rows. ``settings``: ``data`` (``name``, ``split``, ``items``) and what else
    determines the shards. ``captions`` and ``segmentation`` of the header are True if any item has
    one: the others get an empty list and an unlabeled map.
    """
    side = size // tokenizer["downsampling"]
    described = {
        **settings["data"],
        "classes": list(getattr(data, "classes", ())),
        "identity": identity_of(data),
    }
    # Of all items, not of the first: what that one lacks would be lost for all. Of a data set of
    # the user's own, only reading all items would tell.
    unknown = contents_of(data) is None
    parts = parts_of(data) if not unknown else EVERYTHING
    return {
        "format": FORMAT if tokenizer.get("levels", 1) == 1 else WITH_LEVELS,
        "kind": "tokens",
        "tokenizer": dict(tokenizer),
        "data": described,
        "size": size,
        **{key: value for key, value in settings.items() if key != "data"},
        "views": views,
        "grid": [side, side],
        "dtype": token_dtype(tokenizer["codebook_size"]),
        "captions": parts.captions,
        "segmentation": parts.maps,
    }


class TokenShardWriter:
    """Token shards in a folder, written one after the other.

    Args:
        root: a new or empty folder, or one with a part of the same shards, which is resumed.
        header: from ``new_header``.

    Raises:
        DataError: the folder holds something else, shards of another header, or a damaged shard.
    """

    def __init__(self, root: Path, header: Mapping[str, Any]) -> None:
        self.root = root
        if (root / HEADER).exists():
            before = read_header(root)
            old = before["format"] == WITHOUT_SUMS
            differing = [key for key, value in header.items() if before.get(key) != value]
            if old:
                known = {key: value for key, value in header["data"].items() if key != "identity"}
                differing = [key for key in differing if key not in ("format", "data")]
                differing += ["data"] if before["data"] != known else []
            if differing:
                raise DataError(
                    f"{root} holds token shards of another {', '.join(differing)}; choose another "
                    "folder, or the same settings to resume."
                )
            check_files(root, before)
            self.header = {**header, **{key: before.get(key, _PROGRESS[key]) for key in _PROGRESS}}
            if old:
                self._add_sums()
            for file in root.iterdir():
                if is_leftover(file.name):
                    remove(file)
            return
        # A lock and the remainder of a first header are no files of others.
        ours = {HEADER + NEW}
        if root.is_dir() and any(
            not entry.name.startswith(".") and entry.name not in ours for entry in root.iterdir()
        ):
            raise DataError(f"{root} holds other files; name an empty or a new folder.")
        root.mkdir(parents=True, exist_ok=True)
        self.header = {**header, **copy.deepcopy(_PROGRESS)}
        self._save()

    def _save(self) -> None:
        write_sealed(self.root / HEADER, self.header)

    def _add_sums(self) -> None:
        """Give shards of an earlier version the checksums and counts of this one."""
        self.header[CHECKSUMS], self.header["found"] = [], dict(_PROGRESS["found"])
        for shard in range(self.written):
            names = files_of(self.header)
            files = {name: shard_file(self.root, name, shard).read_bytes() for name in names}
            sums = {name: _digest(data) for name, data in files.items()}
            self.header[CHECKSUMS].append(sums)
            said = files.get("captions", b"").split(b"\n")
            self._count("captions", sum(line not in (b"", b"[]") for line in said))
            self._count("labels", int((np.frombuffer(files["labels"], "<i4") >= 0).sum()))
            maps = np.frombuffer(files.get("segmentation", b""), np.uint8)
            maps = maps.reshape(-1, int(np.prod(self.header["grid"])))
            self._count("maps", int((maps != UNLABELED).any(axis=1).sum()))
        self._save()

    def _count(self, part: str, items: int) -> None:
        self.header["found"][part] += items

    @property
    def written(self) -> int:
        """The number of shards that are complete."""
        return len(self.header["rows"])

    def write(
        self,
        batches: Iterable[tuple[Tensor, Sequence[Sample]]],
        skipped: Sequence[str],
        *,
        last: bool,
    ) -> None:
        """Write the next shard: ids int64 (B, h, w), or (B, L, h, w), of each batch, with the
        samples.

        ``skipped``: the sentences about broken pictures; it is read after ``batches`` is exhausted,
        which may fill it. ``last``: True for the last shard.
        """
        shard, kinds = self.written, arrays_of(self.header)
        parts: dict[str, list[Any]] = {name: [] for name in kinds}
        captions: list[str] = []
        for ids, samples in batches:
            labels = np.array([sample.label for sample in samples])
            if labels.min() < -1 or labels.max() > MAX_LABEL:
                wrong = labels[(labels < -1) | (labels > MAX_LABEL)][0]
                raise DataError(
                    f"a label is {wrong}; labels go from 0 to {MAX_LABEL}, and -1 is none."
                )
            parts["tokens"].append(ids.cpu().numpy())
            parts["labels"].append(labels)
            if "segmentation" in kinds:
                parts["segmentation"].append(np.stack([self._map(sample) for sample in samples]))
            for sample in samples:
                said = cleaned(sample.captions or (sample.caption,))
                captions.append(json.dumps(list(said), ensure_ascii=False) + "\n")
                self._count("captions", bool(said))
                self._count("maps", sample.segmentation is not None)
                self._count("labels", sample.label >= 0)
        sums = {}
        for name, (dtype, shape) in kinds.items():
            empty = np.zeros((0, *shape), np.int64)
            stored = np.concatenate([empty, *parts[name]])
            stored = stored.astype(np.dtype(dtype).newbyteorder("<"))
            sums[name] = _replace(shard_file(self.root, name, shard), stored.tobytes())
        if self.header["captions"]:
            data = "".join(captions).encode()
            sums["captions"] = _replace(shard_file(self.root, "captions", shard), data)
        self.header["rows"].append(len(captions))
        self.header[CHECKSUMS].append(sums)
        self.header["skipped"] += len(skipped)
        self.header["complete"] = last
        self._save()

    def _map(self, sample: Sample) -> np.ndarray:
        """Return a sample's map on the token grid, uint8 (h, w); unlabeled if it has none."""
        segmentation = sample.segmentation
        if segmentation is None:
            segmentation = torch.full(sample.image.shape[1:], UNLABELED)
        return on_grid(segmentation, self.header["tokenizer"]["downsampling"]).numpy()


def _replace(file: Path, data: bytes) -> str:
    """Write a file to the disk before the header vouches for it; return its SHA-256."""
    write_bytes(file, data)
    return _digest(data)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
