"""LFQ: lookup-free quantization, whose codes are the signs of m numbers.

From MAGVIT-v2 (arXiv 2310.05737), trained as in Open-MAGVIT2 (arXiv 2409.04410). An entropy term
makes the choice at each position certain and the use of codes over all positions even. The linear
projections from latents to the m numbers and back are our choice, so that latents have the same
length for every quantizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributed import mean_over_rows
from .base import Quantized, Quantizer, check_latents, linear, no_autocast, to_grid, to_rows
from .ops import entropy


@dataclass(frozen=True)
class LFQConfig:
    """LFQ, with the weights of Open-MAGVIT2."""

    size: int = 1024
    """K, a power of two: 2 to the number of bits m."""
    commitment: float = 0.25
    """Weight of the squared distance of the m numbers to their signs."""
    entropy_weight: float = 0.1
    """Weight of E[H(p)] - H(E[p]): certain at each position, even over all of them."""
    temperature: float = 0.01
    """Temperature of p in the entropy term."""

    def __post_init__(self) -> None:
        if self.size < 2 or self.size & (self.size - 1):
            raise ValueError(f"quantizer.size must be a power of two, got {self.size}")
        if self.temperature <= 0:
            raise ValueError(f"quantizer.temperature must be above 0, got {self.temperature}")

    def build(self, dim: int) -> LookupFreeQuantizer:
        """Build the quantizer for latents of length ``dim``."""
        return LookupFreeQuantizer(self, dim)


class LookupFreeQuantizer(Quantizer):
    """Projection down to bits, signs, projection up; entropy and commitment loss."""

    strides: Tensor

    def __init__(self, config: Any, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        bits = config.size.bit_length() - 1
        self.scale = self._scale(bits)
        self.to_bits, self.from_bits = nn.Linear(dim, bits), nn.Linear(bits, dim)
        self.register_buffer("strides", 2 ** torch.arange(bits), persistent=False)

    def _scale(self, bits: int) -> float:
        """Return the absolute value of each of the m numbers of a code."""
        return 1.0

    def signs(self) -> Tensor:
        """Return all codes as signs, float32 (K, m); row k is code k."""
        return self._signs(torch.arange(self.size, device=self.strides.device))

    def _signs(self, ids: Tensor) -> Tensor:
        return ((ids[..., None] // self.strides) % 2).float() * 2 - 1

    def _decoded(self, signs: Tensor) -> Tensor:
        # Scaled weights instead of scaled signs: products with signs are exact.
        weight, bias = (x.to(signs.dtype) for x in (self.from_bits.weight, self.from_bits.bias))
        return F.linear(signs, weight * self.scale, bias)

    def codebook(self) -> Tensor:
        with no_autocast(self.strides):
            return self._decoded(self.signs())

    def embed(self, ids: Tensor) -> Tensor:
        """Return the latents float32 (B, D, h, w) of ids (B, h, w). A code is made of its bits, so
        that a picture does not cost the whole codebook, which has 2^18 codes in published
        tokenizers."""
        with no_autocast(ids):
            return self._decoded(self._signs(ids)).permute(0, 3, 1, 2)

    def projections(self, rows: Tensor) -> Tensor:
        """Return the numbers (N, m) of latents (N, D), whose signs are the code."""
        with no_autocast(rows):
            return linear(self.to_bits, rows)

    def assign_rows(self, rows: Tensor) -> Tensor:
        return self._ids(self.projections(rows) > 0)

    def _ids(self, positive: Tensor) -> Tensor:
        return (positive * self.strides).sum(1)

    def logits(self, rows: Tensor) -> Tensor:
        """Return 2 z.c / T, the logits of the entropy term."""
        factor = 2 * self.scale / self.config.temperature
        return factor * self.projections(rows) @ self.signs().t()

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
            numbers = self.projections(to_rows(z))
            batch, _, *grid = z.shape
            positive = numbers > 0
            ids = self._ids(positive).view(batch, *grid)
            signs = torch.where(positive, 1.0, -1.0)
            # In the shape of ``embed``, whose values these are, too.
            chosen = self._decoded(signs.view(batch, *grid, -1)).permute(0, 3, 1, 2)
            if not self.training:
                return Quantized(chosen, ids, {})
            signs = signs * self.scale
            through = to_grid(linear(self.from_bits, signs + (numbers - numbers.detach())), z)
            losses = self._losses(numbers, signs)
            return Quantized(chosen.detach() + (through - through.detach()), ids, losses)

    def _losses(self, numbers: Tensor, signs: Tensor) -> dict[str, Tensor]:
        return {
            "commitment": self.config.commitment * F.mse_loss(numbers, signs),
            "entropy": self.config.entropy_weight * self._entropy(numbers),
        }

    def _entropy(self, numbers: Tensor) -> Tensor:
        """Return E[H(p)] - H(E[p]) of p = softmax_c(2 z.c / T), in nats; E over all processes."""
        logits = 4 / self.config.temperature * numbers  # log p(+1) / p(-1) of each bit
        mean = mean_over_rows(mean_probabilities(logits), len(logits))
        return bit_entropies(logits).sum(1).mean() - entropy(mean)


def bit_entropies(logits: Tensor) -> Tensor:
    """Return the entropies (N, m) of bits with ``logits`` log p(+1) / p(-1) (N, m), in nats.

    The probability of a code is a product over its bits, so its entropy is the sum of theirs.
    """
    return F.softplus(logits) - logits * logits.sigmoid()


def mean_probabilities(logits: Tensor) -> Tensor:
    """Return the mean over rows of the probabilities of all values of m independent bits, (2^m,).

    ``logits`` (N, m). The mean is a matrix product of two halves of the bits, so that no matrix of
    N x 2^m is needed.
    """
    half = logits.shape[1] // 2
    low, high = joint_probabilities(logits[:, :half]), joint_probabilities(logits[:, half:])
    return (high.t() @ low).flatten() / len(logits)


def joint_probabilities(logits: Tensor) -> Tensor:
    """Return the probabilities (N, 2^m) of all values of m independent bits with ``logits`` (N, m).

    The first bit counts 1, the second 2, the third 4, and so on.
    """
    p = logits.new_ones(len(logits), 1)
    for bit in logits.t():
        bit = bit.unsqueeze(1)
        p = torch.cat([p * (-bit).sigmoid(), p * bit.sigmoid()], dim=1)
    return p
