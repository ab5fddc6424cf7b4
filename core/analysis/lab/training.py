"""Small trainings that are watched, paused and changed while they go on.

What the collapse lab trains, on points of a plane (``collapse``) or on small pictures (``tiny``),
goes through one loop: this project's quantizers unchanged, their own losses, AdamW. Runs that are
set side by side differ in nothing but the quantizer: they begin with the same networks and see the
same data in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...quantizers import (
    GumbelConfig,
    NSVQConfig,
    Quantized,
    Quantizer,
    QuantizerConfig,
    RegVQConfig,
    SimVQConfig,
    VQConfig,
)

T = TypeVar("T")


def default_quantizers(size: int = 64) -> dict[str, QuantizerConfig]:
    """The quantizers that the lab sets side by side, by what they are called there."""
    return {
        "VQ": VQConfig(size=size),
        "EMA": VQConfig(size=size, codebook="ema", decay=0.9),
        "Gumbel": GumbelConfig(size=size),
        "Reg-VQ": RegVQConfig(size=size, prior_weight=0.1),
        "Reg-VQ without prior": RegVQConfig(size=size, prior_weight=0.0),
        "Reg-VQ without mask": RegVQConfig(size=size, prior_weight=0.1, mask_ratio=0.0),
        "SimVQ": SimVQConfig(size=size),
        # Two components where the paper has 128: a temperature in proportion; a short epoch.
        "NSVQ": NSVQConfig(size=size, tau=0.05, epoch=50, replacement_warmup=1),
    }


class InteractiveRun(ABC):
    """A run that can be watched, paused, and changed while it goes on.

    ``config`` is a frozen dataclass with the fields ``quantizer``, ``rate`` and ``seed``.
    """

    def __init__(self, config: Any, quantizer: Quantizer, networks: list[nn.Module]) -> None:
        self.config = config
        self.quantizer = quantizer
        self.step = 0
        # Two draws, so that what a quantizer draws does not change what data it is shown.
        self.data_draw = torch.Generator().manual_seed(config.seed + 1)
        self.draw = torch.Generator().manual_seed(config.seed + 3)
        self.parts = [*networks, quantizer]

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW. Made with the first step: with its first optimizer torch imports its compiler,
        which takes seconds, and a run is looked at before it is trained."""
        weights = [
            weight for part in self.parts for weight in part.parameters() if weight.requires_grad
        ]
        return torch.optim.AdamW(weights, lr=self.config.rate, weight_decay=0.0)

    @abstractmethod
    def forward(self) -> tuple[Tensor, Tensor, Quantized]:
        """One batch: the error of its reconstruction (a scalar), its latents (B, D, h, w), and what
        the quantizer made of them."""

    def train(self, horizon: int = 1000) -> None:
        """One step. ``horizon``: the steps that temperatures fall over."""
        self.quantizer.train()
        self.quantizer.schedule(min(1.0, self.step / horizon))
        error, latents, found = self.forward()
        loss = error + sum(found.losses.values())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        moved = self.quantizer.update(latents.detach(), found.ids)
        if moved is not None:
            _forget(self.optimizer, self.quantizer, moved)
        self.step += 1

    def change(self, *, rate: float | None = None, **settings: float) -> None:
        """From the next step on: the learning rate, and fields of the quantizer's config, such as a
        loss's weight.

        Raises ValueError for a value that the config refuses, TypeError for a field it has not.
        """
        if "size" in settings:
            raise ValueError("a codebook keeps its size; start another run for another")
        changed = replace(self.quantizer.config, **settings)
        config = replace(
            self.config, quantizer=changed, rate=self.config.rate if rate is None else rate
        )
        self.config, self.quantizer.config = config, changed
        if self.step:
            for group in self.optimizer.param_groups:
                group["lr"] = config.rate


def built(seed: int, build: Callable[[], T]) -> T:
    """What ``build`` makes with the global draw at ``seed``, which is then put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # only where weights are drawn, and only inside the fork
        return build()


@torch.no_grad()
def begin_alike(quantizer: Quantizer, seed: int) -> None:
    """Put the codes where those of every other quantizer begin: N(0, 1/D), as most do by
    themselves. The lab's quantizers keep theirs in ``codes``, SimVQ in ``frozen``."""
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randn(quantizer.size, quantizer.dim, generator=draw) * quantizer.dim**-0.5
    for name in ("codes", "frozen", "sums"):  # ``sums``: what EMA's codes are averages of
        if hasattr(quantizer, name):
            getattr(quantizer, name).copy_(codes)


def _forget(optimizer: torch.optim.Optimizer, quantizer: nn.Module, codes: Tensor) -> None:
    """Clear what the optimizer remembers of codes that were replaced."""
    remembered = optimizer.state.get(quantizer.codes, {})
    for name in ("exp_avg", "exp_avg_sq"):
        if name in remembered:
            remembered[name][codes] = 0
