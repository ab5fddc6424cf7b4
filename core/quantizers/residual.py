"""Residual codes: levels that quantize what the levels before have left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..distributed import copy_of_first, world_size
from ..host_values import host_generator
from .base import Quantized, Quantizer, check_latents, no_autocast, to_rows
from .beam import best_sequences
from .levels import (
    DROPPED,
    LeveledQuantizer,
    Replaced,
    add_losses,
    check_levels,
    codes_of,
)


@dataclass(frozen=True)
class ResidualConfig:
    """Residual codes."""

    base: Any
    """The config of each level's quantizer."""
    levels: int = 4
    """L, the number of levels."""
    shared: bool = False
    """One codebook for all levels instead of one for each."""
    dropout: float = 0.0
    """Probability that a training step uses only the first n levels, n uniform in 1 to L - 1
    (quantizer dropout, SoundStream section 3.4), so that fewer levels decode well, too."""
    beam: int = 1
    """Candidates that are kept from level to level when ids are assigned in eval mode; 1 is the
    greedy choice. A wider beam finds codes whose sum is nearer to the latent."""

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise ValueError(f"quantizer.levels must be 1 or more, got {self.levels}")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"quantizer.dropout must be in [0, 1], got {self.dropout}")
        if self.beam < 1:
            raise ValueError(f"quantizer.beam must be 1 or more, got {self.beam}")

    def build(self, dim: int) -> ResidualQuantizer:
        """Build the quantizer for latents of length ``dim``."""
        return ResidualQuantizer(self, dim)


class ResidualQuantizer(LeveledQuantizer):
    """Levels that each quantize the latent minus the codes of the levels before.

    Over straight-through quantizers, the gradient on the latents is that of one quantizer: the sum
    of the levels' would be L times too large (as audiocraft's correction notes). Over all others,
    whose gradients are no identities, it is the sum of the levels', as in vector-quantize-pytorch.
    Each level's losses move the encoder. Over DiVeQ each level adds its own error; its authors'
    residual class adds one error to the sum of codes.
    """

    def __init__(self, config: ResidualConfig, dim: int) -> None:
        super().__init__(config, dim, config.levels, dim)
        if isinstance(self._at(0), LeveledQuantizer):
            raise ValueError(
                f"{type(config.base).__name__} has several ids per position and cannot be the base "
                "of residual codes; build a ProductConfig of the ResidualConfig"
            )
        self.sizes = (self._at(0).size,) * config.levels

    def level_codebooks(self) -> list[Tensor]:
        return [self._at(level).codebook() for level in range(self.levels)]

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_latents(z, self.dim)
        if not self.training and not mask_ratio:
            ids = self.assign(z)
            return Quantized(self.embed(ids), ids, {})
        with no_autocast(z):
            z = z.float()
            rest, total = z, torch.zeros_like(z)
            ids, masks, losses = [], [], {}
            count = self._count(generator, z.device)
            for level in range(count):
                found = self._at(level)(rest, mask_ratio=mask_ratio, generator=generator)
                total = total + found.z
                # the identity that this level adds to the gradient on the latents
                if level and self._at(level).straight_through:
                    total = total - (rest - rest.detach())
                rest = z - total.detach()
                ids.append(found.ids)
                masks.append(found.mask)
                add_losses(losses, found.losses)
            ids += [torch.full_like(ids[0], DROPPED)] * (self.levels - count)
            mask = None
            if all(each is not None for each in masks):
                masks += [torch.zeros_like(masks[0])] * (self.levels - count)
                mask = torch.stack(masks, 1)
            return Quantized(total, torch.stack(ids, 1), losses, mask)

    def _count(self, generator: torch.Generator | None, device: torch.device) -> int:
        """Draw the number of levels of a training step, the same in all processes."""
        if not self.training or self.config.dropout == 0 or self.levels == 1:
            return self.levels
        draw = torch.rand(2, generator=host_generator(generator))
        if world_size() > 1:  # a GPU that has them from another process has to be waited for
            draw = copy_of_first(draw.to(device))
        some, level = draw.tolist()
        if some >= self.config.dropout:
            return self.levels
        return 1 + min(int(level * (self.levels - 1)), self.levels - 2)

    def assign(self, z: Tensor) -> Tensor:
        check_latents(z, self.dim)
        batch, _, height, width = z.shape
        with no_autocast(z), torch.no_grad():
            if self.config.beam > 1:
                rows = best_sequences(to_rows(z), self.level_codebooks(), self.config.beam)
                return rows.view(batch, height, width, -1).permute(0, 3, 1, 2).contiguous()
            rest, ids = z.float(), []
            for level in range(self.levels):
                found = self._at(level).assign(rest)
                rest = rest - self._at(level).embed(found)
                ids.append(found)
            return torch.stack(ids, 1)

    def embed(self, ids: Tensor) -> Tensor:
        check_levels(ids, self.levels)
        total = None
        for level, found in enumerate(ids.unbind(1)):
            codes = codes_of(self._at(level), found)
            total = codes if total is None else total + codes
        assert total is not None
        return total

    def level_quantizer(self, level: int) -> Quantizer:
        return self._at(level)

    def level_parts(self, z: Tensor, ids: Tensor) -> list[tuple[Quantizer, Tensor]]:
        check_latents(z, self.dim)
        rest, parts = z.float(), []
        for level, found in enumerate(ids.unbind(1)):
            parts.append((self._at(level), rest))
            rest = rest - codes_of(self._at(level), found)
        return parts

    @torch.no_grad()
    def update(self, z: Tensor, ids: Tensor) -> Replaced:
        """Apply the rules of the levels' codebooks, as ``LeveledQuantizer.update``. With dropout,
        the host waits for a GPU at each level, to know which pictures have it.
        """
        parts = self.level_parts(z, ids)
        if z.is_cuda and not self.config.dropout:  # all have ids, and looking at them would wait
            return self._update_parts([part for _, part in parts], ids.unbind(1))
        inputs, used = [], []
        for (_, part), found in zip(parts, ids.unbind(1), strict=True):
            kept = (found != DROPPED).flatten(1).all(1)  # groups that share codes drop their own
            if not bool(kept.any()):
                break
            inputs.append(part[kept])
            used.append(found[kept])
        return self._update_parts(inputs, used)
