"""NSVQ's three stages (arXiv 2606.11363, sections 4.1 to 4.3 and appendix C).

*joint*: all parts learn. When the commitment loss has stopped falling, the encoder is frozen.
*warm-up*: decoder and codes adapt to the frozen encoder, without discriminator. *refine*: the
discriminator takes part again, and its weight rises again from zero. Optimizer states and the
learning rate continue throughout. The record of the losses is part of the run's state, so that a
resumed run changes its stage at the same step.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from regvq.distributed import mean_over_processes
from regvq.losses.adversarial import ramp
from regvq.quantizers import LeveledQuantizer, Quantized, Quantizer

from ..config.stages import StagesConfig


class Stage(NamedTuple):
    """The stage of a step."""

    name: Literal["joint", "warm-up", "refine"]
    adversarial_scale: float
    """Factor in [0, 1] on the adversarial weight."""

    @property
    def encoder_frozen(self) -> bool:
        """True if the encoder does not learn."""
        return self.name != "joint"

    @property
    def has_discriminator(self) -> bool:
        """True if the discriminator takes part."""
        return self.name != "warm-up"

    @property
    def number(self) -> int:
        """1, 2 or 3, for the log."""
        return ("joint", "warm-up", "refine").index(self.name) + 1


JOINT = Stage("joint", 1.0)


class Stages(nn.Module):
    """The rule that freezes the encoder, and the stage of every step.

    It is a module so that its numbers are saved and restored with the run's other parts.
    """

    def __init__(self, config: StagesConfig, steps: int) -> None:
        super().__init__()
        self.config, self.steps = config, steps
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))  # loss of this epoch
        self.register_buffer("lowest", torch.full((), torch.inf, dtype=torch.float64))
        self.register_buffer("stale", torch.zeros((), dtype=torch.int64))  # epochs since the lowest
        self.register_buffer("frozen_at", torch.full((), -1, dtype=torch.int64))

    def at(self, step: int) -> Stage:
        """Return the stage of a step."""
        frozen_at, config = int(self.frozen_at), self.config
        if frozen_at < 0 or step < frozen_at:
            return JOINT
        settled = frozen_at + config.warmup * config.epoch
        if step < settled:
            return Stage("warm-up", 0.0)
        return Stage("refine", ramp(step, settled, config.ramp * config.epoch))

    @torch.no_grad()
    def watch(self, step: int, latents: Tensor, codes: Tensor) -> bool:
        """Record the commitment loss of a finished step; return True if the encoder is frozen now.

        ``latents`` (B, D, h, w) and their best codes (``best_codes``), of the step. A collective:
        every process takes part and decides the same. At the end of an epoch, the host waits for a
        GPU once, to copy the mean loss.
        """
        if int(self.frozen_at) >= 0:
            return False
        config, done = self.config, step + 1
        gap = (latents.float() - codes.float()).square().mean()
        gap = mean_over_processes(gap)
        if gap.device.type == "cuda":  # the sum stays there until the epoch is over
            self.total = self.total.to(gap.device)
        self.total += gap.to(self.total.device)
        epoch_is_over = done % config.epoch == 0
        if epoch_is_over:
            mean = self.total.cpu() / config.epoch
            if mean < self.lowest:
                self.lowest.copy_(mean)
                self.stale.zero_()
            else:
                self.stale += 1
            self.total.zero_()
        stalled = epoch_is_over and int(self.stale) >= config.patience
        stalled = stalled and done >= config.earliest * self.steps
        if stalled or (config.latest < 1 and done >= config.latest * self.steps):
            self.frozen_at.fill_(done)
            return True
        return False


@torch.no_grad()
def best_codes(
    quantizer: Quantizer | LeveledQuantizer, latents: Tensor, quantized: Quantized
) -> Tensor:
    """Return the codes (B, D, h, w) whose distance from ``latents`` is the commitment loss.

    They are those of the argmax. The codes of ``quantized`` are others where a stochastic mask drew
    them: their distance would follow the mask's ratio, which may fall during the run. To be called
    before the codes are moved.
    """
    if quantized.mask is None or quantizer.encoder_frozen:
        return quantized.z.detach()
    return quantizer.embed(quantizer.assign(latents))
