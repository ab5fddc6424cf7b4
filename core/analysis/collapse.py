"""Codebook collapse, seen happening: the project's quantizers on points of a plane.

A tiny tokenizer whose pictures are points: an encoder that moves them, a quantizer of this project
unchanged, a decoder that moves them back, and the same loop and the same losses as in training. The
set-up (data, sizes, learning rate) is ours; what it shows is that a gradient codebook loses codes
when they start away from the latents, and which rules keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.quantizers import (
    GumbelConfig,
    NSVQConfig,
    QuantizerConfig,
    RegVQConfig,
    SimVQConfig,
    VQConfig,
)


@dataclass(frozen=True)
class LabConfig:
    """One run of the lab."""

    quantizer: QuantizerConfig
    data: str = "moons"
    """Which points: one of DATA."""
    batch: int = 256
    rate: float = 3e-3
    """Learning rate of AdamW (our choice)."""
    width: int = 48
    """Hidden units of the encoder and of the decoder."""
    apart: float = 1.5
    """How far from the middle of the codes the latents begin: in a tokenizer nobody puts the codes
    where an untrained encoder happens to look, and this is what starts a collapse."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.data not in DATA:
            raise ValueError(f"data must be one of {', '.join(DATA)}, got {self.data!r}")
        for name in ("batch", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, got {self.rate}")


class Frame(NamedTuple):
    """What there is to see after some steps."""

    step: int
    latents: np.ndarray
    """float32 (N, 2): where the encoder puts the N points that are watched."""
    codes: np.ndarray
    """float32 (K, 2)"""
    ids: np.ndarray
    """int64 (N,): the code of each."""
    used: float
    """Share of codes that any of the watched points takes."""
    perplexity: float
    loss: float
    """Mean squared error of the watched points after decoding."""


def moons(count: int, draw: torch.Generator) -> Tensor:
    """Two half circles that reach into each other, (count, 2)."""
    angle = torch.rand(count, generator=draw) * torch.pi
    side = torch.randint(2, (count,), generator=draw)
    x = torch.where(side == 0, angle.cos(), 1 - angle.cos()) - 0.5
    y = torch.where(side == 0, angle.sin(), 0.5 - angle.sin()) - 0.25
    return torch.stack([x, y], 1) + 0.07 * torch.randn(count, 2, generator=draw)


def clusters(count: int, draw: torch.Generator) -> Tensor:
    """Eight clusters on a circle, some of them rare, (count, 2)."""
    weights = torch.tensor([8.0, 1, 4, 1, 8, 2, 4, 1])
    at = torch.multinomial(weights, count, replacement=True, generator=draw) * torch.pi / 4
    centres = torch.stack([at.cos(), at.sin()], 1)
    return centres + 0.1 * torch.randn(count, 2, generator=draw)


def spiral(count: int, draw: torch.Generator) -> Tensor:
    """One arm, denser at its middle, (count, 2)."""
    along = torch.rand(count, generator=draw)
    angle = 1.5 + 8 * along
    centres = (along * 1.3)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return centres + 0.05 * torch.randn(count, 2, generator=draw)


DATA: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "moons": moons,
    "clusters": clusters,
    "spiral": spiral,
}


def contestants(size: int = 64) -> dict[str, QuantizerConfig]:
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


class Run:
    """A run that can be watched, paused, and changed while it goes on."""

    def __init__(self, config: LabConfig, watched: int = 768) -> None:
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)  # only where weights are drawn, and only inside the fork
            self.encoder = _mover(config.width)
            self.quantizer = config.quantizer.build(2)
            self.decoder = _mover(config.width)
        with torch.no_grad():
            self.encoder[-1].bias += config.apart / 2**0.5
        self.draw = torch.Generator().manual_seed(config.seed + 1)
        self.points = DATA[config.data](watched, torch.Generator().manual_seed(config.seed + 2))
        self.step = 0
        parts = [self.encoder, self.quantizer, self.decoder]
        weights = [weight for part in parts for weight in part.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=config.rate, weight_decay=0.0)

    def change(self, **settings: float) -> None:
        """Set fields of the quantizer's config from the next step on, such as a loss's weight.

        Raises ValueError for a value that the config refuses, TypeError for a field it has not.
        """
        if "size" in settings:
            raise ValueError("a codebook keeps its size; start another run for another")
        self.quantizer.config = replace(self.quantizer.config, **settings)
        self.config = replace(self.config, quantizer=self.quantizer.config)

    def advance(self, steps: int, horizon: int = 1000) -> Frame:
        """Train for some steps and look. ``horizon``: the steps that temperatures fall over."""
        for _ in range(steps):
            self.train(horizon)
        return self.look()

    def frames(self, steps: int, every: int) -> Iterator[Frame]:
        """The start, and then a frame after every so many steps, up to ``steps``."""
        yield self.look()
        while self.step < steps:
            yield self.advance(min(every, steps - self.step), steps)

    def train(self, horizon: int = 1000) -> None:
        """One step; see ``advance``."""
        progress = min(1.0, self.step / horizon)
        points = DATA[self.config.data](self.config.batch, self.draw)
        self.quantizer.train()
        self.quantizer.schedule(progress)
        latents = _as_grid(self.encoder(points))
        found = self.quantizer(latents, generator=self.draw)
        loss = F.mse_loss(self.decoder(_as_rows(found.z)), points) + sum(found.losses.values())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        moved = self.quantizer.update(latents.detach(), found.ids)
        if moved is not None:
            _forget(self.optimizer, self.quantizer, moved)
        self.step += 1

    @torch.no_grad()
    def look(self) -> Frame:
        """The points that are watched, as the run now has them; argmax."""
        self.quantizer.eval()
        latents = self.encoder(self.points)
        ids = self.quantizer.assign_rows(latents)
        codes = self.quantizer.codebook()
        error = F.mse_loss(self.decoder(codes[ids]), self.points)
        counts = torch.bincount(ids, minlength=self.quantizer.size).double()
        share = counts[counts > 0] / counts.sum()
        return Frame(
            self.step,
            latents.numpy().copy(),
            codes.numpy().copy(),
            ids.numpy(),
            float((counts > 0).double().mean()),
            float((-(share * share.log()).sum()).exp()),
            float(error),
        )


def _mover(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
    )


def _as_grid(rows: Tensor) -> Tensor:
    """Points (N, 2) as the latents (1, 2, N, 1) of one long picture."""
    return rows.T.reshape(1, 2, -1, 1)


def _as_rows(grid: Tensor) -> Tensor:
    return grid.reshape(2, -1).T


def _forget(optimizer: torch.optim.Optimizer, quantizer: nn.Module, codes: Tensor) -> None:
    """Clear what the optimizer remembers of codes that were replaced."""
    remembered = optimizer.state.get(quantizer.codes, {})
    for name in ("exp_avg", "exp_avg_sq"):
        if name in remembered:
            remembered[name][codes] = 0
