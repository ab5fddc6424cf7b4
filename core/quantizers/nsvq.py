"""NSVQ: dense non-stationary codebook loss and codebook replacement (arXiv 2606.11363).

While the encoder changes, codes that are not chosen fall behind and die. Two rules prevent it: a
loss that pulls *every* code toward the latents near it (Eq. 8-11), and the replacement of codes
that were not used for a whole epoch (appendix C.3). The third part of the method, the stages in
which the encoder is first trained and then frozen, belongs to the trainer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..distributed import sum_over_processes
from ..host_values import HostCopy, count_values
from .base import Quantized, Quantizer, check_latents, no_autocast, to_rows
from .ops import (
    check_fall,
    check_ratio,
    falling_ratio,
    negative_distances,
    places,
    replace_by_copies,
    stochastic_mask,
)
from .tiled.dense import non_stationary_loss
from .tiled.lookup import draw_codes, draw_seed, nearest_code


@dataclass(frozen=True)
class NSVQConfig:
    """NSVQ's quantizer, with the paper's values (appendix D) unless stated otherwise."""

    size: int = 1024
    """K, the number of codes."""
    beta: float = 0.25
    """Weight of the commitment term, which moves the encoder."""
    alpha: float = 0.1
    """Weight of the dense non-stationary loss; 0 switches it off."""
    tau: float = 0.35
    """Temperature of its softmax, in units of squared distance summed over the d components of a
    code. The paper's value is for d = 128; another d or norm of latents may need another one
    (INFERRED)."""
    replacement: bool = True
    """Replace codes that were not used for an epoch by copies of used codes."""
    epoch: int = 1000
    """Optimizer steps between replacements; in the paper, one pass over the data."""
    replacement_warmup: int = 5
    """Epochs before the first replacement."""
    replacement_noise: float = 0.001
    """Standard deviation of the noise on a copied code."""
    mask_ratio: float = 0.0
    """Share of positions whose code is drawn in training, from the softmax that weights the dense
    loss. NSVQ has 0; a share above 0 is Reg-VQ's stochastic mask on NSVQ's codebook, a combination
    of neither paper."""
    mask_fall: tuple[float, float] = (1.0, 1.0)
    """Shares of the run between which that share falls to 0, as in Reg-VQ's settings."""

    def __post_init__(self) -> None:
        if self.tau <= 0:
            raise ValueError(f"quantizer.tau must be above 0, got {self.tau}")
        if self.epoch < 1:
            raise ValueError(f"quantizer.epoch must be at least 1 step, got {self.epoch}")
        for name in ("beta", "alpha", "replacement_warmup", "replacement_noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"quantizer.{name} must be 0 or more, got {getattr(self, name)}")
        check_ratio(self.mask_ratio)
        check_fall(self.mask_fall)

    def build(self, dim: int) -> NonStationaryVectorQuantizer:
        """Build the quantizer for codes of length ``dim``."""
        return NonStationaryVectorQuantizer(self, dim)


class NonStationaryVectorQuantizer(Quantizer):
    """Nearest code, straight-through gradient, VQ-VAE's losses, dense loss and replacement."""

    is_stochastic = True
    straight_through = True
    uses: Tensor
    updates: Tensor

    def __init__(self, config: NSVQConfig, dim: int) -> None:
        super().__init__(config.size, dim)
        self.config = config
        self.mask_ratio = config.mask_ratio
        # INFERRED: SimVQ's Gaussian; the paper does not state how codes are initialized.
        self.codes = nn.Parameter(torch.randn(self.size, dim) * dim**-0.5)
        if config.replacement:
            self.register_buffer("uses", torch.zeros(self.size, dtype=torch.int64))
            self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._done = HostCopy()

    def schedule(self, progress: float) -> None:
        self.mask_ratio = falling_ratio(self.config.mask_ratio, self.config.mask_fall, progress)

    def codebook(self) -> Tensor:
        return self.codes.float()

    @torch.no_grad()
    def initialize_codes(self, centers: Tensor) -> None:
        self.codes.copy_(centers)

    def assign_rows(self, rows: Tensor) -> Tensor:
        return nearest_code(rows, self.codebook())

    def logits(self, rows: Tensor) -> Tensor:
        """Return negative squared distances over tau, the logits of the dense loss's weights."""
        return negative_distances(rows, self.codebook()) / self.config.tau

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
            ids = self.assign(z)
            chosen = self.embed(ids)
            drawn = self._draw(z, ids, chosen, mask_ratio, generator)
            if not self.training:
                return drawn
            # The losses use the nearest codes; only the decoder gets the drawn ones.
            losses = {"codebook": F.mse_loss(chosen, z.detach())}
            if not self.encoder_frozen:
                losses["commitment"] = self.config.beta * F.mse_loss(z, chosen.detach())
                if self.config.alpha:
                    losses["nonstationary"] = self.config.alpha * non_stationary_loss(
                        self.codebook(), to_rows(z), ids.flatten(), self.config.tau
                    )
            return drawn._replace(z=drawn.z.detach() + (z - z.detach()), losses=losses)

    @torch.no_grad()
    def _draw(
        self,
        z: Tensor,
        ids: Tensor,
        chosen: Tensor,
        ratio: float,
        generator: torch.Generator | None,
    ) -> Quantized:
        """Return the nearest codes, replaced by drawn codes at a share ``ratio`` of positions."""
        if ratio == 0:
            return Quantized(chosen, ids, {})
        rows, codes = to_rows(z), self.codebook()
        mask = stochastic_mask(len(z), ids[0].numel(), ratio, generator, z.device)
        some, _ = places(mask, ratio)
        # -|z - c|^2 / tau without |z|^2, which a softmax over codes does not depend on
        weight, bias = 2 * codes / self.config.tau, -codes.square().sum(1) / self.config.tau
        fresh = draw_codes(rows[some], weight, bias, draw_seed(generator, z.device))
        mixed = ids.flatten().index_copy(0, some, fresh).view_as(ids)
        mixed_codes = self.embed(mixed)
        perturbation = (mixed_codes - chosen).square().sum(1)
        return Quantized(mixed_codes, mixed, {}, mask.view_as(ids), perturbation)

    @torch.no_grad()
    def update(self, z: Tensor, ids: Tensor) -> Tensor | None:
        """Replace unused codes, as ``Quantizer.update``. At the end of an epoch, the host waits for
        a GPU once, to copy the uses of the codes.
        """
        config = self.config
        if not config.replacement or self.encoder_frozen:
            return None
        self.uses += sum_over_processes(count_values(ids, self.size))
        done = self._done.raised(self.updates)
        if done % config.epoch:
            return None
        uses = self.uses.double().cpu()
        self.uses.zero_()
        dead = (uses < 1).nonzero().flatten()
        if done <= config.epoch * config.replacement_warmup or not len(dead):
            return None
        # Seeded by the number of updates, so that a resumed run draws the codes of an uninterrupted
        # run (INFERRED).
        return replace_by_copies(self.codes, dead, uses, config.replacement_noise, done)
