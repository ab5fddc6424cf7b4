"""SimVQ: one linear layer after a frozen codebook (arXiv 2411.02038, ICCV 2025).

Codebooks that are trained by gradient collapse because a step moves only the chosen codes. Here
every code is a linear image of a frozen Gaussian vector, so that a step moves all codes at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import Quantized, Quantizer, check_latents, linear, no_autocast, to_grid, to_rows
from .ops import negative_distances, rotation_trick
from .tiled.lookup import nearest_code


@dataclass(frozen=True)
class SimVQConfig:
    """SimVQ as its authors train it."""

    size: int = 1024
    """K, the number of codes."""
    beta: float = 0.25
    """Weight of the commitment term, which moves the encoder."""
    estimator: Literal["straight-through", "rotation"] = "straight-through"
    """Gradient of the choice: the identity, as in the authors' code, or the rotation trick (arXiv
    2410.06424), as in vector-quantize-pytorch."""

    def __post_init__(self) -> None:
        if self.estimator not in ("straight-through", "rotation"):
            raise ValueError(
                "quantizer.estimator must be 'straight-through' or 'rotation', "
                f"got {self.estimator!r}"
            )

    def build(self, dim: int) -> SimVectorQuantizer:
        """Build the quantizer for codes of length ``dim``."""
        return SimVectorQuantizer(self, dim)


class SimVectorQuantizer(Quantizer):
    """Nearest of the projected codes, straight-through gradient, VQ-VAE's two losses."""

    frozen: Tensor

    def __init__(self, config: SimVQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        self.straight_through = config.estimator == "straight-through"
        # N(0, 1/d), and PyTorch's default layer with bias, as in the authors' code.
        self.register_buffer("frozen", torch.randn(self.size, dim) * dim**-0.5)
        self.projection = nn.Linear(dim, dim)

    def codebook(self) -> Tensor:
        with no_autocast(self.frozen):
            return linear(self.projection, self.frozen.float())

    @torch.no_grad()
    def initialize_codes(self, centers: Tensor) -> None:
        """Set the frozen codes to the whitened centers, and the layer to the map back to them.

        The whitened centers have the mean and covariance of SimVQ's Gaussian.
        """
        mean = centers.mean(0)
        values, vectors = torch.linalg.eigh((centers - mean).T.cov(correction=0))
        # The bound keeps an axis along which all centers are equal.
        spread = (values.clamp_min(1e-12) * self.dim).sqrt()
        self.frozen.copy_((centers - mean) @ vectors / spread)
        self.projection.weight.copy_(vectors * spread)
        self.projection.bias.copy_(mean)

    def assign_rows(self, rows: Tensor) -> Tensor:
        return nearest_code(rows, self.codebook())

    def logits(self, rows: Tensor) -> Tensor:
        """Return negative squared distances; SimVQ itself has no posterior."""
        return negative_distances(rows, self.codebook())

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
            rows = to_rows(z)
            with torch.no_grad():
                codes = self.codebook()
                flat = nearest_code(rows, codes)
                ids = flat.view(z.shape[0], *z.shape[2:])
                chosen = to_grid(codes[flat], z)
            if not self.training:
                return Quantized(chosen, ids, {})
            # Only the chosen codes need a gradient: project them again instead of all K.
            projected = linear(self.projection, self.frozen[flat].float())
            losses = {
                "commitment": self.config.beta * F.mse_loss(z, chosen),
                "codebook": F.mse_loss(projected, rows.detach()),
            }
            through = z
            if self.config.estimator == "rotation":
                through = to_grid(rotation_trick(rows, codes[flat]), z)
            return Quantized(chosen + (through - through.detach()), ids, losses)
