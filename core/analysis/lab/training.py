"""Small trainings that can be watched, paused and changed while they run.

All trainings of the collapse lab, on points of a plane (``points``) or on small pictures
(``pictures``), use one loop: this project's quantizers unchanged, their own losses, AdamW. Runs
side by side differ only in the quantizer: they start with the same networks and see the same data
in the same order.
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
    BSQConfig,
    DiVeQConfig,
    FSPConfig,
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
    """Return the quantizers that the lab compares, by their names there.

    BSQ and FSP have as many codes as bits and levels allow, ``size`` at most.
    """
    return {
        "VQ": VQConfig(size=size),
        "EMA": VQConfig(size=size, codebook="ema", decay=0.9),
        "Gumbel": GumbelConfig(size=size),
        "Reg-VQ": RegVQConfig(size=size, prior_weight=0.1),
        "Reg-VQ without prior": RegVQConfig(size=size, prior_weight=0.0),
        "Reg-VQ without mask": RegVQConfig(size=size, prior_weight=0.1, mask_ratio=0.0),
        "SimVQ": SimVQConfig(size=size),
        # The paper has 128 components, the lab two: a proportional temperature; a short epoch.
        "NSVQ": NSVQConfig(size=size, tau=0.05, epoch=50, replacement_warmup=1),
        "BSQ": BSQConfig(size=1 << (size.bit_length() - 1)),
        "DiVeQ": DiVeQConfig(size=size),
        "FSP": FSPConfig(levels=even_levels(size, 2)),
    }


def even_levels(size: int, count: int) -> tuple[int, ...]:
    """Return ``count`` similar numbers of levels, 2 or more each, whose product is ``size`` at
    most. ``size`` is at least 2 to the ``count``."""
    levels = []
    for left in range(count, 0, -1):
        levels.append(int(size ** (1 / left) + 1e-9))
        size //= levels[-1]
    return tuple(levels)


class InteractiveRun(ABC):
    """A run that can be watched, paused, and changed while it is running.

    ``config`` is a frozen dataclass with the fields ``quantizer``, ``rate`` and ``seed``.
    """

    def __init__(self, config: Any, quantizer: Quantizer, networks: list[nn.Module]) -> None:
        self.config = config
        self.quantizer = quantizer
        self.step = 0
        # Two generators, so that the draws of a quantizer do not change the data it gets.
        self.data_draw = torch.Generator().manual_seed(config.seed + 1)
        self.draw = torch.Generator().manual_seed(config.seed + 3)
        self.parts = [*networks, quantizer]

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, created at the first step.

        With its first optimizer torch imports its compiler, which takes seconds, and a run is
        displayed before it is trained.
        """
        weights = [
            weight for part in self.parts for weight in part.parameters() if weight.requires_grad
        ]
        return torch.optim.AdamW(weights, lr=self.config.rate, weight_decay=0.0)

    @abstractmethod
    def forward(self) -> tuple[Tensor, Tensor, Quantized]:
        """Process one batch.

        Returns the error of its reconstruction (a scalar), its latents (B, D, h, w), and the output
        of the quantizer.
        """

    def train(self, horizon: int = 1000) -> None:
        """Train for one step. ``horizon``: the number of steps over which temperatures decrease."""
        self.quantizer.train()
        self.quantizer.schedule(min(1.0, self.step / horizon))
        error, latents, found = self.forward()
        loss = error + sum(found.losses.values())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        moved = self.quantizer.update(latents.detach(), found.ids)
        if moved is not None:
            _reset_state(self.optimizer, self.quantizer, moved)
        self.step += 1

    def change(self, *, rate: float | None = None, **settings: float) -> None:
        """Change the learning rate and fields of the quantizer's config from the next step on.

        Fields are for example the weights of losses. Raises ValueError for a value that the config
        refuses, TypeError for a field it does not have.
        """
        if "size" in settings:
            raise ValueError("a codebook keeps its size; start another run for another size")
        quantizer: Any = self.quantizer
        changed = replace(quantizer.config, **settings)
        config = replace(
            self.config, quantizer=changed, rate=self.config.rate if rate is None else rate
        )
        self.config, quantizer.config = config, changed
        if self.step:
            for group in self.optimizer.param_groups:
                group["lr"] = config.rate


def built(seed: int, build: Callable[[], T]) -> T:
    """Return the result of ``build`` with the global generator at ``seed``, and restore it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # only for initial weights, and only inside the fork
        return build()


@torch.no_grad()
def set_initial_codes(quantizer: Quantizer, seed: int) -> None:
    """Set the codes to the initial ones of all quantizers: N(0, 1/D), the default of most of them.

    The lab's quantizers store theirs in ``codes``, SimVQ in ``frozen``; BSQ and FSP have none.
    """
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randn(quantizer.size, quantizer.dim, generator=draw) * quantizer.dim**-0.5
    for name in ("codes", "frozen", "sums"):  # ``sums``: the sums that EMA averages
        if hasattr(quantizer, name):
            getattr(quantizer, name).copy_(codes)


def _reset_state(optimizer: torch.optim.Optimizer, quantizer: Any, replaced: Tensor) -> None:
    """Clear the optimizer's state of codes that were replaced."""
    state = optimizer.state.get(quantizer.codes, {})
    for name in ("exp_avg", "exp_avg_sq"):
        if name in state:
            state[name][replaced] = 0
