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

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributed import mean_over_processes
from .base import Quantized, Quantizer, no_autocast, to_grid, to_rows
from .code_prior import gaussian_prior, read_histogram
from .ops import check_ratio, stochastic_mask
from .tiled.lookup import best_code, draw_codes, draw_seed, logits_of, nearest_code
from .tiled.soft import soft_through


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
    prior: Literal["uniform", "gaussian", "histogram"] = "uniform"
    """The use of codes that the regularization aims at: the paper's uniform one, or what it leaves
    to others: a Gaussian over code numbers, or counts from a file."""
    prior_spread: float = 0.25
    """Standard deviation of the Gaussian, as a share of K (our choice)."""
    prior_file: Path | None = None
    """Counts of the codes, K numbers (.npy, or the ``counts`` of a bundle's atlas.npz). Its values
    go into the checkpoint; the file is only needed to begin."""
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
        if self.prior not in ("uniform", "gaussian", "histogram"):
            raise ValueError(
                f"quantizer.prior must be 'uniform', 'gaussian' or 'histogram', got {self.prior!r}"
            )
        if not self.prior_spread > 0:
            raise ValueError(f"quantizer.prior_spread must be above 0, got {self.prior_spread}")
        if self.prior_file is not None:
            if self.prior != "histogram":
                raise ValueError("quantizer.prior_file needs quantizer.prior histogram")
            read_histogram(self.prior_file, self.size)  # a wrong file is refused at once
        check_ratio(self.mask_ratio)
        if self.temperature <= 0:
            raise ValueError(f"quantizer.temperature must be above 0, got {self.temperature}")

    def build(self, dim: int) -> RegularizedVectorQuantizer:
        """The quantizer for codes of length ``dim``."""
        return RegularizedVectorQuantizer(self, dim)


def prior_divergence(use: Tensor, prior: Tensor | None = None, eps: float = 1e-8) -> Tensor:
    """KL(use || prior) = sum_n p_n log(p_n / prior_n), in nats, of use (..., K); mean over leading
    axes.

    Eq. 1, with ``prior`` (K,) summing to one and nowhere zero; None is the paper's uniform one.
    ``eps`` bounds the pull on a code that is never used, whose slope would be infinite: it is
    log(eps / prior_n), -11.5 at 1,024 codes and the uniform prior.
    """
    ratio = (use + eps) * use.shape[-1] if prior is None else (use + eps) / prior
    return (use * ratio.log()).sum(-1).mean()


class RegularizedVectorQuantizer(Quantizer):
    """Token distribution, stochastic mask, straight-through codes and the prior regularization."""

    is_stochastic = True

    def __init__(self, config: RegVQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        self.codes = nn.Parameter(torch.randn(self.size, dim) * dim**-0.5)
        if config.posterior == "head":
            self.head = nn.Linear(dim, self.size)
        else:
            self.log_scale = nn.Parameter(torch.ones(()))  # scale e at start, learned
        if config.prior == "uniform":
            self.prior: Tensor | None = None
        elif config.prior == "gaussian":
            self.register_buffer("prior", gaussian_prior(self.size, config.prior_spread))
        elif config.prior_file is not None:
            self.register_buffer("prior", read_histogram(config.prior_file, self.size))
        else:  # of a checkpoint, whose weights hold it
            self.register_buffer("prior", torch.full((self.size,), 1 / self.size))

    def codebook(self) -> Tensor:
        return self.codes.float()

    def assign_rows(self, rows: Tensor) -> Tensor:
        if self.config.posterior == "head":
            return best_code(rows, *self._affine())
        return nearest_code(rows, self.codebook())

    def logits(self, rows: Tensor) -> Tensor:
        return logits_of(rows, *self._affine())

    def _affine(self) -> tuple[Tensor, Tensor]:
        """The posterior's logits are rows @ weight (K, D) + bias (K,), whichever it is."""
        if self.config.posterior == "head":
            return self.head.weight.float(), self.head.bias.float()
        codes, scale = self.codebook(), self.log_scale.float().exp()
        # -scale |z - e|^2 without |z|^2, which no softmax over codes can see
        return 2 * scale * codes, -scale * codes.square().sum(1)

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
        rows, codes = to_rows(z), self.codebook()
        mask = stochastic_mask(batch, height * width, ratio, generator, z.device).flatten()
        best, ids, through, soft = self._choose(rows, mask, batch, generator)
        chosen = F.embedding(ids, codes)
        with torch.no_grad():
            perturbation = (chosen - F.embedding(best, codes)).square().sum(1)
        losses: dict[str, Tensor] = {}
        if self.training:
            chosen = chosen + through
            if self.config.prior_weight:
                losses["prior"] = self.config.prior_weight * self._prior(ids, soft, batch)
            if self.config.posterior == "distance":
                target = F.embedding(best, codes.detach())
                losses["commitment"] = self.config.commitment * F.mse_loss(rows, target)
        grid, shape = to_grid(chosen, z), (batch, height, width)
        return Quantized(grid, ids.view(shape), losses, mask.view(shape), perturbation.view(shape))

    def _choose(
        self, rows: Tensor, mask: Tensor, batch: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Best ids and ids (N,), and the gradients of the soft choice: zeros (N, D) for the codes
        and zeros (G, K) for the use, G groups of positions."""
        weight, bias = self._affine()
        best, drawn, kept = self.assign_rows(rows), mask.nonzero().flatten(), (~mask).nonzero()
        seed = draw_seed(generator, rows.device)
        ids = best.index_copy(0, drawn, draw_codes(rows[drawn], weight, bias, seed))
        if not self.training:
            return best, ids, None, None
        groups = self._groups(batch)
        group = torch.arange(groups, device=rows.device).repeat_interleave(len(rows) // groups)
        through, total = torch.zeros_like(rows), rows.new_zeros(groups, self.size)
        # Algorithm 1: both regions are straight-through, each with its own soft counterpart.
        for some, settings in (
            (kept.flatten(), {}),
            (drawn, {"seed": seed, "temperature": self.config.temperature}),
        ):
            if not len(some):
                continue
            parts = {"groups": group[some], "group_count": groups} if groups > 1 else {}
            soft, use = soft_through(rows[some], weight, bias, self.codebook(), **settings, **parts)
            through, total = through.index_add(0, some, soft), total + use
        return best, ids, through, total

    def _groups(self, batch: int) -> int:
        return batch if self.config.prior_scope == "image" else 1

    def _prior(self, ids: Tensor, soft: Tensor, batch: int) -> Tensor:
        """Eq. 1 on the straight-through one-hots: hard counts forward, the soft ones backward."""
        groups = self._groups(batch)
        each = len(ids) // groups
        group = torch.arange(groups, device=ids.device).repeat_interleave(each)
        hard = torch.bincount(group * self.size + ids, minlength=groups * self.size)
        use = (hard.view(groups, self.size) + soft) / each
        if self.config.prior_scope == "batch":
            use = mean_over_processes(use)
        return prior_divergence(use, self.prior)
