"""Batches of tokens for a prior: parts, maps and captions stay together, row by row."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.data import Sample
from core.data.token_shards import TokenBatch, TokenShards
from core.errors import DataError, PictureError
from tests.helpers.tiny_prior_runs import tiny_tokenizer
from train.config.base import PicturesConfig
from train.loop import token_batches
from train.loop.token_batches import (
    Pictures,
    check_data,
    encode,
    first_of,
    held_out_batches,
    pictures_of,
)


def sample(index: int, mapped: bool = True) -> Sample:
    draw = torch.Generator().manual_seed(index)
    image = torch.rand(3, 16, 16, generator=draw) * 2 - 1
    plan = torch.randint(0, 4, (16, 16), generator=draw) if mapped else None
    return Sample(image, f"picture {index}", segmentation=plan, label=index)


def test_the_first_rows_of_a_batch() -> None:
    batch = TokenBatch(
        torch.arange(12).view(3, 2, 2), ("a", "b", "c"), torch.arange(12).view(3, 2, 2) + 50,
        torch.tensor([7, 8, 9]),
    )  # fmt: skip
    found = first_of(batch, 2)
    assert torch.equal(found.ids, batch.ids[:2]) and found.captions == ("a", "b")
    assert torch.equal(found.segmentation, batch.segmentation[:2])
    assert found.labels.tolist() == [7, 8]
    bare = first_of(replace(batch, captions=None, segmentation=None), 1)
    assert bare.captions is None and bare.segmentation is None and len(bare.ids) == 1


@pytest.mark.parametrize("latents", [False, True])
def test_pictures_are_encoded_with_their_parts(latents: bool) -> None:
    tokenizer = tiny_tokenizer()
    pictures = pictures_of([sample(0), sample(1)])
    batch = encode(tokenizer, pictures, latents)
    wanted = (tokenizer.latents if latents else tokenizer.encode)(pictures.images)
    assert torch.equal(batch.ids, wanted) and batch.ids.shape[-2:] == (4, 4)
    assert batch.captions == ("picture 0", "picture 1") and batch.labels.tolist() == [0, 1]
    assert torch.equal(batch.segmentation, torch.stack([sample(i).segmentation for i in (0, 1)]))
    bare = encode(tokenizer, pictures_of([sample(0, mapped=False)]), latents)
    assert bare.segmentation.shape == (1, 4, 4) and bool((bare.segmentation == 255).all())


class Pinnable:
    """A tensor's stand-in: only a machine with a GPU can pin memory."""

    def __init__(self, name: str) -> None:
        self.name = name

    def pin_memory(self) -> str:
        return f"pinned {self.name}"


def test_all_tensors_of_a_batch_are_pinned() -> None:
    parts: Any = {name: Pinnable(name) for name in ("images", "segmentation", "labels")}
    found = Pictures(captions=("a", "b"), **parts).pin_memory()
    assert vars(found) == {"captions": ("a", "b")} | {name: f"pinned {name}" for name in parts}
    parts["segmentation"] = None
    assert Pictures(captions=("a", "b"), **parts).pin_memory().segmentation is None


class Held:
    """Held-out pictures of which every third cannot be read."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Sample:
        if self.broken or index % 3 == 1:
            raise PictureError("broken")
        return sample(index)


def test_held_out_pictures_are_spread_and_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_batches, "ENCODED_TOGETHER", 3)
    batches = held_out_batches(Held(), tiny_tokenizer(), 16, 10, latents=False)
    numbers = [number for batch in batches for number in batch.labels.tolist()]
    chosen = token_batches.evenly_spaced(30, 10)
    assert len(chosen) == 10 and numbers == [index for index in chosen if index % 3 != 1]
    assert [len(batch.ids) for batch in batches[:-1]] == [3] * (len(batches) - 1)
    images = torch.stack([sample(i).image for i in numbers])
    wanted = tiny_tokenizer().encode(images)
    assert torch.equal(torch.cat([batch.ids for batch in batches]), wanted)
    with pytest.raises(DataError, match="none of the held-out pictures"):
        held_out_batches(Held(broken=True), tiny_tokenizer(), 16, 10, latents=False)


def test_the_data_are_checked_in_every_respect(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(token_batches, "check_range", lambda *given: asked.append(given))
    monkeypatch.setattr(token_batches, "check_parts", lambda *given: asked.append(given))
    conditions, held_out = ("a condition",), SimpleNamespace()
    words = "the pictures that it is trained on", "the held-out pictures"
    shards = TokenShards.__new__(TokenShards)
    monkeypatch.setattr(TokenShards, "largest", lambda self: (3, 4), raising=False)
    monkeypatch.setattr(
        TokenShards, "check_run", lambda self, *given: asked.append(("run", *given)), raising=False
    )
    pictures = PicturesConfig("scenes", stretch=True)
    check_data(conditions, pictures, shards, held_out)
    parts = [(conditions, shards, words[0]), (conditions, held_out, words[1])]
    assert asked == [("run", "scenes", True), (conditions, 3, 4), *parts]
    asked.clear()
    data = SimpleNamespace()
    check_data(conditions, pictures, data, held_out)
    assert asked == [(conditions, data, words[0]), parts[1]]
