"""A small fully convolutional segmenter, which measures the layout of generated pictures.

A U-Net (Ronneberger et al. 2015) of this project's building blocks: a PixelUnshuffle stem, so that
no convolution runs at full resolution, and skip connections that are added. It trains in minutes on
one core (`python train/judge.py segmenter`) and is not meant to compete with published segmenters.
Its own score on held-out pictures, stored in its bundle, is the reference for every agreement that
it measures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from ..networks.autoencoder import ResidualBlock, Upsample, pad_to_multiple
from .base import Judge


@dataclass(frozen=True)
class SegmenterConfig:
    """Classes and sizes of the segmenter. No paper states such sizes: our choice."""

    classes: tuple[str, ...]
    """Names of the classes."""
    size: int = 64
    """Short side, in pixels, of the pictures in training and in evaluation."""
    widths: tuple[int, ...] = (16, 48, 96)
    """Channels per resolution, finest first; the finest is 1 / ``stem`` of the picture's."""
    stem: int = 2
    """Side of the pixel squares that the stem folds into channels."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 255:
            raise ValueError(f"a segmenter has 1 to 255 classes, got {len(self.classes)}")
        if not self.widths or min(self.widths) < 1:
            raise ValueError(f"segmenter.widths must name channel counts, got {self.widths}")
        if self.size < self.stride or self.stem < 1:
            raise ValueError(
                f"segmenter.size must be at least {self.stride} pixels, got {self.size}"
            )

    @property
    def stride(self) -> int:
        """The side, in pixels, of a cell of the coarsest grid."""
        return self.stem * 2 ** (len(self.widths) - 1)


class Segmenter(Judge):
    """A network from images (B, 3, H, W) in [-1, 1] to class logits (B, C, H, W), of any size."""

    kind = "segmenter"
    config_class = SegmenterConfig

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(config.stem),
            nn.Conv2d(3 * config.stem**2, widths[0], 3, padding=1),
            ResidualBlock(widths[0], widths[0]),
        )
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(fine, coarse, 3, stride=2, padding=1), ResidualBlock(coarse, coarse)
            )
            for fine, coarse in pairwise(widths)
        )
        self.bottom = ResidualBlock(widths[-1], widths[-1])
        self.up = nn.ModuleList(
            nn.ModuleList([Upsample(coarse, fine), ResidualBlock(fine, fine)])
            for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Sequential(
            nn.Conv2d(widths[0], len(config.classes) * config.stem**2, 1),
            nn.PixelShuffle(config.stem),
        )

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return self.head(self.levels(images)[-1])[..., :height, :width]

    def levels(self, images: Tensor) -> list[Tensor]:
        """Return the decoder's feature maps (B, widths[l], h, w), coarsest first."""
        skips = [self.stem(pad_to_multiple(images, self.config.stride))]
        for down in self.down:
            skips.append(down(skips[-1]))
        maps = [self.bottom(skips.pop())]
        for upsample, block in cast("Iterable[tuple[Upsample, ResidualBlock]]", self.up):
            maps.append(block(upsample(maps[-1]) + skips.pop()))
        return maps

    @torch.no_grad()
    def segment(self, images: Tensor) -> Tensor:
        """Return the class ids int64 (B, H, W) of images (B, 3, H, W) in [-1, 1]; never 255."""
        return self(images.to(next(self.parameters()).device)).argmax(1)
