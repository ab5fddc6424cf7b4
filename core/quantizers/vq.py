"""Vector quantization by the nearest code (VQ-VAE, arXiv 1711.00937; VQ-GAN, arXiv 2012.09841).

Options of later work: k-means initialization (SoundStream, arXiv 2107.03312), cosine codes
(ViT-VQGAN, arXiv 2110.04627), the rotation trick (arXiv 2410.06424), and restart of dead codes (as
in vector-quantize-pytorch).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributed import copy_of_first, gather_rows, sum_over_processes
from ..host_values import HostCopy, count_values
from .base import Quantized, Quantizer, check_latents, no_autocast, to_grid, to_rows
from .ops import kmeans, negative_distances, rotation_trick
from .tiled.lookup import nearest_code

KMEANS_ROUNDS = 10
JITTER = 0.1  # of the latents' standard deviation; separates codes initialized on one latent


@dataclass(frozen=True)
class VQConfig:
    """Quantization by the nearest code. The defaults are VQ-VAE's gradient codebook."""

    size: int = 1024
    """K, the number of codes."""
    beta: float = 0.25
    """Weight of the commitment term, which moves the encoder (VQ-VAE Eq. 3)."""
    codebook: Literal["gradient", "ema"] = "gradient"
    """Update of the codes: by the gradient of the codebook loss, or by moving averages."""
    decay: float = 0.99
    """Decay of the moving averages of codes (ema) and of uses (restart)."""
    start: Literal["uniform", "data", "kmeans"] = "uniform"
    """Initialization of the codes: uniform in [-1/K, 1/K] as in VQ-GAN's code; latents of the first
    training batch, which prevents a collapse of the baseline in its first hundred steps; or the
    k-means centers of these latents."""
    restart_below: float = 0.0
    """A code whose moving average of uses per step falls below this value is replaced by a random
    latent of the batch; 0: never."""
    distance: Literal["euclidean", "cosine"] = "euclidean"
    """cosine: latents and codes are first scaled to unit length."""
    estimator: Literal["straight-through", "rotation"] = "straight-through"
    """Gradient of the choice: the identity, or the rotation and scaling that map the latent to its
    code (the rotation trick)."""

    def __post_init__(self) -> None:
        if self.codebook not in ("gradient", "ema"):
            raise ValueError(
                f"quantizer.codebook must be 'gradient' or 'ema', got {self.codebook!r}"
            )
        choices = {
            "start": ("uniform", "data", "kmeans"),
            "distance": ("euclidean", "cosine"),
            "estimator": ("straight-through", "rotation"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"quantizer.{name} must be {' or '.join(map(repr, known))}, "
                    f"got {getattr(self, name)!r}"
                )
        if not 0 <= self.decay < 1:
            raise ValueError(f"quantizer.decay must be in [0, 1), got {self.decay}")

    def build(self, dim: int) -> VectorQuantizer:
        """Build the quantizer for codes of length ``dim``."""
        return VectorQuantizer(self, dim)


class VectorQuantizer(Quantizer):
    """Nearest code, straight-through gradient, commitment loss with beta on the encoder's term."""

    sums: Tensor
    weights: Tensor
    started: Tensor
    uses: Tensor
    updates: Tensor

    def __init__(self, config: VQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        plain = config.estimator == "straight-through"
        self.straight_through = plain and config.distance == "euclidean"
        codes = torch.empty(self.size, dim).uniform_(-1 / self.size, 1 / self.size)
        self.codes = nn.Parameter(codes, requires_grad=config.codebook == "gradient")
        if config.codebook == "ema":
            self.register_buffer("sums", codes.clone())
            self.register_buffer("weights", torch.ones(self.size))
        if config.start != "uniform":
            self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        if config.restart_below > 0:
            self.register_buffer("uses", torch.full((self.size,), 2 * config.restart_below))
            self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._has_started, self._number = HostCopy(), HostCopy()

    def codebook(self) -> Tensor:
        return self._scaled(self.codes.float())

    def _scaled(self, rows: Tensor) -> Tensor:
        """Return rows (N, D), scaled to unit length if the distance is cosine."""
        # eps bounds the gradient of a latent that is zero.
        return F.normalize(rows, dim=1, eps=1e-4) if self.config.distance == "cosine" else rows

    def assign_rows(self, rows: Tensor) -> Tensor:
        return nearest_code(self._scaled(rows), self.codebook())

    def logits(self, rows: Tensor) -> Tensor:
        """Return negative squared distances. VQ has no posterior; these only rank the codes."""
        return negative_distances(self._scaled(rows), self.codebook())

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
            waits = self.training and self.config.start != "uniform"
            if waits and not self._has_started(self.started):
                self._init_codes(self._scaled(to_rows(z)))
            ids = self.assign(z)
            chosen = self.embed(ids)
            if not self.training:
                return Quantized(chosen, ids, {})
            z = to_grid(self._scaled(to_rows(z)), z)
            losses = {"commitment": self.config.beta * F.mse_loss(z, chosen.detach())}
            if self.config.codebook == "gradient":
                losses["codebook"] = F.mse_loss(chosen, z.detach())
            through, chosen = z, chosen.detach()
            if self.config.estimator == "rotation":
                through = to_grid(rotation_trick(to_rows(z), to_rows(chosen)), z)
            # through - through.detach() is exactly zero: the decoder gets the code itself.
            return Quantized(chosen + (through - through.detach()), ids, losses)

    @torch.no_grad()
    def _init_codes(self, rows: Tensor) -> None:
        """Set every code to a latent of the batch of all processes.

        With fewer latents than codes, further codes are set near a latent that is taken already:
        of equal codes, only the first would ever be used.
        """
        pool = gather_rows(rows)
        draw = torch.Generator().manual_seed(0)
        picks = torch.randperm(len(pool), generator=draw)
        picks = picks.repeat(-(-self.size // len(pool)))[: self.size].to(pool.device)
        centers = pool[picks]
        if (again := self.size - len(pool)) > 0:
            near = torch.randn(again, self.dim, generator=draw).to(pool) * JITTER
            centers[len(pool) :] += near * pool.std(0, correction=0)
        if self.config.start == "kmeans":
            # The last bit of sums on a GPU may differ between processes.
            centers = copy_of_first(kmeans(pool, centers, KMEANS_ROUNDS))
        self.initialize_codes(centers)

    @torch.no_grad()
    def initialize_codes(self, centers: Tensor) -> None:
        self.codes.copy_(self._scaled(centers))
        if self.config.codebook == "ema":
            self.sums.copy_(self.codes)
        if self.config.start != "uniform":
            self.started.fill_(True)

    @torch.no_grad()
    def update(self, z: Tensor, ids: Tensor) -> Tensor | None:
        if self.config.codebook != "ema" and self.config.restart_below == 0:
            return None
        if self.codes.dtype != torch.float32:  # half precision would round their steps away
            kind = str(self.codes.dtype).removeprefix("torch.")
            raise ValueError(
                f"moving averages of codes and uses need float32, but the quantizer is {kind}: "
                "keep it in float32 where the network is converted (quantizer.float())"
            )
        rows, ids = self._scaled(to_rows(z)), ids.flatten()
        counts = sum_over_processes(count_values(ids, self.size).float())
        if self.config.codebook == "ema":
            self._update_averages(rows, ids, counts)
        return self._restart(rows, counts) if self.config.restart_below > 0 else None

    def _update_averages(self, rows: Tensor, ids: Tensor, counts: Tensor) -> None:
        """Update the moving averages of each code (VQ-VAE appendix A.1, Laplace-smoothed)."""
        sums = torch.zeros_like(self.sums).index_add_(0, ids, rows)
        self.weights.lerp_(counts, 1 - self.config.decay)
        self.sums.lerp_(sum_over_processes(sums), 1 - self.config.decay)
        total, eps = self.weights.sum(), 1e-5
        smoothed = (self.weights + eps) / (total + self.size * eps) * total
        self.codes.copy_(self.sums / smoothed.unsqueeze(1))

    def _restart(self, rows: Tensor, counts: Tensor) -> Tensor | None:
        """Replace dead codes by latents drawn from the batch of all processes.

        On a GPU nothing is read: the codes are replaced at the places of a mask, which is returned.
        """
        self.uses.lerp_(counts, 1 - self.config.decay)
        number = self._number.raised(self.updates)
        dead = self.uses < self.config.restart_below
        if not dead.is_cuda and not bool(dead.any()):
            return None
        pool = gather_rows(rows)
        if not len(pool):
            return None
        # Seeded by the number of updates, so that all processes draw the same latents, and a
        # resumed run draws those of an uninterrupted run.
        draw = torch.Generator(dead.device).manual_seed(number)
        order, picks = (
            torch.randperm(count, generator=draw, device=dead.device)
            for count in (self.size, len(pool))
        )
        # The dead codes' numbers in a random order; there are latents for the first of them.
        rank = torch.empty_like(order).index_copy_(0, order, dead[order].cumsum(0) - 1)
        taken = dead & (rank < len(pool))
        fresh = pool[picks[rank.clamp(0, len(pool) - 1)]]
        column = taken.unsqueeze(1)
        self.codes.copy_(torch.where(column, fresh, self.codes))
        if self.config.codebook == "ema":  # else the averages would move the code back
            self.sums.copy_(torch.where(column, fresh, self.sums))
            self.weights.masked_fill_(taken, 1.0)
        self.uses.masked_fill_(taken, 2 * self.config.restart_below)
        return taken if taken.is_cuda else taken.nonzero().flatten()
