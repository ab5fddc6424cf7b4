"""Class labels as a condition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LabelConfig:
    """A condition on a class label."""

    classes: int = 2
    """Number of classes; labels are from 0, -1 = no label."""

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"a label condition needs at least 1 class, got {self.classes}")

    def build(self, width: int) -> LabelEncoder:
        """Build the encoder for a prior of this width."""
        return LabelEncoder(self, width)


class LabelEncoder(nn.Module):
    """An encoder from labels (B,) to vectors (B, C); a missing label has its own learned vector."""

    def __init__(self, config: LabelConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.classes + 1, width)
        nn.init.normal_(self.embed.weight, std=0.02)

    def check(self, labels: Tensor) -> None:
        """Raise ValueError for a label outside [-1, classes)."""
        if labels.ndim != 1 or labels.is_floating_point():
            raise ValueError(f"labels must be integers (B,), got {tuple(labels.shape)}")
        wrong = labels[(labels < -1) | (labels >= self.config.classes)]
        if len(wrong):
            raise ValueError(
                f"labels must be from 0 to {self.config.classes - 1} or -1 for none, "
                f"got {int(wrong[0])}"
            )

    def forward(self, labels: Tensor | None, dropped: Tensor) -> Tensor:
        """Return the vectors (B, C) of labels int64 (B,).

        Without labels, and in rows where ``dropped`` (B,) is true, it is the vector of no label.
        """
        null = self.config.classes
        if labels is None:
            ids = torch.full_like(dropped, null, dtype=torch.int64)
        else:
            ids = labels.masked_fill(dropped | (labels < 0), null)
        return self.embed(ids)
