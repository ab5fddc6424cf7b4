"""BSQ: binary spherical quantization, whose codes are the corners of a cube on the unit sphere.

From arXiv 2406.07548. The latent is projected to m numbers and scaled to unit length; the code is
their signs, divided by the square root of m, so that it lies on the sphere as well. The distance of
a latent to its code is therefore bounded, unlike LFQ's. An entropy term makes the choice at each
position certain and the use of codes even.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..distributed import mean_over_rows
from .base import linear, no_autocast
from .lfq import LookupFreeQuantizer, bit_entropies, mean_probabilities
from .ops import entropy


@dataclass(frozen=True)
class BSQConfig:
    """BSQ, with the weights of the authors' config for ImageNet at 256 pixels, 18 bits."""

    size: int = 1024
    """K, a power of two: 2 to the number of bits m. At least 4: a single number of unit length is
    1 or -1, and has no gradient."""
    commitment: float = 0.0
    """Weight of the squared distance of the m numbers to their code, summed over the bits. The
    authors' configs have 0: the distance is bounded."""
    entropy_weight: float = 0.1
    """Weight of the entropy term; the authors' weight of all losses of the codebook, without the
    higher weight of their first 2,000 steps."""
    diversity: float = 1.0
    """Weight of H(E[p]) within the entropy term E[H(p)] - diversity * H(E[p]): above 1, evenness
    over all positions counts more than certainty at each."""
    temperature: float = 1.0
    """Temperature of p in the entropy term; the inverse of the paper's."""
    group: int = 1
    """Bits whose joint use is evened. 1, as the authors have it, takes bits as independent of each
    other, so that 18 bits need 36 numbers; m evens the use of the K codes themselves, as in
    vector-quantize-pytorch. Must divide m."""

    def __post_init__(self) -> None:
        if self.size < 4 or self.size & (self.size - 1):
            raise ValueError(
                f"quantizer.size must be a power of two and at least 4, got {self.size}"
            )
        if not self.temperature > 0:
            raise ValueError(f"quantizer.temperature must be above 0, got {self.temperature}")
        if not self.commitment >= 0:
            raise ValueError(f"quantizer.commitment must be 0 or more, got {self.commitment}")
        bits = self.size.bit_length() - 1
        if self.group < 1 or bits % self.group:
            raise ValueError(
                f"quantizer.group must divide the {bits} bits of {self.size} codes, "
                f"got {self.group}"
            )

    def build(self, dim: int) -> BinarySphericalQuantizer:
        """Build the quantizer for latents of length ``dim``."""
        return BinarySphericalQuantizer(self, dim)


class BinarySphericalQuantizer(LookupFreeQuantizer):
    """Projection down to bits, unit length, signs, projection up; entropy and commitment loss."""

    def _scale(self, bits: int) -> float:
        return bits**-0.5

    def projections(self, rows: Tensor) -> Tensor:
        """Return the numbers (N, m) of latents (N, D), of unit length, whose signs are the code."""
        with no_autocast(rows):
            # eps bounds the gradient of numbers that are all zero.
            return F.normalize(linear(self.to_bits, rows), dim=1, eps=1e-4)

    def _losses(self, numbers: Tensor, signs: Tensor) -> dict[str, Tensor]:
        losses = {"entropy": self.config.entropy_weight * self._entropy(numbers)}
        if self.config.commitment:
            gap = (numbers - signs).square().sum(1).mean()
            losses["commitment"] = self.config.commitment * gap
        return losses

    def _entropy(self, numbers: Tensor) -> Tensor:
        """Return E[H(p)] - diversity * H(E[p]) of p = softmax_c(2 z.c / T), in nats.

        E is over all processes. H(E[p]) is the sum over groups of bits.
        """
        # log p(+1) / p(-1) of each bit
        logits = 4 * self.scale / self.config.temperature * numbers
        groups = logits.split(self.config.group, 1)
        means = torch.stack([mean_probabilities(group) for group in groups])
        evenness = entropy(mean_over_rows(means, len(logits)))
        return bit_entropies(logits).sum(1).mean() - self.config.diversity * evenness
