"""Reg-VQ: regularized vector quantization (Zhang et al., CVPR 2023, arXiv 2303.06424).

Two regularizers act on the token distribution p(code | position). *Prior-distribution
regularization* (Eq. 1) keeps the use of codes, averaged over positions, near uniform, so that no
code dies. *Stochastic-mask regularization* (section 3.3) draws the codes of a random part of the
positions from p (Gumbel-max) and takes the argmax at the others, so that the decoder learns to
live with imperfect tokens, as a prior will hand it, without losing sight of the exact ones. The
contrastive losses that go with it (Eq. 2, 3) compare pictures and stand in
``core/losses/contrastive.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.parallel import mean_over_processes
from core.quantizers.base import Quantized, Quantizer, no_autocast, to_grid, to_rows
from core.quantizers.lookup import best_code, nearest_code


@dataclass(frozen=True)
class RegVQConfig:
    """Reg-VQ's quantizer. The paper states the mask ratio; every other number is inferred."""

    size: int = 1024
    """K, the number of codes."""
    posterior: Literal["distance", "head"] = "distance"
    """Where the token distribution comes from. ``head``: a linear layer on the latent, as in the
    paper. ``distance``: softmax of negative squared distances to the codes, times a learned scale;
    not the paper's, but it learns much faster and keeps all regularizers as they are."""
    mask_ratio: float = 0.4
    """Share of positions whose code is drawn rather than taken by argmax (the paper's best: 40
    %)."""
    prior_weight: float = 0.01
    """Weight of the prior-distribution regularization (inferred; the paper gives none)."""
    prior_scope: Literal["batch", "image"] = "batch"
    """Positions over which use is averaged: all of the batch and all processes, or, to the letter
    of Eq. 1, those of each image (which cannot reach zero with fewer positions than codes)."""
    commitment: float = 0.25
    """Weight of the pull of latents to their best code (``distance`` only; inferred)."""
    temperature: float = 1.0
    """Gumbel-softmax temperature of the backward pass (inferred)."""

    def __post_init__(self) -> None:
        if self.posterior not in ("distance", "head"):
            raise ValueError(
                f"quantizer.posterior must be 'distance' or 'head', got {self.posterior!r}"
            )
        if self.prior_scope not in ("batch", "image"):
            raise ValueError(
                f"quantizer.prior_scope must be 'batch' or 'image', got {self.prior_scope!r}"
            )
        if not 0 <= self.mask_ratio <= 1:
            raise ValueError(f"quantizer.mask_ratio must be in [0, 1], got {self.mask_ratio}")
        if self.temperature <= 0:
            raise ValueError(f"quantizer.temperature must be above 0, got {self.temperature}")

    def build(self, dim: int) -> RegularizedVectorQuantizer:
        """The quantizer for codes of length ``dim``."""
        return RegularizedVectorQuantizer(self, dim)


def stochastic_mask(
    batch: int, positions: int, ratio: float, generator: torch.Generator | None, device:
    torch.device
) -> Tensor:
    """Bool (batch, positions), true where the code is to be drawn; the same number in every
    picture.

    ``floor(positions * (1 - ratio))`` positions stay deterministic (section 3.3; that the count is
    exact per picture is inferred).
    """
    kept = math.floor(positions * (1 - ratio) + 1e-9)
    order = torch.rand(batch, positions, generator=generator, device=device).argsort(dim=1)
    return order >= kept


def gumbel_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise with the shape of ``like``: -log of an exponential draw."""
    return torch.empty_like(like).exponential_(generator=generator).log_().neg_()


def prior_divergence(use: Tensor, eps: float = 1e-8) -> Tensor:
    """KL(use || uniform) = sum_n p_n log(K p_n), in nats, of use (..., K); mean over leading axes.

    Eq. 1. ``eps`` bounds the pull on a code that is never used, whose slope would be infinite:
    it is log(K eps), -11.5 at 1,024 codes.
    """
    return (use * (use.shape[-1] * (use + eps)).log()).sum(-1).mean()


class RegularizedVectorQuantizer(Quantizer):
    """Token distribution, stochastic mask, straight-through codes and the prior regularization."""

    def __init__(self, config: RegVQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        self.codes = nn.Parameter(torch.randn(self.size, dim) * dim**-0.5)
        if config.posterior == "head":
            self.head = nn.Linear(dim, self.size)
        else:
            self.log_scale = nn.Parameter(torch.ones(()))  # scale e at start, learned

    def codebook(self) -> Tensor:
        return self.codes.float()

    def assign_rows(self, rows: Tensor) -> Tensor:
        if self.config.posterior == "head":
            return best_code(rows, self.head.weight.float(), self.head.bias.float())
        return nearest_code(rows, self.codebook())

    def scores(self, rows: Tensor) -> Tensor:
        if self.config.posterior == "head":
            return F.linear(rows, self.head.weight.float(), self.head.bias.float())
        codes = self.codebook()
        # -scale |z - e|^2 without |z|^2, which no softmax over codes can see
        closeness = torch.addmm(-codes.square().sum(1), rows, codes.t(), alpha=2)
        return self.log_scale.float().exp() * closeness

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        if mask_ratio is None:
            mask_ratio = self.config.mask_ratio if self.training else 0.0
        with no_autocast(z):
            z = z.float()
            if not self.training and mask_ratio == 0:
                ids = self.assign(z)
                return Quantized(self.embed(ids), ids, {})
            return self._draw(z, mask_ratio, generator)

    def _draw(self, z: Tensor, ratio: float, generator: torch.Generator | None) -> Quantized:
        batch, _, height, width = z.shape
        rows = to_rows(z)
        logits = self.scores(rows)
        # In eval the exact search decides, so that a ratio towards 0 tends to ``assign``'s ids.
        best = logits.argmax(1) if self.training else self.assign_rows(rows)
        mask = stochastic_mask(batch, height * width, ratio, generator, z.device).flatten()
        drawn = mask.nonzero().flatten()
        noisy = logits[drawn] + gumbel_noise(logits[drawn], generator)
        ids = best.index_copy(0, drawn, noisy.argmax(1))
        codes = self.codebook()
        chosen = F.embedding(ids, codes)
        with torch.no_grad():
            perturbation = (chosen - F.embedding(best, codes)).square().sum(1)
        grid, shape = to_grid(chosen, z), (batch, height, width)
        losses: dict[str, Tensor] = {}
        if self.training:
            # Algorithm 1: both regions are straight-through, each with its own soft counterpart.
            soft = logits.softmax(1).index_copy(
                0, drawn, (noisy / self.config.temperature).softmax(1)
            )
            through = soft @ codes.detach()
            grid = to_grid(chosen + (through - through.detach()), z)
            losses["prior"] = self.config.prior_weight * self._prior(ids, soft, batch)
            if self.config.posterior == "distance":
                target = F.embedding(best, codes.detach())
                losses["commitment"] = self.config.commitment * F.mse_loss(rows, target)
        return Quantized(grid, ids.view(shape), losses, mask.view(shape), perturbation.view(shape))

    def _prior(self, ids: Tensor, soft: Tensor, batch: int) -> Tensor:
        """Eq. 1 on the straight-through one-hots: hard counts forward, the soft ones backward."""
        if self.config.prior_scope == "image":
            groups = torch.arange(batch, device=ids.device).repeat_interleave(len(ids) // batch)
            hard = torch.bincount(groups * self.size + ids, minlength=batch * self.size)
            hard = hard.view(batch, self.size) * (batch / len(ids))
            mean = soft.view(batch, -1, self.size).mean(1)
            return prior_divergence(hard + (mean - mean.detach()))
        hard = torch.bincount(ids, minlength=self.size) / len(ids)
        mean = soft.mean(0)
        return prior_divergence(mean_over_processes(hard + (mean - mean.detach())))
