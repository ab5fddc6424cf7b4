"""A linear classifier of pictures by class, on pretrained features.

It measures whether a generated picture is taken for the class that was asked for. A small network
of its own would learn little from the thousand pictures per class that data sets have; the features
are those of a network that saw far more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.features import FeatureName, Features
from .base import Judge

LAYERS = 3
"""The deepest layers whose means are read (our choice)."""


@dataclass(frozen=True)
class LabelsConfig:
    """The classes, and the features on which they are told apart."""

    classes: tuple[str, ...]
    """Names of the classes."""
    features: FeatureName = "alexnet"
    """The network of the features."""
    width: int = 1
    """The number of features of a picture."""
    size: int = 128
    """Side of the square pictures in pixels; others are resized."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise ValueError(f"a classifier needs two classes or more, got {len(self.classes)}")


class LabelClassifier(Judge):
    """Logits (B, K) of classes from the features (B, F) that ``describe`` returns."""

    kind = "labels"
    config_class = LabelsConfig
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: LabelsConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.width))
        self.register_buffer("deviation", torch.ones(config.width))
        self.head = nn.Linear(config.width, len(config.classes))

    def forward(self, described: Tensor) -> Tensor:
        return self.head((described - self.mean) / self.deviation)

    @torch.no_grad()
    def classify(self, features: Features, images: Tensor) -> Tensor:
        """Return the most likely classes int64 (B,) of images (B, 3, H, W) in [-1, 1].

        Raises ValueError for features of another network than that of the config.
        """
        if features.name != self.config.features:
            raise ValueError(
                f"this classifier was trained on {self.config.features} features, "
                f"not on {features.name}"
            )
        return self(describe(features, resized(images, self.config.size))).argmax(1)


def resized(images: Tensor, size: int) -> Tensor:
    """Return images (B, 3, H, W) as (B, 3, size, size) (bilinear, antialiased)."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True)


@torch.no_grad()
def describe(features: Features, images: Tensor) -> Tensor:
    """Return the features float32 (B, F) of images (B, 3, S, S) in [-1, 1].

    They are the means over positions of the deepest layers, and the maxima of the deepest one.
    """
    maps = [each.float() for each in features(images)[-LAYERS:]]
    return torch.cat([*(each.mean((2, 3)) for each in maps), maps[-1].amax((2, 3))], 1)
