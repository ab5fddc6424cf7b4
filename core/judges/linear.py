"""Linear judges of pictures on pretrained features: what they have in common.

A small network of its own would learn little from the few pictures that data sets have; the
features are those of a network that saw far more.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.features import FeatureName, Features
from .base import Judge

LAYERS = 3
"""The deepest layers whose means are read (our choice)."""


class LinearJudge(Judge):
    """Logits (B, K) of K answers from the features (B, F) that ``describe`` returns."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: FeatureName, width: int, size: int, answers: int) -> None:
        super().__init__()
        self.features, self.size = features, size
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.head = nn.Linear(width, answers)

    def forward(self, described: Tensor) -> Tensor:
        return self.head((described - self.mean) / self.deviation)

    @torch.no_grad()
    def logits(self, features: Features, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, 3, H, W) in [-1, 1].

        Raises ValueError for features of another network than that of the config.
        """
        if features.name != self.features:
            raise ValueError(
                f"this judge was trained on {self.features} features, not on {features.name}"
            )
        return self(describe(features, resized(images, self.size)))


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
