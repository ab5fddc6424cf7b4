"""FSP: finite scalar perturbation, FSQ's grid trained with noise (VP-VAE, arXiv 2602.17133).

As in FSQ, the latent is projected to a few numbers. Each is mapped into (0, 1), where L intervals
of equal width are the codes, each decoded as its center: the best place for numbers that are spread
evenly over the interval (Lloyd-Max). In training the decoder does not get the center but the
number itself, moved at random by up to half an interval, so that it learns to bear the error of
quantization and the encoder gets an exact gradient. A loss on mean and variance keeps the numbers
spread evenly. No codes are learned: the codebook cannot collapse.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..distributed import mean_over_rows, sum_over_processes
from .base import Quantized, check_latents, linear, no_autocast, to_grid, to_rows
from .fsq import FSQConfig, LevelGrid
from .ops import negative_distances, uniform

SPREAD = 12**-0.5
"""Standard deviation of a uniform number in (0, 1), by which the decoder's numbers are divided."""
VARIANCE = 0.8225
"""Variance at which numbers of a logistic distribution are spread evenly over (0, 1) by the tanh:
pi^2 / 12, rounded as in vector-quantize-pytorch."""


@dataclass(frozen=True)
class FSPConfig(FSQConfig):
    """FSP's grid, with FSQ's levels and the defaults of vector-quantize-pytorch."""

    quantize_rate: float = 0.0
    """Share of the numbers that training rounds to the center of their interval instead of moving
    them at random, with a straight-through gradient."""
    mean_weight: float = 0.1
    """Weight of the squared mean of each number, averaged over the numbers."""
    variance_weight: float = 0.07
    """Weight of the squared gap between each number's variance and pi^2 / 12."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.quantize_rate <= 1:
            raise ValueError(f"quantizer.quantize_rate must be in [0, 1], got {self.quantize_rate}")
        for name in ("mean_weight", "variance_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"quantizer.{name} must be 0 or more, got {getattr(self, name)}")

    def build(self, dim: int) -> FiniteScalarPerturbation:
        """Build the quantizer for latents of length ``dim``."""
        return FiniteScalarPerturbation(self, dim)


class FiniteScalarPerturbation(LevelGrid):
    """Projection down, tanh into (0, 1), noise or rounding, projection up; loss on two moments."""

    config: FSPConfig

    def quantiles(self, rows: Tensor) -> Tensor:
        """Return latents (N, D) projected and mapped to [0, 1], (N, levels): (tanh + 1) / 2."""
        with no_autocast(rows):
            return (linear(self.to_levels, rows).tanh() + 1) / 2

    def centers(self) -> Tensor:
        """Return the centers of all combinations of intervals, float32 (K, levels); row k is code
        k."""
        return self._centers_of(self._all_ids())

    def _centers_of(self, ids: Tensor) -> Tensor:
        """Return the centers (..., levels) of ids (...)."""
        return self._centers(self._digits(ids))

    def _centers(self, intervals: Tensor) -> Tensor:
        return (intervals + 0.5) / self.levels

    def _intervals(self, quantiles: Tensor) -> Tensor:
        """Return the intervals, 0 to L - 1, in which quantiles lie, int64 (N, levels)."""
        below = 1 - torch.finfo(quantiles.dtype).eps
        return (quantiles.clamp_max(below) * self.levels).floor().long()

    def _decoded(self, quantiles: Tensor) -> Tensor:
        return linear(self.from_levels, (quantiles - 0.5) / SPREAD)

    def codebook(self) -> Tensor:
        with no_autocast(self.levels):
            return self._decoded(self.centers())

    def embed(self, ids: Tensor) -> Tensor:
        """Return the latents float32 (B, D, h, w) of ids (B, h, w), made of their centers: the cost
        does not grow with the number of codes."""
        with no_autocast(ids):
            return self._decoded(self._centers_of(ids)).permute(0, 3, 1, 2)

    def assign_rows(self, rows: Tensor) -> Tensor:
        return self._number(self._intervals(self.quantiles(rows)))

    def logits(self, rows: Tensor) -> Tensor:
        """Return the negative squared distances to the centers, before the projection up."""
        return negative_distances(self.quantiles(rows), self.centers())

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        """Quantize latents (B, D, h, w). In training, ``z`` of the result is not the code: it is
        decoded from numbers that are moved at random."""
        check_latents(z, self.dim)
        with no_autocast(z):
            z = z.float()
            numbers = linear(self.to_levels, to_rows(z))
            quantiles = (numbers.tanh() + 1) / 2
            intervals = self._intervals(quantiles.detach())
            batch, _, *grid = z.shape
            ids = self._number(intervals).view(batch, *grid)
            if not self.training:  # in the shape of ``embed``, whose values these are, too
                centers = self._centers(intervals).view(batch, *grid, -1)
                return Quantized(self._decoded(centers).permute(0, 3, 1, 2), ids, {})
            kept = self._kept(quantiles, intervals, generator)
            return Quantized(to_grid(self._decoded(kept), z), ids, self._losses(numbers))

    def _kept(
        self, quantiles: Tensor, intervals: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Return what training decodes: moved quantiles, and a share of them rounded instead."""
        rate = self.config.quantize_rate
        if rate == 0:
            return self._moved(quantiles, generator)
        rounded = quantiles + (self._centers(intervals) - quantiles).detach()
        if rate == 1:
            return rounded
        moved = self._moved(quantiles, generator)
        chance = uniform(quantiles.shape, generator, quantiles.device)
        return torch.where(chance > rate, moved, rounded)

    def _moved(self, quantiles: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return quantiles moved by up to half an interval; those that would leave (0, 1) stay."""
        draw = uniform(quantiles.shape, generator, quantiles.device)
        moved = quantiles + (draw * 2 - 1) / (2 * self.levels)
        return torch.where((moved > 0) & (moved < 1), moved, quantiles)

    def _losses(self, numbers: Tensor) -> dict[str, Tensor]:
        """Return the losses on the moments of each number over the batch of all processes."""
        mean = mean_over_rows(numbers.mean(0), len(numbers))
        # The unbiased variance, 0 for a single row. Its slope with respect to the mean is 0 over
        # all processes, but not over those of one: hence the detached mean.
        count = sum_over_processes(numbers.new_full((), len(numbers)))
        variance = mean_over_rows((numbers - mean.detach()).square().mean(0), len(numbers))
        variance = variance * (count / (count - 1).clamp_min(1))
        return {
            "mean": self.config.mean_weight * mean.square().mean(),
            "variance": self.config.variance_weight * (variance - VARIANCE).square().mean(),
        }
