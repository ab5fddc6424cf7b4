"""Reg-VQ: regularized vector quantization (Zhang et al., CVPR 2023, arXiv 2303.06424).

Two regularizers act on the token distribution p(code | position). *Prior-distribution
regularization* (Eq. 1) keeps the use of codes, averaged over positions, near uniform, so that no
code dies. *Stochastic-mask regularization* (section 3.3) draws the codes of a random part of the
positions from p (Gumbel-max) and takes the argmax at the others. The decoder thus learns to decode
imperfect tokens, such as those of a prior, as well as the exact ones. The method's contrastive
losses (Eq. 2, 3) compare pictures; they are in ``core/losses/contrastive.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributed import mean_over_rows
from ..host_values import count_values
from .base import Quantized, Quantizer, check_latents, no_autocast, to_grid, to_rows
from .code_prior import gaussian_prior, read_histogram
from .ops import check_fall, check_ratio, falling_ratio, places, stochastic_mask
from .tiled.lookup import best_code, draw_codes, draw_seed, logits_of, nearest_code
from .tiled.soft import straight_through


@dataclass(frozen=True)
class RegVQConfig:
    """Reg-VQ's quantizer. The paper states the mask ratio; every other number is INFERRED."""

    size: int = 1024
    """K, the number of codes."""
    posterior: Literal["distance", "head"] = "distance"
    """The token distribution. ``head``: a linear layer on the latent, as in the paper.
    ``distance``: the softmax of negative squared distances to the codes times a learned scale; not
    in the paper, but it learns much faster and leaves all regularizers unchanged."""
    mask_ratio: float = 0.4
    """Share of positions whose code is drawn, not chosen by argmax (the paper's best: 40 %)."""
    mask_fall: tuple[float, float] = (1.0, 1.0)
    """Shares of the run between which that share falls linearly to 0, so that the decoder learns
    the exact tokens at the end; (1, 1): it never falls (the paper states no schedule)."""
    prior_weight: float = 0.01
    """Weight of the prior-distribution regularization (INFERRED; the paper states none)."""
    prior_scope: Literal["batch", "image"] = "batch"
    """Positions over which the use of codes is averaged: those of the batch in all processes
    (INFERRED), or those of each image, as Eq. 1 is written. In the latter case the loss cannot
    reach zero with fewer positions than codes."""
    prior: Literal["uniform", "gaussian", "histogram"] = "uniform"
    """Target of the regularization for the use of codes: uniform, as in the paper, or one of our
    additions: a Gaussian over code numbers, or counts from a file."""
    prior_spread: float = 0.25
    """Standard deviation of the Gaussian, as a share of K (our choice)."""
    prior_file: Path | None = None
    """Counts of the codes, K numbers (.npy, or the ``counts`` of a bundle's atlas.npz). Checkpoints
    contain the values; only a new run needs the file."""
    commitment: float = 0.25
    """Weight of the squared distance of latents to their best code (``distance`` only;
    INFERRED)."""
    temperature: float = 1.0
    """Gumbel-softmax temperature of the backward pass (INFERRED)."""

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
                raise ValueError(
                    f"quantizer.prior_file needs quantizer.prior 'histogram', got {self.prior!r}"
                )
            read_histogram(self.prior_file, self.size)  # report a wrong file now
        check_ratio(self.mask_ratio)
        check_fall(self.mask_fall)
        if self.temperature <= 0:
            raise ValueError(f"quantizer.temperature must be above 0, got {self.temperature}")

    def build(self, dim: int) -> RegularizedVectorQuantizer:
        """Build the quantizer for codes of length ``dim``."""
        return RegularizedVectorQuantizer(self, dim)


def prior_divergence(use: Tensor, prior: Tensor | None = None, eps: float = 1e-8) -> Tensor:
    """Return KL(use || prior) = sum_n p_n log(p_n / prior_n) in nats (Eq. 1).

    ``use`` p is (..., K), and the result the mean over its leading axes. ``prior`` (K,) must sum to
    one and be positive; None is the paper's uniform one. ``eps`` bounds the slope at a code that is
    never used, which would be infinite: it is log(eps / prior_n), -11.5 with 1,024 codes and the
    uniform prior.
    """
    ratio = (use + eps) * use.shape[-1] if prior is None else (use + eps) / prior
    return (use * ratio.log()).sum(-1).mean()


class RegularizedVectorQuantizer(Quantizer):
    """Token distribution, stochastic mask, straight-through codes and the prior regularization."""

    is_stochastic = True
    set_by_config = ("prior",)
    prior: Tensor | None

    def __init__(self, config: RegVQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        self.mask_ratio = config.mask_ratio
        # INFERRED: a Gaussian; the paper's initialization is not known.
        self.codes = nn.Parameter(torch.randn(self.size, dim) * dim**-0.5)
        if config.posterior == "head":
            self.head = nn.Linear(dim, self.size)
        else:
            self.log_scale = nn.Parameter(torch.ones(()))  # the scale is e at first
        if config.prior == "uniform":
            self.prior = None
        elif config.prior == "gaussian":
            self.register_buffer("prior", gaussian_prior(self.size, config.prior_spread))
        elif config.prior_file is not None:
            self.register_buffer("prior", read_histogram(config.prior_file, self.size))
        else:  # loaded with the weights of a checkpoint
            self.register_buffer("prior", torch.full((self.size,), 1 / self.size))

    def schedule(self, progress: float) -> None:
        self.mask_ratio = falling_ratio(self.config.mask_ratio, self.config.mask_fall, progress)

    def codebook(self) -> Tensor:
        return self.codes.float()

    @torch.no_grad()
    def initialize_codes(self, centers: Tensor) -> None:
        if self.config.posterior == "head":
            return super().initialize_codes(centers)
        self.codes.copy_(centers)

    def assign_rows(self, rows: Tensor) -> Tensor:
        if self.config.posterior == "head":
            return best_code(rows, *self._affine())
        return nearest_code(rows, self.codebook())

    def logits(self, rows: Tensor) -> Tensor:
        return logits_of(rows, *self._affine())

    def _affine(self) -> tuple[Tensor, Tensor]:
        """Return ``weight`` (K, D) and ``bias`` (K,): the logits are rows @ weight.T + bias."""
        if self.config.posterior == "head":
            return self.head.weight.float(), self.head.bias.float()
        codes, scale = self.codebook(), self.log_scale.float().exp()
        # -scale |z - e|^2 without |z|^2, which a softmax over codes does not depend on
        return 2 * scale * codes, -scale * codes.square().sum(1)

    def forward(
        self,
        z: Tensor,
        *,
        mask_ratio: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Quantized:
        check_latents(z, self.dim)
        if mask_ratio is None:
            mask_ratio = self.mask_ratio if self.training else 0.0
        with no_autocast(z):
            z = z.float()
            if not self.training and mask_ratio == 0:
                ids = self.assign(z)
                return Quantized(self.embed(ids), ids, {})
            return self._draw(z, mask_ratio, generator)

    def _draw(self, z: Tensor, ratio: float, generator: torch.Generator | None) -> Quantized:
        batch, _, height, width = z.shape
        rows, codes = to_rows(z), self.codebook()
        mask = stochastic_mask(batch, height * width, ratio, generator, z.device)
        affine = self._affine()
        best, (drawn, kept) = self.assign_rows(rows), places(mask, ratio)
        seed = draw_seed(generator, rows.device)
        ids = best.index_copy(0, drawn, draw_codes(rows[drawn], *affine, seed))
        soft = None
        if self.training:
            soft = self._soft_choice(rows, affine, kept, drawn, seed, batch)
        chosen = F.embedding(ids, codes)
        with torch.no_grad():
            perturbation = (chosen - F.embedding(best, codes)).square().sum(1)
        losses: dict[str, Tensor] = {}
        if soft is not None:
            through, use = soft
            chosen = chosen + through
            if self.config.prior_weight:
                losses["prior"] = self.config.prior_weight * self._prior_loss(ids, use, batch)
            if self.config.posterior == "distance":
                target = F.embedding(best, codes.detach())
                losses["commitment"] = self.config.commitment * F.mse_loss(rows, target)
        grid, shape = to_grid(chosen, z), (batch, height, width)
        return Quantized(grid, ids.view(shape), losses, mask.view(shape), perturbation.view(shape))

    def _soft_choice(
        self,
        rows: Tensor,
        affine: tuple[Tensor, Tensor],
        kept: Tensor,
        drawn: Tensor,
        seed: int | Tensor,
        batch: int,
    ) -> tuple[Tensor, Tensor]:
        """Return zeros (N, D) and (G, K) with the gradients of the soft choice of codes.

        The second has those of its sum over each of G groups of positions.
        ``affine`` is the result of ``_affine``; ``kept`` and ``drawn`` are the positions of the
        deterministic and the stochastic region.
        """
        groups = self._group_count(batch)
        group = torch.arange(groups, device=rows.device).repeat_interleave(len(rows) // groups)
        through, total = torch.zeros_like(rows), rows.new_zeros(groups, self.size)
        # Algorithm 1: both regions are straight-through, each with its own soft choice.
        noise: dict[str, Any] = {"seed": seed, "temperature": self.config.temperature}
        for some, settings in ((kept, {}), (drawn, noise)):
            if not torch.compiler.is_compiling() and not len(some):
                continue
            if groups > 1:
                settings = settings | {"groups": group[some], "group_count": groups}
            soft, use = straight_through(rows[some], *affine, self.codebook(), **settings)
            through, total = through.index_add(0, some, soft), total + use
        return through, total

    def _group_count(self, batch: int) -> int:
        return batch if self.config.prior_scope == "image" else 1

    def _prior_loss(self, ids: Tensor, soft_use: Tensor, batch: int) -> Tensor:
        """Return Eq. 1 of straight-through one-hots: hard counts forward, soft ones backward."""
        groups = self._group_count(batch)
        size = len(ids) // groups
        group = torch.arange(groups, device=ids.device).repeat_interleave(size)
        hard = count_values(group * self.size + ids, groups * self.size)
        use = (hard.view(groups, self.size) + soft_use) / size
        if self.config.prior_scope == "batch":
            use = mean_over_rows(use, size)
        return prior_divergence(use, self.prior)
