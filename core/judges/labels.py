"""A linear classifier of pictures by class, on pretrained features.

It measures whether a generated picture is taken for the class that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..networks.features import FeatureName, Features
from .linear import LinearJudge


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


class LabelClassifier(LinearJudge):
    """Logits (B, K) of K classes from the features (B, F) that ``describe`` returns."""

    kind = "labels"
    config_class = LabelsConfig

    def __init__(self, config: LabelsConfig) -> None:
        super().__init__(config.features, config.width, config.size, len(config.classes))
        self.config = config

    def classify(self, features: Features, images: Tensor) -> Tensor:
        """Return the most likely classes int64 (B,) of images (B, 3, H, W) in [-1, 1].

        Raises ValueError for features of another network than that of the config.
        """
        return self.logits(features, images).argmax(1)
