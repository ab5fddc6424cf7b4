"""Latent diffusion on the tokenizer's continuous latents (arXiv 2112.10752).

The downstream test of NSVQ (arXiv 2606.11363): a U-Net and a DDPM on the latents before
quantization, which the tokenizer then quantizes and decodes. diffusers' U-Net and noise schedule do
the work, and are imported only when such a prior is built. The steps of DDIM are taken here: for
most numbers of steps diffusers' scheduler goes to other times than those that it asks next.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..conditions import Condition, ConditionConfig, Conditioner
from .base import Choices, Prior, Step, check_grid
from .categorical import normal, uniform


@dataclass(frozen=True)
class LatentConfig:
    """NSVQ's downstream test uses width 256, factors (1, 2, 4), 2 blocks and linear betas."""

    latent_dim: int = 32
    """D, the channels of the tokenizer's latents."""
    grid: tuple[int, int] = (16, 16)
    """Rows and columns of the training pictures' latents."""
    width: int = 64
    """Channels of the U-Net at the finest level; a multiple of 32."""
    factors: tuple[int, ...] = (1, 2, 4)
    """Channels of each level, in widths. Every further level halves the grid."""
    blocks: int = 2
    """Residual blocks a level."""
    head_width: int = 32
    """Channels of an attention head; there is attention at every level."""
    dropout: float = 0.0
    timesteps: int = 1000
    """T of the diffusion."""
    betas: tuple[float, float] = (1e-4, 2e-2)
    """Noise of the first and of the last step, linear between."""
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    """What the network foretells: the noise, or the velocity (arXiv 2202.00512)."""
    conditions: tuple[ConditionConfig, ...] = ()
    """What the prior is told, each kind once. Of a text it gets the vector, not the tokens."""
    drop: float = 0.1
    """Share of the training pictures that lose their conditions, which guidance needs."""

    def __post_init__(self) -> None:
        check_grid(self.grid)
        for name in ("latent_dim", "width", "blocks", "head_width", "timesteps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % 32:
            raise ValueError(
                f"width must be a multiple of 32 (GroupNorm's groups), got {self.width}"
            )
        step = 2 ** (len(self.factors) - 1)
        if not self.factors or any(side % step for side in self.grid):
            raise ValueError(
                f"grid must be divisible by {step}, which {len(self.factors)} levels halve it to, "
                f"got {self.grid}"
            )
        first, last = self.betas
        if not 0 < first <= last < 1:
            raise ValueError(f"betas must rise from above 0 to below 1, got {self.betas}")
        # Sampling begins with noise alone, so that must be where the diffusion ends.
        left = math.exp(
            sum(
                math.log1p(-first - (last - first) * step / max(1, self.timesteps - 1))
                for step in range(self.timesteps)
            )
        )
        if left > 0.01:
            raise ValueError(
                f"betas {self.betas} leave {left:.0%} of the signal's energy after "
                f"{self.timesteps} timesteps; it must be 1 % or less: raise betas or timesteps"
            )
        if self.prediction not in ("epsilon", "v_prediction"):
            raise ValueError(f"prediction must be epsilon or v_prediction, got {self.prediction}")

    @property
    def default_steps(self) -> int:
        """Steps that sampling takes if it is not told: those of NSVQ's downstream test."""
        return 50

    def build(self) -> LatentPrior:
        """The prior, untrained."""
        return LatentPrior(self)


class LatentPrior(Prior):
    """Draws latents (n, D, h, w); the tokenizer's quantizer and decoder make pictures of them."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        from diffusers import DDIMScheduler, UNet2DModel

        self.config = config
        embedding = 4 * config.width * config.factors[0]
        self.conditioner = Conditioner(
            config.conditions, embedding, config.grid, config.drop, memory=False
        )
        cells = config.width if self.conditioner.has_cells else 0
        if cells:
            self.to_cells = nn.Linear(embedding, cells)
        levels = len(config.factors)
        self.unet = UNet2DModel(
            in_channels=config.latent_dim + cells,
            out_channels=config.latent_dim,
            down_block_types=("AttnDownBlock2D",) * levels,
            up_block_types=("AttnUpBlock2D",) * levels,
            block_out_channels=tuple(config.width * factor for factor in config.factors),
            layers_per_block=config.blocks,
            attention_head_dim=config.head_width,
            dropout=config.dropout,
            class_embed_type="identity" if self.conditioner.has_vector else None,
        )
        self.scheduler = DDIMScheduler(
            num_train_timesteps=config.timesteps, beta_start=config.betas[0],
            beta_end=config.betas[1],
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(config.latent_dim))
        self.register_buffer("std", torch.zeros(()))

    @property
    def grid(self) -> tuple[int, int]:
        return tuple(self.config.grid)

    @torch.no_grad()
    def measure(self, latents: Tensor) -> None:
        """Take mean (a channel) and standard deviation (of all) of latents (B, D, h, w), so that
        the diffusion works on values around 0 of size 1. Training does it on its first batch."""
        latents = latents.float()
        self.mean.copy_(latents.mean((0, 2, 3)))
        centred = latents - self.mean[:, None, None]
        self.std.copy_(centred.square().mean().sqrt().clamp(min=1e-6))

    def loss(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """``denoising``: mean squared error of the foretold noise (or velocity), for latents
        float32 (B, D, h, w) in place of ids."""
        latents = ids
        if latents.ndim != 4 or latents.shape[1] != self.config.latent_dim:
            raise ValueError(
                f"latents must be (B, {self.config.latent_dim}, h, w), got {tuple(latents.shape)}"
            )
        self._check_sides(tuple(latents.shape[2:]))
        rows = len(latents)
        self.conditioner.check(condition, rows, surplus=True)
        if not bool(self.std):
            self.measure(latents)
        clean = (latents.float() - self.mean[:, None, None]) / self.std
        last = self.config.timesteps
        at = torch.arange(rows, device=clean.device) + uniform((rows,), generator, clean.device)
        time = (at / rows * last).long().clamp(max=last - 1)
        noise = normal(tuple(clean.shape), generator, clean.device)
        noisy = self.scheduler.add_noise(clean, noise, time)
        vector, cells = self._told(condition, rows, tuple(clean.shape[2:]), generator)
        found = self._network(noisy, time, vector, cells).float()
        target = noise
        if self.config.prediction == "v_prediction":
            target = self.scheduler.get_velocity(clean, noise, time)
        return {"denoising": F.mse_loss(found, target)}

    def _told(self, condition, rows, grid, generator=None, *, guided=False):
        """The vector (B, 4 C) and the cells (B, C, h, w) of a condition, each or None."""
        encoded = self.conditioner.encode(condition, rows, generator, grid=grid, guided=guided)
        cells = encoded.cells
        if cells is not None:
            cells = self.to_cells(cells).transpose(1, 2).unflatten(2, grid)
        return encoded.vector, cells

    def _network(
        self, noisy: Tensor, time: Tensor, vector: Tensor | None, cells: Tensor | None
    ) -> Tensor:
        if cells is not None:
            noisy = torch.cat([noisy, cells.to(noisy.dtype)], 1)
        return self.unet(noisy, time, class_labels=vector).sample

    def _check_sides(self, grid: tuple[int, int]) -> None:
        step = 2 ** (len(self.config.factors) - 1)
        if any(side % step for side in grid):
            raise ValueError(
                f"the sides of a grid of latents must be multiples of {step}, got {grid}"
            )

    def _step_limit(self, grid: tuple[int, int]) -> int:
        self._check_sides(grid)
        return self.config.timesteps

    def _begin(self, condition: Condition | None, choices: Choices) -> Iterator[Step]:
        if not bool(self.std):
            raise ValueError("this latent prior was not trained: it has not measured its latents")
        return super()._begin(condition, choices)

    @torch.no_grad()
    def _sample(self, condition: Condition | None, choices: Choices) -> Iterator[Step]:
        # Codes have a temperature, top-k and top-p; of these a latent has only the first: the size
        # of the noise that it begins with.
        rows, grid = choices.n, choices.grid
        guided = choices.guided and condition is not None
        vector, cells = self._told(condition, rows, grid, guided=guided)
        dtype = next(self.unet.parameters()).dtype
        shape = (rows, self.config.latent_dim, *grid)
        x = normal(shape, choices.generator, self.device) * math.sqrt(choices.temperature)
        last, total = self.config.timesteps, choices.steps
        # Evenly down from the last time, whose latents are noise; before the first there is none.
        times = [last * (total - step) // total - 1 for step in range(total + 1)]
        for step, (now, then) in enumerate(itertools.pairwise(times), 1):
            given = (x.repeat(2, 1, 1, 1) if guided else x).to(dtype)
            time = torch.full((len(given),), now, device=self.device)
            found = self._network(given, time, vector, cells).float()
            if guided:
                conditional, null = found.chunk(2)
                found = torch.lerp(null, conditional, choices.scale((step - 1) / max(1, total - 1)))
            clean, noise = self._parted(found, x, now)
            left = self._left(then)
            x = math.sqrt(left) * clean + math.sqrt(1 - left) * noise  # DDIM, Eq. 12 with no noise
            latents = clean * self.std.float() + self.mean.float()[:, None, None]
            yield Step(latents, step, total)

    def _left(self, time: int) -> float:
        """Share of a clean latent's energy that is left at a time; -1 is before the first."""
        return float(self.scheduler.alphas_cumprod[time]) if time >= 0 else 1.0

    def _parted(self, found: Tensor, x: Tensor, time: int) -> tuple[Tensor, Tensor]:
        """The clean latents and the noise of which ``x`` consists, as the network has them."""
        signal, size = math.sqrt(self._left(time)), math.sqrt(1 - self._left(time))
        if self.config.prediction == "v_prediction":
            return signal * x - size * found, signal * found + size * x
        return (x - size * found) / signal, found
