"""Product codes: groups of channels, each with its own quantizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .base import Quantized, Quantizer, check_latents
from .levels import (
    LeveledQuantizer,
    Replaced,
    add_losses,
    check_levels,
    codes_of,
)


@dataclass(frozen=True)
class ProductConfig:
    """Product (grouped) codes."""

    base: Any
    """The config of each group's quantizer; a ``ResidualConfig`` gives each group L levels."""
    groups: int = 2
    """G, the number of groups; it must divide D."""
    shared: bool = False
    """One codebook for all groups instead of one for each."""

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise ValueError(f"quantizer.groups must be 1 or more, got {self.groups}")

    def build(self, dim: int) -> ProductQuantizer:
        """Build the quantizer for latents of length ``dim``."""
        return ProductQuantizer(self, dim)


class ProductQuantizer(LeveledQuantizer):
    """Groups of channels that are quantized independently of each other.

    With residual codes in each group, the levels are ordered by group, and by level within one.
    """

    def __init__(self, config: ProductConfig, dim: int) -> None:
        if dim % config.groups:
            raise ValueError(
                f"quantizer.groups must divide the {dim} channels of the latents, "
                f"got {config.groups}"
            )
        super().__init__(config, dim, config.groups, dim // config.groups)
        first = self._at(0)
        inner = first.sizes if isinstance(first, LeveledQuantizer) else (first.size,)
        self.sizes = tuple(inner) * config.groups
        self._inner = len(inner)

    def level_codebooks(self) -> list[Tensor]:
        found: list[Tensor] = []
        for group in range(self.config.groups):
            part = self._at(group)
            leveled = isinstance(part, LeveledQuantizer)
            found += part.level_codebooks() if leveled else [part.codebook()]
        return found

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_latents(z, self.dim)
        found = [
            self._at(group)(part, mask_ratio=mask_ratio, generator=generator)
            for group, part in enumerate(z.chunk(self.config.groups, 1))
        ]
        losses: dict[str, Tensor] = {}
        for each in found:
            add_losses(losses, each.losses)
        masks = [self._leveled(each.mask) for each in found if each.mask is not None]
        return Quantized(
            torch.cat([each.z for each in found], 1),
            torch.cat([self._leveled(each.ids) for each in found], 1),
            losses,
            torch.cat(masks, 1) if len(masks) == len(found) else None,
        )

    def _leveled(self, x: Tensor) -> Tensor:
        return x if x.ndim == 4 else x.unsqueeze(1)

    def assign(self, z: Tensor) -> Tensor:
        check_latents(z, self.dim)
        parts = z.chunk(self.config.groups, 1)
        return torch.cat(
            [self._leveled(self._at(g).assign(part)) for g, part in enumerate(parts)], 1
        )

    def embed(self, ids: Tensor) -> Tensor:
        check_levels(ids, self.levels)
        groups = []
        for group in range(self.config.groups):
            some = ids[:, group * self._inner : (group + 1) * self._inner]
            if not some.shape[1]:  # of the first n levels, this group has none
                shape = (len(ids), self.dim // self.config.groups, *ids.shape[2:])
                groups.append(torch.zeros(shape, device=ids.device))
                continue
            if isinstance(self._at(group), LeveledQuantizer):
                groups.append(self._at(group).embed(some))
            else:
                groups.append(codes_of(self._at(group), some[:, 0]))
        return torch.cat(groups, 1)

    def level_quantizer(self, level: int) -> Quantizer:
        group, inner = divmod(level, self._inner)
        part = self._at(group)
        return part.level_quantizer(inner) if isinstance(part, LeveledQuantizer) else part

    def level_parts(self, z: Tensor, ids: Tensor) -> list[tuple[Quantizer, Tensor]]:
        parts: list[tuple[Quantizer, Tensor]] = []
        for group, (part, found) in enumerate(self._groups(z, ids)):
            inner = self._at(group)
            leveled = isinstance(inner, LeveledQuantizer)
            parts += inner.level_parts(part, found) if leveled else [(inner, part.float())]
        return parts

    def _groups(self, z: Tensor, ids: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the latents (B, d, h, w) and the ids of each group, as its quantizer has them."""
        check_latents(z, self.dim)
        chosen = ids.split(self._inner, 1)
        if not isinstance(self._at(0), LeveledQuantizer):
            chosen = [each[:, 0] for each in chosen]
        return list(zip(z.chunk(self.config.groups, 1), chosen, strict=True))

    @torch.no_grad()
    def update(self, z: Tensor, ids: Tensor) -> Replaced:
        parts, chosen = zip(*self._groups(z, ids), strict=True)
        return self._update_parts(parts, chosen)
