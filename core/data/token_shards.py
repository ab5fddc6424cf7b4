"""Token shards: a data set encoded once, for training priors without the tokenizer.

A folder with `header.json` and, for each shard NNNNN with its number of rows, little-endian arrays
without headers:

- `tokens-NNNNN.bin`: uint16 (rows, h, w), or uint32 for codebooks of over 65,536 codes; with
  several ids per position (rows, L, h, w), and the header is of format 3 and names L;
- `labels-NNNNN.bin`: int32 (rows,), -1 = none;
- `segmentation-NNNNN.bin`: uint8 (rows, h, w), 255 = unlabeled, if the data set has maps;
- `captions-NNNNN.jsonl`: a JSON list of sentences per row, if it has captions.

`header.json` names the tokenizer by its fingerprint: ids mean nothing to another tokenizer. It also
names the data set and its split, and holds the SHA-256 of every file and of its own content, which
are checked when the shards are opened (once: core.data.shard_sums). Shards of format 1, of earlier
versions, have no checksums; they are read, with a note.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from .token_header import (
    WITHOUT_SUMS,
    arrays_of,
    check_files,
    levels_of,
    read_header,
    shard_file,
)


@dataclass(frozen=True, eq=False)
class Tokens:
    """One encoded picture.

    ids: int64 (h, w), or (L, h, w) with several levels. caption: one of captions, or "".
    segmentation: int64 (h, w), 255 = unlabeled, or None. label: class id, or -1.
    """

    ids: Tensor
    caption: str = ""
    segmentation: Tensor | None = None
    label: int = -1
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Several encoded pictures.

    ids: int64 (B, h, w), or (B, L, h, w) with several levels. captions: one per picture, or None if
    the data set has none. segmentation: int64 (B, h, w), or in pixels (B, H, W), 255 = unlabeled,
    or None. labels: int64 (B,), -1 = none.
    """

    ids: Tensor
    captions: tuple[str, ...] | None
    segmentation: Tensor | None
    labels: Tensor

    def __len__(self) -> int:
        return len(self.ids)


class TokenShards:
    """Encoded pictures, memory-mapped: `shards[i]` is the i-th row, `draw(k)` a training draw.

    `draw(k)` is a function of (seed, k) for any k >= 0; every len(shards) draws are a permutation
    of the rows. Of several captions one is drawn.

    Args:
        root: a folder that train/encode.py wrote.
        fingerprint: that of the tokenizer that must have made the ids; None accepts any tokenizer.
        seed: seed of the draws.

    Raises:
        DataError: the folder holds no shards, encoding was not finished, a file is missing,
            truncated or damaged, no picture could be encoded, or another tokenizer made the ids.
    """

    name = "tokens"

    def __init__(self, root: str | Path, fingerprint: str | None = None, seed: int = 0) -> None:
        self.root = Path(root)
        self.seed = seed
        self.header = read_header(self.root)
        if not self.header["complete"]:
            done, whole = sum(self.header["rows"]), self.header["views"]
            raise DataError(
                f"{self.root} holds {done:,} of {whole:,} pictures: encoding was interrupted; "
                "run train/encode.py again with the same flags to finish it."
            )
        if fingerprint is not None:
            self.require(fingerprint)
        check_files(self.root, self.header)
        self.classes = tuple(self.header["data"]["classes"])
        self.codebook_size = int(self.header["tokenizer"]["codebook_size"])
        self.grid = tuple(self.header["grid"])
        self.levels = levels_of(self.header)
        self._starts = np.cumsum([0, *self.header["rows"]])
        if not len(self):
            raise DataError(
                f"{self.root} holds no pictures: none of the {self.header['views']:,} could be "
                "read; encode pictures that can."
            )
        self._open()

    def _open(self) -> None:
        self._arrays = [
            {
                name: self._mapped(name, shard, (rows, *shape), dtype)
                for name, (dtype, shape) in arrays_of(self.header).items()
            }
            for shard, rows in enumerate(self.header["rows"])
        ]
        self._lines: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._order: tuple[int, np.ndarray] | None = None

    def _mapped(self, name: str, shard: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        kind = np.dtype(dtype).newbyteorder("<")
        if not shape[0]:  # all pictures of the shard were broken; an empty file cannot be mapped
            return np.zeros(shape, kind)
        return np.memmap(shard_file(self.root, name, shard), kind, "r", shape=shape)

    @property
    def place(self) -> str:
        """The folder, as messages name it."""
        return str(self.root)

    def parts(self) -> tuple[bool, bool, bool]:
        """Return True for each of captions, maps and labels that any picture has."""
        return tuple(count > 0 for count in self._counts())  # type: ignore[return-value]

    def _counts(self) -> tuple[int, int, int]:
        found = self.header.get("found")
        if found is None:  # of an earlier version
            labels = sum(int((arrays["labels"] >= 0).sum()) for arrays in self._arrays)
            rows = len(self)
            return rows * self.header["captions"], rows * self.header["segmentation"], labels
        return found["captions"], found["maps"], found["labels"]

    def largest(self) -> tuple[Tensor, Tensor]:
        """Return the largest class of all maps, 255 if none is labeled, and the largest label."""
        classes, labels = [255], [-1]
        for arrays in self._arrays:
            labels += [int(arrays["labels"].max())] if len(arrays["labels"]) else []
            maps = arrays.get("segmentation")
            if maps is not None and (maps != 255).any():
                classes.append(int(maps[maps != 255].max()))
        known = [each for each in classes if each != 255] or [255]
        return torch.tensor([max(known)]), torch.tensor([max(labels)])

    def summary(self) -> str:
        """Return one line on what the shards hold, for their opening."""
        data, rows = self.header["data"], len(self)
        line = f"tokens of {data['name']}, {data['split']}: {rows:,} pictures in {self.root}; "
        line += ", ".join(
            f"no {what}" if not count else what if count == rows else f"{what} of {count:,}"
            for what, count in zip(("captions", "maps", "labels"), self._counts(), strict=True)
        )
        if self.levels > 1:
            line += f"; {self.levels} ids per position"
        if self.header["skipped"]:
            line += f"; {self.header['skipped']:,} broken pictures were left out"
        if self.header["format"] == WITHOUT_SUMS:
            line += "; written by an earlier version, without checksums: damage is not noticed"
        return line

    def check_run(self, data_set: str, stretch: bool = False) -> None:
        """Raise DataError unless the tokens are of this data set's split for training, of pictures
        that were stretched to squares if, and only if, the run's are."""
        data = self.header["data"]
        if data["name"] != data_set:
            raise DataError(
                f"{self.root} holds tokens of the data set {data['name']!r}, but the run is on "
                f"{data_set!r}: set --data.name {data['name']} and its --data.root, or encode "
                f"{data_set!r}."
            )
        if data["split"] != "train":
            raise DataError(
                f"{self.root} holds tokens of the split {data['split']!r}, whose pictures are held "
                "out: encode the split 'train' to train on."
            )
        if self.header.get("stretch", False) != stretch:
            theirs, mine = ("not stretched", "stretches") if stretch else ("stretched", "crops")
            raise DataError(
                f"{self.root} holds tokens of pictures that were {theirs} to squares, but the run "
                f"{mine} its held-out pictures: set --data.stretch for both or for none."
            )

    def require(self, fingerprint: str) -> None:
        """Raise DataError unless the tokenizer of that fingerprint made the ids."""
        mine, theirs = self.header["tokenizer"]["fingerprint"], fingerprint
        if mine != theirs:
            raise DataError(
                f"{self.root} was encoded by another tokenizer ({self.header['tokenizer']['name']},"
                f" {mine[:19]}, not {theirs[:19]}); encode the data again with this tokenizer, "
                "because ids mean nothing to another one."
            )

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> Tokens:
        """Return the i-th row with the first of its captions."""
        return self._tokens(index, None)

    def draw(self, k: int) -> Tokens:
        """Return the k-th training draw."""
        if k < 0:
            raise IndexError(f"draws count from 0, got {k}.")
        return self._tokens(self._row(k), np.random.default_rng((self.seed, k)))

    def draws(self, numbers: Sequence[int]) -> TokenBatch:
        """Return several training draws, read together: the rows that ``draw`` gives one by one."""
        rows = np.array([self._row(k) for k in numbers])
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        within = rows - self._starts[shards]
        read: dict[str, np.ndarray] = {}
        for name, (_, shape) in arrays_of(self.header).items():
            read[name] = np.empty((len(rows), *shape), np.int64)
            for shard in np.unique(shards):
                here = shards == shard
                read[name][here] = self._arrays[shard][name][within[here]]
        self._check_ids(read["tokens"], int(shards[0]))
        segmentation = read.get("segmentation")
        return TokenBatch(
            torch.from_numpy(read["tokens"]),
            self._draw_captions(numbers, shards, within) if self.header["captions"] else None,
            None if segmentation is None else torch.from_numpy(segmentation),
            torch.from_numpy(read["labels"]),
        )

    def _row(self, k: int) -> int:
        """Return the row of the k-th draw."""
        epoch, position = divmod(k, len(self))
        kept = self._order
        if kept is None or kept[0] != epoch:
            kept = epoch, np.random.default_rng((self.seed, epoch, 1)).permutation(len(self))
            self._order = kept
        return int(kept[1][position])

    def _draw_captions(
        self, numbers: Sequence[int], shards: np.ndarray, within: np.ndarray
    ) -> tuple[str, ...]:
        drawn = []
        for k, shard, row in zip(numbers, shards.tolist(), within.tolist(), strict=True):
            captions = self._captions(shard, row)
            if len(captions) > 1:  # creating a generator costs more than reading the row
                chosen = int(np.random.default_rng((self.seed, k)).integers(len(captions)))
                drawn.append(captions[chosen])
            else:
                drawn.append(captions[0] if captions else "")
        return tuple(drawn)

    def _tokens(self, index: int, rng: np.random.Generator | None) -> Tokens:
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        shard = int(np.searchsorted(self._starts, index, side="right")) - 1
        row = index - int(self._starts[shard])
        arrays = self._arrays[shard]
        stored = arrays["tokens"][row].astype(np.int64)
        self._check_ids(stored, shard)
        ids = torch.from_numpy(stored)
        found = arrays.get("segmentation")
        segmentation = None if found is None else torch.from_numpy(found[row].astype(np.int64))
        captions = self._captions(shard, row) if self.header["captions"] else ()
        chosen = 0 if rng is None or not captions else int(rng.integers(len(captions)))
        caption = captions[chosen] if captions else ""
        return Tokens(ids, caption, segmentation, int(arrays["labels"][row]), captions)

    def _check_ids(self, ids: np.ndarray, shard: int) -> None:
        if int(ids.max()) >= self.codebook_size:
            raise DataError(
                f"{shard_file(self.root, 'tokens', shard)} (or a shard beside it) holds the id "
                f"{int(ids.max())}, but there are {self.codebook_size} codes; encode again."
            )

    def _captions(self, shard: int, row: int) -> tuple[str, ...]:
        file = shard_file(self.root, "captions", shard)
        if shard not in self._lines:
            text = np.memmap(file, np.uint8, "r")
            ends = np.flatnonzero(text == ord("\n"))
            if len(ends) != self.header["rows"][shard]:
                raise DataError(
                    f"the shard {file} has {len(ends)} lines, not {self.header['rows'][shard]}; "
                    "copy it again."
                )
            self._lines[shard] = text, np.concatenate([[0], ends + 1])
        text, starts = self._lines[shard]
        return tuple(json.loads(text[starts[row] : starts[row + 1]].tobytes()))

    def __getstate__(self) -> dict:
        # Pickling a memory map for a worker would copy all its bytes.
        return {k: v for k, v in self.__dict__.items() if k not in ("_arrays", "_lines", "_order")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()
