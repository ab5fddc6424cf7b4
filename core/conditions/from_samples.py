"""The condition of a prior from the samples of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..data.contents import Parts, parts_of
from ..data.sample import Sample
from ..data.segmentation import UNLABELED
from ..errors import DataError
from .condition import Condition
from .conditioner import ConditionConfig
from .label import LabelConfig
from .semantic import SemanticConfig
from .text import TextConfig

_NAMES = {TextConfig: "text", SemanticConfig: "semantic maps", LabelConfig: "class labels"}
_PARTS = {TextConfig: "captions", SemanticConfig: "maps", LabelConfig: "labels"}


def check_parts(configs: Iterable[ConditionConfig], data: Any, what: str) -> None:
    """Raise DataError if a data set lacks a part that a prior with these configs is conditioned on.

    It is enough that some items have a part: the others are learned as pictures without one.
    ``data``: a data set, or token shards. ``what``: its name in the message, such as "the pictures
    of the split 'test'".
    """
    configs = tuple(configs)
    kinds = {type(config) for config in configs}
    needed = Parts(*(kind in kinds for kind in _NAMES))
    if any(needed):
        require_parts(configs, parts_of(data, needed), what)


def require_parts(configs: Iterable[ConditionConfig], parts: Parts, what: str) -> None:
    """Raise DataError if a prior with these configs is conditioned on a part that is missing."""
    kinds = {type(config) for config in configs}
    for kind, held in zip(_NAMES, parts, strict=True):
        if kind in kinds and not held:
            raise DataError(
                f"the prior is conditioned on {_NAMES[kind]}, but {what} have no {_PARTS[kind]}; "
                "choose other data, or a recipe without this condition."
            )


def condition_of(
    configs: Iterable[ConditionConfig],
    captions: Sequence[str] | None,
    segmentation: Tensor | None,
    labels: Tensor | None,
) -> Condition | None:
    """Return the condition that a prior with these configs takes from B pictures, or None.

    ``captions`` are those of the B pictures, "" for one without; ``segmentation`` their maps int64
    (B, H, W) in pixels or on the token grid, 255 where there is none; ``labels`` their labels int64
    (B,), -1 for none. A batch may have no caption or label at all, if its data set has some
    (``check_parts``). Raises DataError if a part that the prior needs is None.
    """
    configs = tuple(configs)
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
    if LabelConfig in kinds and labels is None:
        raise DataError("the prior is conditioned on class labels, but the pictures have none.")
    check_range(configs, segmentation, labels)
    return Condition(
        texts=texts,
        segmentation=segmentation if SemanticConfig in kinds else None,
        labels=labels if LabelConfig in kinds else None,
    )


def check_range(
    configs: Iterable[ConditionConfig], segmentation: Tensor | None, labels: Tensor | None
) -> None:
    """Raise DataError for a class of maps, or a label, that a prior with these configs lacks."""
    for config in configs:
        if isinstance(config, SemanticConfig) and segmentation is not None:
            known = segmentation[segmentation != UNLABELED]
            _check_largest("a map holds the class", known, config.classes)
        if isinstance(config, LabelConfig) and labels is not None:
            _check_largest("a picture has the label", labels, config.classes)


def _check_largest(what: str, values: Tensor, classes: int) -> None:
    largest = int(values.max()) if values.numel() else -1
    if largest >= classes:
        raise DataError(
            f"{what} {largest}, but the prior knows 0 to {classes - 1}: choose a recipe with more "
            "classes, or correct the data."
        )


def captions_of(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Return the captions of samples; "" for one without."""
    return tuple(sample.caption for sample in samples)


def maps_of(samples: Sequence[Sample]) -> Tensor | None:
    """Return the maps int64 (B, H, W) of samples of one size, or None if none of them has one.

    The map of a sample without one is unlabeled.
    """
    if all(sample.segmentation is None for sample in samples):
        return None
    return torch.stack([_map_of(sample) for sample in samples])


def _map_of(sample: Sample) -> Tensor:
    if sample.segmentation is not None:
        return sample.segmentation
    return torch.full(sample.image.shape[-2:], UNLABELED)
