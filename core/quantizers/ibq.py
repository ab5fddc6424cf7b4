"""IBQ: index backpropagation quantization (arXiv 2412.02692).

The one-hot choice is straight-through over *all* codes: the gradient reaches every code, not only
the chosen one, through the softmax of the codes' dot products with the latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributed import mean_over_rows
from .base import Quantized, Quantizer, check_latents, no_autocast, to_grid, to_rows
from .ops import entropy
from .tiled.lookup import best_code
from .tiled.soft import soft_statistics, straight_through


@dataclass(frozen=True)
class IBQConfig:
    """IBQ, with the weights of the authors' config for 16,384 codes."""

    size: int = 1024
    """K, the number of codes."""
    beta: float = 0.25
    """Weight of the commitment term, as in VQ-VAE's Eq. 3. The authors' code has beta on the
    codebook term instead, as taming's ``legacy`` default has."""
    entropy_weight: float = 0.05
    """Weight of E[H(p)] - H(E[p])."""
    temperature: float = 0.01
    """Temperature of p in the entropy term only."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"quantizer.temperature must be above 0, got {self.temperature}")

    def build(self, dim: int) -> IndexBackpropagationQuantizer:
        """Build the quantizer for codes of length ``dim``."""
        return IndexBackpropagationQuantizer(self, dim)


class IndexBackpropagationQuantizer(Quantizer):
    """The code with the largest dot product; straight-through one-hot over all codes."""

    def __init__(self, config: IBQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        # INFERRED: a Gaussian; the paper does not state how codes are initialized.
        self.codes = nn.Parameter(torch.randn(self.size, dim) * dim**-0.5)

    def codebook(self) -> Tensor:
        return self.codes.float()

    def assign_rows(self, rows: Tensor) -> Tensor:
        codes = self.codebook()
        return best_code(rows, codes, codes.new_zeros(self.size))

    def logits(self, rows: Tensor) -> Tensor:
        return rows @ self.codebook().t()

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
            ids = self.assign(z)
            if not self.training:
                return Quantized(self.embed(ids), ids, {})
            rows, codes = to_rows(z), self.codebook()
            no_bias = codes.new_zeros(self.size)
            chosen = F.embedding(ids.flatten(), codes)
            through = chosen + straight_through(rows, codes, no_bias, codes)[0]
            losses = {
                "index": F.mse_loss(through, rows),
                "codebook": F.mse_loss(chosen, rows.detach()),
                "commitment": self.config.beta * F.mse_loss(rows, chosen.detach()),
            }
            if self.config.entropy_weight:
                each, mean = soft_statistics(rows, codes / self.config.temperature, no_bias)
                losses["entropy"] = self.config.entropy_weight * (
                    each.mean() - entropy(mean_over_rows(mean, len(rows)))
                )
            return Quantized(to_grid(through, z), ids, losses)
