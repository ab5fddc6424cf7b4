"""The condition of a prior from what a data set knows about its pictures."""

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
    """What a prior with these conditions is told of B pictures: their captions, their maps int64
    (B, H, W) of pixels or of tokens, their labels int64 (B,); None if it takes no condition.

    Raises DataError for one that the data does not have.
    """
    kinds = {type(config) for config in configs}
    if not kinds:
        return None
    if TextConfig in kinds and captions is None:
        raise DataError("the prior is told by text, and these pictures have no captions.")
    if SemanticConfig in kinds and segmentation is None:
        raise DataError("the prior is told by semantic maps, and these pictures have none.")
    if LabelConfig in kinds and (labels is None or bool((labels < 0).all())):
        raise DataError("the prior is told by class labels, and these pictures have none.")
    return Condition(
        texts=tuple(captions) if TextConfig in kinds else None,
        segmentation=segmentation if SemanticConfig in kinds else None,
        labels=labels if LabelConfig in kinds else None,
    )


def captions_of(samples: Sequence[Sample]) -> tuple[str, ...] | None:
    """A caption a sample, or None if there is none at all."""
    captions = tuple(sample.caption for sample in samples)
    return captions if any(captions) else None


def maps_of(samples: Sequence[Sample]) -> Tensor | None:
    """The maps (B, H, W) of samples of one size, or None if one of them has none."""
    maps = [sample.segmentation for sample in samples]
    return torch.stack(maps) if all(each is not None for each in maps) else None
