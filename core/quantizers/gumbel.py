"""Gumbel-VQ: codes drawn from a categorical distribution (Gumbel-softmax, arXiv 1611.01144).

As in the tokenizers of DALL-E and taming-transformers, a linear head gives each position a
distribution over codes, training draws from it at a temperature that falls over the run, and a KL
term keeps the distribution of every position near uniform. Evaluation uses the argmax, whereas
taming's code also samples in evaluation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Quantized, Quantizer, check_latents, no_autocast, to_grid, to_rows
from .ops import check_ratio, places, stochastic_mask
from .tiled.lookup import best_code, draw_codes, draw_seed, logits_of
from .tiled.soft import soft_statistics, straight_through


@dataclass(frozen=True)
class GumbelConfig:
    """Gumbel-VQ, with the temperatures of taming-transformers' released f8 model."""

    size: int = 1024
    """K, the number of codes."""
    kl_weight: float = 5e-4
    """Weight of KL(p(code | position) || uniform): taming's default (its released model: 1e-8)."""
    temperature: float = 0.9
    """Gumbel-softmax temperature at the start of the run."""
    last_temperature: float = 1e-6
    """Temperature at the end of the run, reached along a cosine."""
    mask_ratio: float = 1.0
    """Share of positions whose code is drawn in training. Gumbel-VQ has 1; a lower share is
    Reg-VQ's stochastic mask."""

    def __post_init__(self) -> None:
        for name in ("temperature", "last_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"quantizer.{name} must be above 0, got {getattr(self, name)}")
        if self.kl_weight < 0:
            raise ValueError(f"quantizer.kl_weight must be 0 or more, got {self.kl_weight}")
        check_ratio(self.mask_ratio)

    def build(self, dim: int) -> GumbelQuantizer:
        """Build the quantizer for codes of length ``dim``."""
        return GumbelQuantizer(self, dim)


def uniform_divergence(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the mean over rows of KL(softmax(logits) || uniform) = sum_n q log(K q), in nats.

    ``rows`` (N, D), ``weight`` (K, D), ``bias`` (K,); differentiable, without the N x K matrix.
    """
    entropy, _ = soft_statistics(rows, weight, bias)
    return math.log(len(weight)) - entropy.mean()


class GumbelQuantizer(Quantizer):
    """A head of logits, with a straight-through Gumbel-softmax in training and argmax in eval."""

    is_stochastic = True

    def __init__(self, config: GumbelConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        self.codes = nn.Parameter(torch.randn(self.size, dim) * dim**-0.5)  # our choice
        self.head = nn.Linear(dim, self.size)
        self.temperature = config.temperature

    def schedule(self, progress: float) -> None:
        first, last = self.config.temperature, self.config.last_temperature
        fallen = 0.5 * (1 - math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        self.temperature = first + (last - first) * fallen

    def codebook(self) -> Tensor:
        return self.codes.float()

    def assign_rows(self, rows: Tensor) -> Tensor:
        return best_code(rows, *self._affine())

    def logits(self, rows: Tensor) -> Tensor:
        return logits_of(rows, *self._affine())

    def _affine(self) -> tuple[Tensor, Tensor]:
        return self.head.weight.float(), self.head.bias.float()

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_latents(z, self.dim)
        if mask_ratio is None:
            mask_ratio = self.config.mask_ratio if self.training else 0.0
        with no_autocast(z):
            z = z.float()
            rows, codes = to_rows(z), self.codebook()
            weight, bias = self._affine()
            best = best_code(rows, weight, bias)
            batch, _, *grid = z.shape
            mask = stochastic_mask(batch, len(rows) // batch, mask_ratio, generator, z.device)
            drawn, kept = places(mask, mask_ratio)
            seed = draw_seed(generator, z.device)
            ids = best.index_copy(0, drawn, draw_codes(rows[drawn], weight, bias, seed))
            chosen = F.embedding(ids, codes)
            perturbation = (chosen - F.embedding(best, codes)).detach().square().sum(1)
            losses: dict[str, Tensor] = {}
            if self.training:
                chosen = self._add_gradient(chosen, rows, kept, None)
                chosen = self._add_gradient(chosen, rows, drawn, seed)
                kl = uniform_divergence(rows, weight, bias)
                losses["kl"] = self.config.kl_weight * kl
            shape = (batch, *grid)
            return Quantized(
                to_grid(chosen, z),
                ids.view(shape),
                losses,
                mask.view(shape),
                perturbation.view(shape),
            )

    def _add_gradient(
        self, chosen: Tensor, rows: Tensor, some: Tensor, seed: int | Tensor | None
    ) -> Tensor:
        """Return ``chosen`` (N, D) with the gradient of the soft expectation on the rows ``some``.

        A ``seed`` adds the Gumbel noise of the draw.
        """
        if not torch.compiler.is_compiling() and not len(some):
            return chosen
        temperature = 1.0 if seed is None else self.temperature
        soft, _ = straight_through(
            rows[some], *self._affine(), self.codebook(), temperature=temperature, seed=seed
        )
        return chosen.index_add(0, some, soft)
