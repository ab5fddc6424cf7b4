"""Semantic maps as a condition, aligned with the token grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..host_values import count_values

UNLABELED = 255
"""The class id of pixels without a label."""


@dataclass(frozen=True)
class SemanticConfig:
    """A condition on a semantic map."""

    classes: int = 2
    """Number of classes; class ids are from 0, 255 = unlabeled."""
    shares: bool = False
    """True: the input of a cell of a map in pixels is the share of each class in it. False: it is
    the most frequent class. Token shards store only the latter, so that a prior which is trained on
    them needs False."""
    width: int = 64
    """Width of the encoder, in channels."""

    def __post_init__(self) -> None:
        if not 1 <= self.classes <= UNLABELED:
            raise ValueError(
                f"a semantic condition takes 1 to {UNLABELED} classes, got {self.classes}"
            )
        if self.width < 1:
            raise ValueError(f"a semantic condition's width must be 1 or more, got {self.width}")

    def build(self, width: int) -> SemanticEncoder:
        """Build the encoder for a prior of this width."""
        return SemanticEncoder(self, width)


def composition(segmentation: Tensor, classes: int, grid: tuple[int, int]) -> Tensor:
    """Return the share of each class in each cell, float32 (B, classes + 1, h, w).

    The last class is "unlabeled". ``segmentation`` is int64 (B, H, W) of any size; a pixel belongs
    to the cell that contains its upper left corner. If the grid is finer than the map, the map's
    pixels are repeated.
    """
    batch, height, width = segmentation.shape
    rows, columns = grid
    if height < rows or width < columns:
        size = max(height, rows), max(width, columns)
        bigger = F.interpolate(segmentation[:, None].float(), size=size, mode="nearest")
        segmentation, (height, width) = bigger[:, 0].long(), size
    device = segmentation.device
    row = torch.arange(height, device=device) * rows // height
    column = torch.arange(width, device=device) * columns // width
    cell = row[:, None] * columns + column
    kind = segmentation.clamp(max=classes)
    image = torch.arange(batch, device=device)[:, None, None] * (rows * columns)
    slot = (image + cell) * (classes + 1) + kind
    counts = count_values(slot, batch * rows * columns * (classes + 1))
    counts = counts.view(batch, rows, columns, classes + 1).permute(0, 3, 1, 2).float()
    return counts / counts.sum(1, keepdim=True)


def majority(shares: Tensor) -> Tensor:
    """Return ``composition`` with each cell's most frequent class at 1, the lowest of equals."""
    # argmax does not define which of equals it returns; a cumulative sum finds the first.
    best = (shares == shares.amax(1, keepdim=True)).float()
    return best * (best.cumsum(1) == 1)


class SemanticEncoder(nn.Module):
    """An encoder from maps to a feature per cell, which depends on the cells around it, too."""

    def __init__(self, config: SemanticConfig, width: int) -> None:
        super().__init__()
        self.config = config
        inner = config.width
        self.embed = nn.Conv2d(config.classes + 1, inner, 1)
        self.context = nn.ModuleList(
            nn.Conv2d(inner, inner, 3, padding=step, dilation=step) for step in (1, 2)
        )
        self.out = nn.Conv2d(inner, width, 1)
        self.null = nn.Parameter(torch.zeros(width))

    def check(self, segmentation: Tensor) -> None:
        """Raise ValueError unless a map is int64 (B, H, W) with known classes."""
        if segmentation.ndim != 3 or segmentation.is_floating_point():
            raise ValueError(
                f"semantic maps must be integers (B, H, W), got {tuple(segmentation.shape)}"
            )
        if not segmentation.numel():
            raise ValueError("the semantic map is empty")
        classes = self.config.classes
        known = (segmentation >= 0) & (segmentation < classes) | (segmentation == UNLABELED)
        if not bool(known.all()):
            raise ValueError(
                f"the semantic map holds the class {int(segmentation[~known][0])}; this prior "
                f"knows 0 to {classes - 1}, and {UNLABELED} for unlabeled"
            )

    def forward(
        self, segmentation: Tensor | None, dropped: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Return the features (B, h*w, C) of maps int64 (B, H, W) on a grid (h, w).

        Without maps, and in rows where ``dropped`` (B,) is true, all cells have the feature of no
        map.
        """
        null = self.null.expand(len(dropped), grid[0] * grid[1], -1)
        if segmentation is None:
            return null
        shares = composition(segmentation, self.config.classes, grid)
        if not self.config.shares:
            shares = majority(shares)
        h = self.embed(shares.to(self.embed.weight.dtype))
        for layer in self.context:
            h = h + layer(F.silu(h))
        cells = self.out(F.silu(h)).flatten(2).transpose(1, 2)
        return torch.where(dropped[:, None, None], null.to(cells.dtype), cells)
