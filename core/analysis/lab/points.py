"""Codebook collapse, live: the project's quantizers on points of a plane.

A tiny tokenizer whose pictures are points: an encoder that moves them, a quantizer of this project
unchanged, a decoder that moves them back, with the loop and the losses of training. The set-up
(data, sizes, learning rate) is our choice; it shows that a codebook trained by gradients loses
codes that start far from the latents, and which rules keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...metrics.codebook_usage import usage_of
from ...quantizers import Quantized, QuantizerConfig
from .training import InteractiveRun, built

__all__ = ["DATA", "Frame", "LabConfig", "PointsRun"]


@dataclass(frozen=True)
class LabConfig:
    """One run of the lab."""

    quantizer: QuantizerConfig
    data: str = "moons"
    """Name of the points: one of DATA."""
    batch: int = 256
    rate: float = 3e-3
    """Learning rate of AdamW (our choice)."""
    width: int = 48
    """Hidden units of the encoder and of the decoder."""
    offset: float = 1.5
    """Initial distance of the latents from the center of the codes: in a tokenizer the initial
    codes are not where an untrained encoder puts its latents either (our choice)."""
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
    """The state of a run after some steps."""

    step: int
    latents: np.ndarray
    """float32 (N, 2): the latents of the N watched points."""
    codes: np.ndarray
    """float32 (K, 2)"""
    ids: np.ndarray
    """int64 (N,): the code of each point."""
    used: float
    """Share of codes that at least one watched point uses."""
    perplexity: float
    loss: float
    """Mean squared error of the watched points after decoding."""


def moons(count: int, draw: torch.Generator) -> Tensor:
    """Return points on two interlocking half circles, (count, 2)."""
    angle = torch.rand(count, generator=draw) * torch.pi
    side = torch.randint(2, (count,), generator=draw)
    x = torch.where(side == 0, angle.cos(), 1 - angle.cos()) - 0.5
    y = torch.where(side == 0, angle.sin(), 0.5 - angle.sin()) - 0.25
    return torch.stack([x, y], 1) + 0.07 * torch.randn(count, 2, generator=draw)


def clusters(count: int, draw: torch.Generator) -> Tensor:
    """Return points in eight clusters on a circle, some of them rare, (count, 2)."""
    weights = torch.tensor([8.0, 1, 4, 1, 8, 2, 4, 1])
    at = torch.multinomial(weights, count, replacement=True, generator=draw) * torch.pi / 4
    centers = torch.stack([at.cos(), at.sin()], 1)
    return centers + 0.1 * torch.randn(count, 2, generator=draw)


def spiral(count: int, draw: torch.Generator) -> Tensor:
    """Return points on one spiral arm, denser at its center, (count, 2)."""
    along = torch.rand(count, generator=draw)
    angle = 1.5 + 8 * along
    centers = (along * 1.3)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return centers + 0.05 * torch.randn(count, 2, generator=draw)


DATA: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "moons": moons,
    "clusters": clusters,
    "spiral": spiral,
}


class PointsRun(InteractiveRun):
    """A run on points of a plane.

    Codes start where their quantizer puts them: in a plane a codebook trained by gradients
    collapses because it starts as a small cluster.
    """

    config: LabConfig

    def __init__(self, config: LabConfig, watched: int = 768) -> None:
        seed = config.seed
        # Quantizers draw different amounts of numbers, so the decoder has its own seed.
        self.encoder, quantizer = built(
            seed, lambda: (_mover(config.width), config.quantizer.build(2))
        )
        self.decoder = built(seed + 1, lambda: _mover(config.width))
        last = self.encoder[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias.add_(config.offset / 2**0.5)
        self.points = DATA[config.data](watched, torch.Generator().manual_seed(seed + 2))
        super().__init__(config, quantizer, [self.encoder, self.decoder])

    def advance(self, steps: int, horizon: int = 1000) -> Frame:
        """Train for some steps and return the frame after them.

        ``horizon``: the number of steps over which temperatures decrease.
        """
        for _ in range(steps):
            self.train(horizon)
        return self.look()

    def frames(self, steps: int, every: int) -> Iterator[Frame]:
        """Yield the initial frame, and then one after every ``every`` steps, up to ``steps``."""
        yield self.look()
        while self.step < steps:
            yield self.advance(min(every, steps - self.step), steps)

    def forward(self) -> tuple[Tensor, Tensor, Quantized]:
        points = DATA[self.config.data](self.config.batch, self.data_draw)
        latents = _as_grid(self.encoder(points))
        found = self.quantizer(latents, generator=self.draw)
        return F.mse_loss(self.decoder(_as_rows(found.z)), points), latents, found

    @torch.no_grad()
    def look(self) -> Frame:
        """Return the frame of the watched points in the current state, by argmax."""
        self.quantizer.eval()
        latents = self.encoder(self.points)
        ids = self.quantizer.assign_rows(latents)
        codes = self.quantizer.codebook()
        error = F.mse_loss(self.decoder(codes[ids]), self.points)
        usage = usage_of(torch.bincount(ids, minlength=self.quantizer.size))
        return Frame(
            self.step,
            latents.numpy().copy(),
            codes.numpy().copy(),
            ids.numpy(),
            usage.utilization,
            usage.perplexity,
            float(error),
        )


def _mover(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
    )


def _as_grid(rows: Tensor) -> Tensor:
    """Return points (N, 2) as the latents (1, 2, N, 1) of one long picture."""
    return rows.T.reshape(1, 2, -1, 1)


def _as_rows(grid: Tensor) -> Tensor:
    return grid.reshape(2, -1).T
