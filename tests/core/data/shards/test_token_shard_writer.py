"""Token shards: written one after the other, resumed, and read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.data.sample import Sample
from core.data.segmentation import UNLABELED
from core.data.token_shard_writer import TokenShardWriter, new_header
from core.data.token_shards import TokenShards
from core.errors import DataError

TOKENIZER = {"name": "tiny", "fingerprint": "sha256:0", "codebook_size": 12, "downsampling": 4}


class Captioned:
    """A data set of eight pictures with captions, labels and, except for one, maps."""

    classes = ("sky", "sea")

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Sample:
        ids = None if index == 5 else torch.full((8, 8), index % 2)
        return Sample(torch.zeros(3, 8, 8), f"number {index}", ids, index % 3)

    draw = __getitem__


def header(**changes: Any) -> dict[str, Any]:
    settings = {"data": {"name": "captioned", "split": "train", "items": 8}, "seed": 0}
    return new_header(TOKENIZER, Captioned(), 8, 8, settings | changes)


def rows(first: int, end: int) -> Iterator[tuple[Tensor, list[Sample]]]:
    """Yield batches of two rows."""
    for start in range(first, end, 2):
        ids = torch.arange(start, start + 2).repeat_interleave(4).view(2, 2, 2)
        yield ids, [Captioned()[start], Captioned()[start + 1]]


def test_shards_are_read_back(tmp_path: Path) -> None:
    writer = TokenShardWriter(tmp_path / "out", header())
    writer.write(rows(0, 4), (), last=False)
    with pytest.raises(DataError, match="interrupted"):
        TokenShards(tmp_path / "out")
    resumed = TokenShardWriter(tmp_path / "out", header())
    assert resumed.written == writer.written == 1
    resumed.write(rows(4, 8), ["one file cannot be read"], last=True)
    shards = TokenShards(tmp_path / "out", "sha256:0")
    assert len(shards) == 8 and shards.grid == (2, 2) and shards.classes == ("sky", "sea")
    assert shards.header["rows"] == [4, 4] and shards.header["skipped"] == 1
    for index in range(8):
        row = shards[index]
        assert (row.ids == index).all() and row.caption == f"number {index}"
        assert row.label == index % 3
        wanted = UNLABELED if index == 5 else index % 2
        assert row.segmentation is not None and (row.segmentation == wanted).all()
    assert not list((tmp_path / "out").glob("*.new"))


def test_other_shards_and_other_files_are_refused(tmp_path: Path) -> None:
    TokenShardWriter(tmp_path / "out", header()).write(rows(0, 4), (), last=False)
    with pytest.raises(DataError, match="token shards of another seed;"):
        TokenShardWriter(tmp_path / "out", header(seed=1))
    (tmp_path / "out" / "tokens-00000.bin").write_bytes(b"1234")
    with pytest.raises(DataError, match=r"tokens-00000\.bin has 4 bytes"):
        TokenShardWriter(tmp_path / "out", header())
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(DataError, match="holds other files"):
        TokenShardWriter(tmp_path / "notes", header())
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["a.txt"]
