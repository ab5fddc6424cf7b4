"""One level of residual or product codes, looked at as a tokenizer of its own.

What is computed of codes (tiles, uses, maps, nearest codes, classes) takes a tokenizer with one
codebook. A ``LevelView`` gives it that of a level: ids are the level's, latents are what the level
quantizes, and a code is painted alone, without any code of the other levels (our choice: what a
residual code stands for depends on the levels before).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..channels import Projection
from ..quantizers import LeveledQuantizer, Quantizer
from ..tokenizer import Tokenizer, check_ids


class LevelView:
    """Level ``level`` (from 0) of a tokenizer with several, as a tokenizer with one."""

    levels = 1

    def __init__(self, whole: Tokenizer, level: int) -> None:
        self.whole, self.level = whole, level
        assert isinstance(whole.quantizer, LeveledQuantizer)
        self._leveled = whole.quantizer
        self.quantizer: Quantizer = whole.quantizer.level_quantizer(level)
        self.encoder: nn.Module = whole.encoder
        self.decoder, self.config = whole.decoder, whole.config
        self.network_input, self.network_output = whole.network_input, whole.network_output

    @property
    def codebook_size(self) -> int:
        """K, the number of codes of the level."""
        return self.whole.codebook_size

    @property
    def downsampling(self) -> int:
        """f, the pixels per position along each side."""
        return self.whole.downsampling

    @property
    def channels(self) -> int:
        """C, the channels of the pictures."""
        return self.whole.channels

    @property
    def projection(self) -> Projection:
        """The places, from 0, of the channels that are seen as red, green and blue."""
        return self.whole.projection

    def visible(self, images: Tensor) -> Tensor:
        """Return the three channels of images (..., C, H, W) that pictures show: (..., 3, H, W)."""
        return self.whole.visible(images)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.whole.device

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """Return what the level quantizes of images (B, C, H, W): float32 (B, d, h, w)."""
        z = self.whole.latents(images)
        return self._leveled.level_parts(z, self._leveled.assign(z))[self.level][1]

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the level's ids int64 (B, h, w) of images (B, C, H, W)."""
        return self.whole.encode(images)[:, self.level]

    @torch.no_grad()
    def decode(self, ids: Tensor) -> Tensor:
        """Return the images float32 (B, C, h*f, w*f) of ids int64 (B, h, w) of this level alone."""
        check_ids(ids, self.codebook_size)
        z = self._leveled.embed_level(ids.to(self.device), self.level)
        return self.whole.decode_latents(z)
