"""FSQ: finite scalar quantization (arXiv 2309.15505): rounding a few bounded numbers.

The latent is projected to a few numbers, each is bounded and rounded to one of L values, and the
grid of all combinations is the codebook. No codes are learned: there is no codebook loss, and the
codebook cannot collapse. The linear projections from latents to the numbers and back are our
choice, so that latents have the same length for every quantizer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .base import Quantized, Quantizer, check_latents, linear, no_autocast, to_rows
from .ops import negative_distances


class _Product(int):
    """A size that follows from the levels: ``dataclasses.replace`` with other levels, as by a flag
    of a recipe, must not take it for a size that somebody has chosen."""


@dataclass(frozen=True)
class FSQConfig:
    """FSQ's grid.

    The paper's levels are 8 5 5 5 (1,000 codes), 8 8 8 6 5 (15,360) and 8 8 8 5 5 5 (64,000).
    """

    levels: tuple[int, ...] = (8, 5, 5, 5)
    """Number of values L of each number."""
    size: int = 0
    """K, the product of the levels: it follows from them and need not be given."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"quantizer.levels must be 2 or more each, got {self.levels}")
        size = math.prod(self.levels)
        if self.size not in (0, size) and not isinstance(self.size, _Product):
            raise ValueError(
                f"quantizer.size must be {size}, the product of quantizer.levels, got "
                f"{self.size}; leave it out"
            )
        object.__setattr__(self, "size", _Product(size))

    def build(self, dim: int) -> FiniteScalarQuantizer:
        """Build the quantizer for latents of length ``dim``."""
        return FiniteScalarQuantizer(self, dim)


class LevelGrid(Quantizer):
    """A projection to few numbers, each with values of its own, and back. A code is a combination
    of values, which are counted from 0; its id has them as digits, the first the smallest."""

    levels: Tensor
    strides: Tensor

    def __init__(self, config: FSQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        count = len(config.levels)
        self.to_levels, self.from_levels = nn.Linear(dim, count), nn.Linear(count, dim)
        self.register_buffer("levels", torch.tensor(config.levels), persistent=False)
        strides = torch.tensor([math.prod(config.levels[:i]) for i in range(count)])
        self.register_buffer("strides", strides, persistent=False)

    def _digits(self, ids: Tensor) -> Tensor:
        """Return the digits of ids (...), int64 (..., levels)."""
        return ids[..., None] // self.strides % self.levels

    def _number(self, digits: Tensor) -> Tensor:
        """Return the ids int64 (N,) of digits (N, levels)."""
        return (digits * self.strides).sum(1)

    def _all_ids(self) -> Tensor:
        return torch.arange(self.size, device=self.levels.device)


class FiniteScalarQuantizer(LevelGrid):
    """Projection down, bounding, rounding, projection up; straight-through gradient, no losses."""

    def bound(self, rows: Tensor) -> Tensor:
        """Return latents (N, D) projected and bounded so that rounding gives L values: (N, levels).

        As in the paper: tanh(x + shift) * half - offset.
        """
        with no_autocast(rows):
            half = (self.levels - 1) * (1 + 1e-3) / 2
            offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
            shift = (offset / half).atanh()
            return (linear(self.to_levels, rows) + shift).tanh() * half - offset

    def grid(self) -> Tensor:
        """Return all combinations of rounded values, int64 (K, levels); row k is code k."""
        return self._rounded(self._all_ids())

    def _rounded(self, ids: Tensor) -> Tensor:
        """Return the rounded values of ids (...), int64 (..., levels)."""
        return self._digits(ids) - self.levels // 2

    def _decoded(self, rounded: Tensor) -> Tensor:
        return linear(self.from_levels, rounded / (self.levels // 2))

    def codebook(self) -> Tensor:
        with no_autocast(self.levels):
            return self._decoded(self.grid())

    def embed(self, ids: Tensor) -> Tensor:
        """Return the latents float32 (B, D, h, w) of ids (B, h, w), made of their values: the cost
        does not grow with the number of codes."""
        with no_autocast(ids):
            return self._decoded(self._rounded(ids)).permute(0, 3, 1, 2)

    def assign_rows(self, rows: Tensor) -> Tensor:
        return self._ids(self.bound(rows).round())

    def _ids(self, rounded: Tensor) -> Tensor:
        return self._number(rounded.long() + self.levels // 2)

    def logits(self, rows: Tensor) -> Tensor:
        """Return the negative squared distances to the grid, before the projection up."""
        return negative_distances(self.bound(rows), self.grid().float())

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_latents(z, self.dim)
        with no_autocast(z):
            z = z.float()
            bounded = self.bound(to_rows(z))
            rounded = bounded.round()
            batch, _, *grid = z.shape
            ids = self._ids(rounded).view(batch, *grid)
            # In this order the value is exactly the rounded one, the gradient the identity.
            through = rounded.detach() + (bounded - bounded.detach())
            # In the shape of ``embed``, whose values these are, too.
            chosen = self._decoded(through.view(batch, *grid, -1)).permute(0, 3, 1, 2)
            return Quantized(chosen, ids, {})
