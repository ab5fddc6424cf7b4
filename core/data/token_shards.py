"""Token shards: a data set encoded once, for training priors without the tokenizer.

A folder with `header.json` and, for each shard NNNNN with its number of rows, little-endian arrays
without headers:

- `tokens-NNNNN.bin`: uint16 (rows, h, w), or uint32 for codebooks of over 65,536 codes;
- `labels-NNNNN.bin`: int32 (rows,), -1 = none;
- `segmentation-NNNNN.bin`: uint8 (rows, h, w), 255 = unlabeled, if the data set has maps;
- `captions-NNNNN.jsonl`: a JSON list of sentences per row, if it has captions.

`header.json` names the tokenizer by its fingerprint: ids mean nothing to another tokenizer. It
states the SHA-256 of each file and of itself, which are checked when the shards are opened; shards
of before that are read with a note.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bundles.checksums import digest_of, seal_holds
from ..bundles.storage import CHECKSUMS
from ..errors import DataError

log = logging.getLogger("regvq.data")

FORMAT = 1
HEADER = "header.json"


@dataclass(frozen=True, eq=False)
class Tokens:
    """One encoded picture.

    ids: int64 (h, w). caption: one of captions, or "". segmentation: int64 (h, w), 255 =
    unlabeled, or None. label: class id, or -1.
    """

    ids: Tensor
    caption: str = ""
    segmentation: Tensor | None = None
    label: int = -1
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Several encoded pictures.

    ids: int64 (B, h, w). captions: one per picture, or None if the data set has none. segmentation:
    int64 (B, h, w), or in pixels (B, H, W), 255 = unlabeled, or None. labels: int64 (B,), -1 =
    none.
    """

    ids: Tensor
    captions: tuple[str, ...] | None
    segmentation: Tensor | None
    labels: Tensor

    def __len__(self) -> int:
        return len(self.ids)


def token_dtype(codebook_size: int) -> str:
    """Return the data type for the ids of a codebook."""
    return "uint16" if codebook_size <= 2**16 else "uint32"


def arrays_of(header: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return name -> (type, shape of a row) of the binary files that each shard has."""
    grid = tuple(header["grid"])
    arrays = {"tokens": (header["dtype"], grid), "labels": ("int32", ())}
    return arrays | ({"segmentation": ("uint8", grid)} if header["segmentation"] else {})


def shard_file(root: Path, name: str, shard: int) -> Path:
    """Return the path of one of a shard's files."""
    suffix = "jsonl" if name == "captions" else "bin"
    return root / f"{name}-{shard:05d}.{suffix}"


def read_header(root: str | Path) -> dict[str, Any]:
    """Return the header of a folder of token shards. Raises DataError if there is none."""
    root = Path(root)
    file = root / HEADER
    if not file.is_file():
        missing = "has no header.json" if root.is_dir() else "does not exist"
        raise DataError(f"{root} {missing}; give a folder that train/encode.py wrote.")
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
        known = header["kind"] == "tokens" and header["format"]
        intact = seal_holds(header)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file} is not a header of token shards; encode again.") from error
    if intact is False or (intact is None and CHECKSUMS in header):
        raise DataError(
            f"{file} is damaged or was edited: its content does not match its own SHA-256; copy it "
            "again, or encode again."
        )
    if known != FORMAT:
        raise DataError(
            f"{file} is of another kind or format; this version reads token shards {FORMAT}."
        )
    return header


def files_of(root: Path, header: dict[str, Any]) -> list[Path]:
    """Return the files that the header of finished or unfinished shards counts."""
    names = [*arrays_of(header), *(["captions"] if header["captions"] else [])]
    return [shard_file(root, name, k) for k in range(len(header["rows"])) for name in names]


def check_files(root: Path, header: dict[str, Any]) -> None:
    """Raise DataError, which names the file, if a shard is missing, has the wrong size, or is not
    the one whose SHA-256 the header states."""
    for shard, rows in enumerate(header["rows"]):
        for name, (dtype, shape) in arrays_of(header).items():
            file = shard_file(root, name, shard)
            want = rows * int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            size = file.stat().st_size if file.is_file() else None
            if size != want:
                found = "is missing" if size is None else f"has {size:,} bytes, not {want:,}"
                raise DataError(
                    f"the shard {file} {found}: it was truncated or changed; copy it again, or "
                    "delete the folder and encode again."
                )
        captions = shard_file(root, "captions", shard)
        if header["captions"] and not captions.is_file():
            raise DataError(f"the shard {captions} is missing; copy it again.")
    checksums = header.get(CHECKSUMS)
    if checksums is None:
        log.warning("%s is older than checksums: its shards are not checked for damage", root)
        return
    for file in files_of(root, header):
        if digest_of(file) != checksums.get(file.name):
            raise DataError(
                f"the shard {file} is damaged: its SHA-256 is not the one in {HEADER}; copy it "
                "again, or delete the folder and encode again."
            )


class TokenShards:
    """Encoded pictures, memory-mapped: `shards[i]` is the i-th row, `draw(k)` a training draw.

    `draw(k)` is a function of (seed, k) for any k >= 0; every len(shards) draws are a permutation
    of the rows. Of several captions one is drawn.

    Args:
        root: a folder that train/encode.py wrote.
        fingerprint: that of the tokenizer that must have made the ids; None accepts any tokenizer.
        seed: seed of the draws.

    Raises:
        DataError: the folder holds no shards, encoding was not finished, a file is missing or
            truncated, or another tokenizer made the ids.
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
        self._starts = np.cumsum([0, *self.header["rows"]])
        self._open()

    def _open(self) -> None:
        self._arrays = [
            {
                name: np.memmap(
                    shard_file(self.root, name, shard),
                    np.dtype(dtype).newbyteorder("<"),
                    "r",
                    shape=(rows, *shape),
                )
                for name, (dtype, shape) in arrays_of(self.header).items()
            }
            for shard, rows in enumerate(self.header["rows"])
        ]
        self._lines: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._order: tuple[int, np.ndarray] | None = None

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
