"""Writing token shards (``core.data.token_shards``): a folder that can be interrupted and resumed.

A header is written first, with no rows. Each shard's files are written under another name, synced
and renamed before the header counts them and states their SHA-256, so that the header never vouches
for a file that is not complete, and the finished files are the same after any interruption.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bundles.checksums import digest_of
from ..bundles.replacement import NEW, is_leftover, remove, write_bytes
from ..bundles.storage import CHECKSUMS, write_sealed
from ..errors import DataError
from .sample import Dataset, Sample
from .segmentation import UNLABELED, on_grid
from .token_shards import (
    FORMAT,
    HEADER,
    arrays_of,
    check_files,
    files_of,
    read_header,
    shard_file,
    token_dtype,
)

_PROGRESS = {"rows": [], "skipped": 0, "complete": False, CHECKSUMS: {}}


def new_header(
    tokenizer: Mapping[str, Any], data: Dataset, size: int, views: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the header of shards that are still to be written.

    ``tokenizer``: its ``name``, ``fingerprint``, ``codebook_size`` and ``downsampling``. ``size``:
    the side of the encoded squares in pixels. ``views``: the number of rows. ``settings``: ``data``
    (``name``, ``split``, ``items``) and what else determines the shards.
    """
    sample = data.draw(0)
    side = size // tokenizer["downsampling"]
    described = {**settings["data"], "classes": list(getattr(data, "classes", ()))}
    return {
        "format": FORMAT,
        "kind": "tokens",
        "tokenizer": dict(tokenizer),
        "data": described,
        "size": size,
        **{key: value for key, value in settings.items() if key != "data"},
        "views": views,
        "grid": [side, side],
        "dtype": token_dtype(tokenizer["codebook_size"]),
        "captions": bool(sample.captions or sample.caption),
        "segmentation": sample.segmentation is not None,
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
            differing = [key for key, value in header.items() if before.get(key) != value]
            if differing:
                raise DataError(
                    f"{root} holds token shards of another {', '.join(differing)}; choose another "
                    "folder, or the same settings to resume."
                )
            check_files(root, before)
            self.header = {**header, **_PROGRESS}
            self.header |= {key: before[key] for key in _PROGRESS if key in before}
            if CHECKSUMS not in before:  # shards of before checksums; they were checked by size
                self.header[CHECKSUMS] = {
                    file.name: digest_of(file) for file in files_of(root, before)
                }
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
        self.header = {**header, **_PROGRESS, "rows": [], CHECKSUMS: {}}
        write_sealed(root / HEADER, self.header)

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
        """Write the next shard: ids int64 (B, h, w) of each batch, with the samples.

        ``skipped``: the sentences about broken pictures; it is read after ``batches`` is exhausted,
        which may fill it. ``last``: True for the last shard.
        """
        shard, kinds = self.written, arrays_of(self.header)
        parts: dict[str, list[Any]] = {name: [] for name in kinds}
        captions: list[str] = []
        for ids, samples in batches:
            parts["tokens"].append(ids.cpu().numpy())
            parts["labels"].append(np.array([sample.label for sample in samples]))
            if "segmentation" in kinds:
                parts["segmentation"].append(np.stack([self._map(sample) for sample in samples]))
            for sample in samples:
                said = sample.captions or ((sample.caption,) if sample.caption else ())
                captions.append(json.dumps(list(said), ensure_ascii=False) + "\n")
        for name, (dtype, shape) in kinds.items():
            empty = np.zeros((0, *shape), np.int64)
            stored = np.concatenate([empty, *parts[name]])
            stored = stored.astype(np.dtype(dtype).newbyteorder("<"))
            self._write(shard_file(self.root, name, shard), stored.tobytes())
        if self.header["captions"]:
            self._write(shard_file(self.root, "captions", shard), "".join(captions).encode())
        self.header["rows"].append(len(captions))
        self.header["skipped"] += len(skipped)
        self.header["complete"] = last
        write_sealed(self.root / HEADER, self.header)

    def _write(self, file: Path, data: bytes) -> None:
        write_bytes(file, data)
        self.header[CHECKSUMS][file.name] = hashlib.sha256(data).hexdigest()

    def _map(self, sample: Sample) -> np.ndarray:
        """Return a sample's map on the token grid, uint8 (h, w); unlabeled if it has none."""
        segmentation = sample.segmentation
        if segmentation is None:
            segmentation = torch.full(sample.image.shape[1:], UNLABELED)
        return on_grid(segmentation, self.header["tokenizer"]["downsampling"]).numpy()
