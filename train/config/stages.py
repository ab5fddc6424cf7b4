"""Settings of NSVQ's three stages (``train.loop.stages``)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StagesConfig:
    """The steps at which a run changes its stage. Epochs are the paper's (10, 3 and 2); shares are
    our choice."""

    epoch: int = 1000
    """Optimizer steps that count as an epoch; set quantizer.epoch of nsvq to the same number."""
    patience: int = 10
    """Epochs without a new lowest mean commitment loss after which the encoder is frozen."""
    earliest: float = 0.0
    """Share of the run's steps before which the encoder is not frozen: in a short run the loss
    first rises with the length of the latents, and its lowest value may be its first."""
    latest: float = 1.0
    """Share of the run's steps at which the encoder is frozen in any case; 1 leaves it to the
    rule."""
    warmup: int = 3
    """Epochs of the warm-up, without discriminator."""
    ramp: float = 2.0
    """Epochs in which the adversarial weight rises to its value before the warm-up."""

    def __post_init__(self) -> None:
        for name, least in (("epoch", 1), ("patience", 1), ("warmup", 0), ("ramp", 0)):
            if not (value := getattr(self, name)) >= least:
                raise ValueError(f"stages.{name} must be {least} or more, got {value}")
        if not 0 <= self.earliest <= self.latest <= 1:
            raise ValueError(
                "stages.earliest and stages.latest must be in order and in [0, 1], "
                f"got {self.earliest} and {self.latest}"
            )
