"""NSVQ's three stages (arXiv 2606.11363, sections 4.1 to 4.3 and appendix C).

*joint*: everything learns. When the commitment loss has stopped falling, the encoder is frozen.
*warm-up*: decoder and codes settle on it without discriminator. *refine*: the discriminator comes
back, its weight rising again from zero. Optimizer states and the learning rate go on throughout.
What the stages remember is part of the run's state, so that a resumed run changes stage at the
same step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from regvq.distributed import mean_over_processes
from regvq.losses.adversarial import ramp


@dataclass(frozen=True)
class StagesConfig:
    """When a run changes stage. Epochs are the paper's 10, 3 and 2; shares are ours."""

    epoch: int = 1000
    """Optimizer steps that count as an epoch; set quantizer.epoch of nsvq to the same."""
    patience: int = 10
    """Epochs without a new lowest mean commitment loss after which the encoder is frozen."""
    earliest: float = 0.0
    """Share of the run's steps before which it is not: in a short run the loss first rises with
    the latents' length, and its lowest value may be its first."""
    latest: float = 1.0
    """Share of the run's steps at which it is frozen in any case; 1 leaves it to the rule."""
    warmup: int = 3
    """Epochs of the warm-up, without discriminator."""
    ramp: float = 2.0
    """Epochs over which the adversarial weight rises to what it was."""

    def __post_init__(self) -> None:
        for name, least in (("epoch", 1), ("patience", 1), ("warmup", 0), ("ramp", 0)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"stages.{name} must be {least} or more, got {value}")
        if not 0 <= self.earliest <= self.latest <= 1:
            raise ValueError(
                "stages.earliest and stages.latest must be in order and in [0, 1], "
                f"got {self.earliest} and {self.latest}"
            )


class Stage(NamedTuple):
    """What a step does."""

    name: Literal["joint", "warm-up", "refine"]
    volume: float
    """Factor in [0, 1] on the adversarial weight."""

    @property
    def encoder_frozen(self) -> bool:
        return self.name != "joint"

    @property
    def judging(self) -> bool:
        """Whether the discriminator takes part."""
        return self.name != "warm-up"

    @property
    def number(self) -> int:
        """1, 2 or 3, for the log."""
        return ("joint", "warm-up", "refine").index(self.name) + 1


JOINT = Stage("joint", 1.0)


class Stages(nn.Module):
    """The rule that freezes the encoder, and the stage of every step.

    A module only so that its numbers are saved and restored with the run's other parts.
    """

    def __init__(self, config: StagesConfig, steps: int) -> None:
        super().__init__()
        self.config, self.steps = config, steps
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))  # of this epoch
        self.register_buffer("lowest", torch.full((), torch.inf, dtype=torch.float64))
        self.register_buffer("stale", torch.zeros((), dtype=torch.int64))  # epochs since then
        self.register_buffer("frozen_at", torch.full((), -1, dtype=torch.int64))

    def at(self, step: int) -> Stage:
        """The stage of a step."""
        frozen_at, config = int(self.frozen_at), self.config
        if frozen_at < 0 or step < frozen_at:
            return JOINT
        settled = frozen_at + config.warmup * config.epoch
        if step < settled:
            return Stage("warm-up", 0.0)
        return Stage("refine", ramp(step, settled, config.ramp * config.epoch))

    @torch.no_grad()
    def watch(self, step: int, latents: Tensor, codes: Tensor) -> bool:
        """After a step: note its commitment loss; true if the encoder is frozen from now on.

        ``latents`` (B, D, h, w) and the ``codes`` that stand for them, of the step. A collective:
        every process takes part and decides the same.
        """
        if int(self.frozen_at) >= 0:
            return False
        config, done = self.config, step + 1
        gap = (latents.float() - codes.float()).square().mean()
        self.total += float(mean_over_processes(gap))
        epoch_is_over = done % config.epoch == 0
        if epoch_is_over:
            mean = self.total / config.epoch
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
