"""Batches for training priors: read from token shards, or encoded as the pictures are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import torch
from torch import Tensor

from regvq.conditions import ConditionConfig
from regvq.conditions.from_samples import captions_of, check_parts, check_range, maps_of
from regvq.data import Dataset, Sample, center
from regvq.data.segmentation import UNLABELED
from regvq.data.token_shards import TokenBatch, TokenShards
from regvq.errors import DataError, PictureError
from regvq.tokenizer import Tokenizer

from ..cli.common import evenly_spaced
from ..config.base import PicturesConfig
from .draws import Batches, draw_numbers

ENCODED_TOGETHER = 64  # pictures


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures (B, C, S, S) with their captions, labels, and maps (B, S, S) in pixels.

    Pictures without a part have "", -1 and an unlabeled map; ``segmentation`` is None if none of
    them has a map.
    """

    images: Tensor
    captions: tuple[str, ...]
    segmentation: Tensor | None
    labels: Tensor

    def pin_memory(self) -> Pictures:
        """Return the batch in memory from which a GPU copies beside its work."""
        maps = self.segmentation
        return Pictures(
            self.images.pin_memory(),
            self.captions,
            None if maps is None else maps.pin_memory(),
            self.labels.pin_memory(),
        )


def pictures_of(samples: list[Sample]) -> Pictures:
    """Return samples of one size as a batch."""
    return Pictures(
        torch.stack([sample.image for sample in samples]),
        captions_of(samples),
        maps_of(samples),
        torch.tensor([sample.label for sample in samples]),
    )


def check_data(
    conditions: Sequence[ConditionConfig],
    data: PicturesConfig,
    tokens: Dataset | TokenShards,
    held_out: Dataset,
) -> None:
    """Raise DataError unless a run can train on ``tokens`` and be measured on ``held_out``.

    Token shards must be of the run's data set and of its split for training, stretched as its
    pictures are. Both need every part that the prior is conditioned on. It is checked before the
    first step: a batch, or the last save, must not find it out.
    """
    if isinstance(tokens, TokenShards):
        tokens.check_run(data.name, data.stretch)
        check_range(conditions, *tokens.largest())
    check_parts(conditions, tokens, "the pictures that it is trained on")
    check_parts(conditions, held_out, "the held-out pictures")


class ShardBatches:
    """An endless stream of a process's batches, read from token shards, from step ``first`` on."""

    def __init__(
        self, shards: TokenShards, size: int, first: int, rank: int, processes: int
    ) -> None:
        self.shards, self.size, self.first = shards, size, first
        self.rank, self.processes = rank, processes

    def __iter__(self) -> Iterator[TokenBatch]:
        for step in count(self.first):
            yield self.shards.draws(draw_numbers(step, self.size, self.rank, self.processes))


class EncodedBatches:
    """``Batches`` of pictures, encoded as they are drawn: to ids, or to latents for a continuous
    prior."""

    def __init__(self, batches: Batches, tokenizer: Tokenizer, latents: bool) -> None:
        self.batches, self.tokenizer, self.latents = batches, tokenizer, latents
        self.broken = batches.broken

    def __iter__(self) -> Iterator[TokenBatch]:
        for pictures in self.batches:
            yield encode(self.tokenizer, pictures, self.latents)


def encode(tokenizer: Tokenizer, pictures: Pictures, latents: bool) -> TokenBatch:
    """Return pictures as ids (B, h, w) or (B, L, h, w), or as latents (B, D, h, w).

    Maps remain in pixels; those of a batch without any are unlabeled, on the token grid.
    """
    encoded = (tokenizer.latents if latents else tokenizer.encode)(pictures.images)
    segmentation = pictures.segmentation
    if segmentation is None:
        segmentation = torch.full((len(encoded), *encoded.shape[-2:]), UNLABELED)
    return TokenBatch(encoded, pictures.captions, segmentation, pictures.labels)


def held_out_batches(
    data: Dataset, tokenizer: Tokenizer, size: int, count: int, latents: bool
) -> list[TokenBatch]:
    """Return the encoded center squares of ``count`` pictures, spread over the data set.

    Broken pictures are left out. Raises DataError if none is left.
    """
    samples = []
    for index in evenly_spaced(len(data), count):
        try:
            samples.append(center(data[index], size))
        except PictureError:
            continue
    if not samples:
        raise DataError("none of the held-out pictures can be read; give a data set with some.")
    starts = range(0, len(samples), ENCODED_TOGETHER)
    groups = [samples[start : start + ENCODED_TOGETHER] for start in starts]
    return [encode(tokenizer, pictures_of(group), latents) for group in groups]


def first_of(batch: TokenBatch, count: int) -> TokenBatch:
    """Return the first ``count`` rows of a batch."""
    return rows_of(batch, slice(count))


def rows_of(batch: TokenBatch, rows: slice) -> TokenBatch:
    """Return some rows of a batch."""
    return replace(
        batch,
        ids=batch.ids[rows],
        captions=None if batch.captions is None else batch.captions[rows],
        segmentation=None if batch.segmentation is None else batch.segmentation[rows],
        labels=batch.labels[rows],
    )
