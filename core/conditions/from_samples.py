"""The condition of a prior from the samples of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..data.sample import Sample
from ..errors import DataError
from .condition import Condition
from .conditioner import ConditionConfig
from .label import LabelConfig
from .semantic import SemanticConfig
from .text import TextConfig


def condition_of(
    configs: Iterable[ConditionConfig],
    captions: Sequence[str] | None,
    segmentation: Tensor | None,
    labels: Tensor | None,
) -> Condition | None:
    """Return the condition that a prior with these configs takes from B pictures, or None.

    ``captions`` are those of the B pictures, ``segmentation`` their maps int64 (B, H, W) in pixels
    or on the token grid, ``labels`` their labels int64 (B,). Raises DataError if the data lacks a
    part that the prior needs.
    """
    kinds = {type(config) for config in configs}
    if not kinds:
        return None
    texts = None
    if TextConfig in kinds:
        if captions is None:
            raise DataError("the prior is conditioned on text, but the pictures have no captions.")
        texts = tuple(captions)
    if SemanticConfig in kinds and segmentation is None:
        raise DataError("the prior is conditioned on semantic maps, but the pictures have none.")
    if LabelConfig in kinds and (labels is None or bool((labels < 0).all())):
        raise DataError("the prior is conditioned on class labels, but the pictures have none.")
    return Condition(
        texts=texts,
        segmentation=segmentation if SemanticConfig in kinds else None,
        labels=labels if LabelConfig in kinds else None,
    )


def captions_of(samples: Sequence[Sample]) -> tuple[str, ...] | None:
    """Return the captions of samples, or None if all of them are empty."""
    captions = tuple(sample.caption for sample in samples)
    return captions if any(captions) else None


def maps_of(samples: Sequence[Sample]) -> Tensor | None:
    """Return the maps (B, H, W) of samples of one size, or None if a sample has none."""
    maps = [sample.segmentation for sample in samples if sample.segmentation is not None]
    return torch.stack(maps) if len(maps) == len(samples) else None
