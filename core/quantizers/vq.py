"""Vector quantization by the nearest code (VQ-VAE, arXiv 1711.00937; VQ-GAN, arXiv 2012.09841).

Options that others have added: k-means initialisation (SoundStream, arXiv 2107.03312), cosine
codes (ViT-VQGAN, arXiv 2110.04627) and the rotation trick (arXiv 2410.06424).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributed import copy_of_first, gather_rows, sum_over_processes
from .base import Quantized, Quantizer, no_autocast, to_grid, to_rows
from .ops import kmeans, negative_distances, rotated
from .tiled.lookup import nearest_code

KMEANS_ROUNDS = 10
NEARBY = 0.1  # of the latents' deviation: how far codes that begin on the same one are apart


@dataclass(frozen=True)
class VQConfig:
    """Nearest-code quantization. The defaults are VQ-VAE's gradient codebook without restart."""

    size: int = 1024
    """K, the number of codes."""
    beta: float = 0.25
    """Weight of the commitment term, the one that moves the encoder (VQ-VAE eq. 3)."""
    codebook: Literal["gradient", "ema"] = "gradient"
    """How codes follow their latents: by the codebook loss, or by moving averages."""
    decay: float = 0.99
    """Decay of the moving averages: of codes (ema) and of the uses that restart looks at."""
    start: Literal["uniform", "data", "kmeans"] = "uniform"
    """Where codes begin: uniform in [-1/K, 1/K] as in VQ-GAN's code, on latents of the first
    training batch, which spares the baseline a collapse in its first hundred steps, or on the
    k-means centres of those latents."""
    restart_below: float = 0.0
    """A code whose moving average of uses per step falls below this is put on a random latent of
    the batch. 0 leaves dead codes dead."""
    distance: Literal["euclidean", "cosine"] = "euclidean"
    """cosine: latents and codes are scaled to unit length before anything else."""
    estimator: Literal["straight-through", "rotation"] = "straight-through"
    """How the decoder's gradient passes the choice: as it is, or turned and scaled as the latent
    must be to become its code (the rotation trick)."""

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
        """The quantizer for codes of length ``dim``."""
        return VectorQuantizer(self, dim)


class VectorQuantizer(Quantizer):
    """Nearest code, straight-through gradient, commitment loss with beta on the encoder's term."""

    def __init__(self, config: VQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
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

    def codebook(self) -> Tensor:
        return self._scaled(self.codes.float())

    def _scaled(self, rows: Tensor) -> Tensor:
        """Rows (N, D) of unit length if the distance is the cosine's, else as they are."""
        # eps bounds the gradient of a latent that is zero
        return F.normalize(rows, dim=1, eps=1e-4) if self.config.distance == "cosine" else rows

    def assign_rows(self, rows: Tensor) -> Tensor:
        return nearest_code(self._scaled(rows), self.codebook())

    def logits(self, rows: Tensor) -> Tensor:
        """Negative squared distances. VQ has no posterior; their softmax is only a way to look at
        the runners-up."""
        return negative_distances(self._scaled(rows), self.codebook())

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        with no_autocast(z):
            z = z.float()
            if self.training and self.config.start != "uniform" and not self.started:
                self._begin_on(self._scaled(to_rows(z)))
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
                through = to_grid(rotated(to_rows(z), to_rows(chosen)), z)
            # through - through.detach() is zero to the last bit: the decoder sees the code itself
            return Quantized(chosen + (through - through.detach()), ids, losses)

    @torch.no_grad()
    def _begin_on(self, rows: Tensor) -> None:
        """Put every code on a latent of the batch (of all processes). Where there are fewer latents
        than codes, some go near one that is taken: of equal codes only the first would be used."""
        pool = gather_rows(rows)
        draw = torch.Generator().manual_seed(0)
        picks = torch.randperm(len(pool), generator=draw)
        picks = picks.repeat(-(-self.size // len(pool)))[: self.size].to(pool.device)
        centres = pool[picks]
        if (again := self.size - len(pool)) > 0:
            near = torch.randn(again, self.dim, generator=draw).to(pool) * NEARBY
            centres[len(pool) :] += near * pool.std(0, correction=0)
        if self.config.start == "kmeans":
            # Sums on a GPU may differ in their last bit from one process to the next.
            centres = copy_of_first(kmeans(pool, centres, KMEANS_ROUNDS))
        self.codes.copy_(self._scaled(centres))
        if self.config.codebook == "ema":
            self.sums.copy_(self.codes)
        self.started.fill_(True)

    @torch.no_grad()
    def update(self, z: Tensor, ids: Tensor) -> Tensor | None:
        rows, ids = self._scaled(to_rows(z)), ids.flatten()
        counts = sum_over_processes(torch.bincount(ids, minlength=self.size).float())
        if self.config.codebook == "ema":
            self._follow(rows, ids, counts)
        return self._restart(rows, counts) if self.config.restart_below > 0 else None

    def _follow(self, rows: Tensor, ids: Tensor, counts: Tensor) -> None:
        """Moving averages of the latents of each code (VQ-VAE appendix A.1, Laplace-smoothed)."""
        sums = torch.zeros_like(self.sums).index_add_(0, ids, rows)
        self.weights.lerp_(counts, 1 - self.config.decay)
        self.sums.lerp_(sum_over_processes(sums), 1 - self.config.decay)
        total, eps = self.weights.sum(), 1e-5
        smoothed = (self.weights + eps) / (total + self.size * eps) * total
        self.codes.copy_(self.sums / smoothed.unsqueeze(1))

    def _restart(self, rows: Tensor, counts: Tensor) -> Tensor | None:
        """Dead codes move onto latents drawn from the batch of all processes."""
        self.uses.lerp_(counts, 1 - self.config.decay)
        self.updates += 1
        dead = (self.uses < self.config.restart_below).nonzero().flatten()
        if not len(dead):
            return None
        pool = gather_rows(rows)
        # Seeded by the count of updates: every process draws the same, and so does a resumed run.
        draw = torch.Generator().manual_seed(int(self.updates))
        dead = dead[torch.randperm(len(dead), generator=draw)[: len(pool)].to(dead.device)]
        picks = torch.randperm(len(pool), generator=draw)[: len(dead)]
        fresh = pool[picks.to(pool.device)]
        self.codes[dead] = fresh
        if self.config.codebook == "ema":  # else the averages would pull the code straight back
            self.sums[dead], self.weights[dead] = fresh, 1.0
        self.uses[dead] = 2 * self.config.restart_below
        return dead
