"""Latent diffusion on the tokenizer's continuous latents (arXiv 2112.10752).

The downstream test of NSVQ (arXiv 2606.11363): a U-Net and a DDPM on the latents before
quantization, which the tokenizer then quantizes and decodes. diffusers' U-Net and noise schedule do
the work, and are imported only when such a prior is built. The steps of DDIM are taken here: for
most numbers of steps diffusers' scheduler goes to other times than those that it asks next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..conditions import Condition, ConditionConfig, Conditioner
from .base import Prior, SamplingOptions, Step, build_prior, check_grid
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
        """The default number of sampling steps: that of NSVQ's downstream test."""
        return 50

    def build(self) -> Prior:
        """Build the prior, untrained."""
        return build_prior(self)


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
        self.conditioner.check(condition, rows, allow_unused=True)
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

    def sample(
        self, condition: Condition | None = None, n: int = 1, **options: Any
    ) -> Iterator[Step]:
        """As ``Prior.sample``; the ids of its steps are latents float32 (n, D, h, w)."""
        if not bool(self.std):
            raise ValueError("this latent prior was not trained: it has not measured its latents")
        return super().sample(condition, n, **options)

    @torch.no_grad()
    def _sample(self, condition: Condition | None, options: SamplingOptions) -> Iterator[Step]:
        guided = options.guided and condition is not None
        vector, cells = self._told(condition, options.n, options.grid, guided=guided)
        dtype = next(self.unet.parameters()).dtype

        def predict(x: Tensor, time: Tensor) -> Tensor:
            return self._network(x.to(dtype), time, vector, cells).float()

        shape = (options.n, self.config.latent_dim, *options.grid)
        start = normal(shape, options.generator, self.device)
        steps = sample_ddim(
            predict,
            start,
            options,
            self.scheduler.alphas_cumprod,
            guided=guided,
            velocity=self.config.prediction == "v_prediction",
        )
        for step in steps:
            latents = step.ids * self.std.float() + self.mean.float()[:, None, None]
            yield step._replace(ids=latents)


@torch.no_grad()
def sample_ddim(
    predict: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    options: SamplingOptions,
    signal: Tensor,
    *,
    guided: bool,
    velocity: bool,
) -> Iterator[Step]:
    """Go back from noise to clean latents by DDIM (arXiv 2010.02502, Eq. 12, without new noise).

    Each step holds the clean latents as the network predicts them. Of the options for codes, a
    latent prior uses the temperature alone: it scales the variance of the noise at the start.

    Args:
        predict: from latents (B, D, h, w) at times int64 (B,) to the noise, or the velocity (arXiv
            2202.00512); where the sampling is ``guided``, B is 2 n and the second half is without
            condition.
        start: noise (n, D, h, w) of the standard normal distribution.
        signal: share (T,) of a clean latent's energy that is left at each time.
    """
    assert options.steps is not None
    x = start * math.sqrt(options.temperature)
    last, total = len(signal), options.steps
    # Evenly down from the last time, whose latents are noise, to -1, where all energy is signal.
    times = [last * (total - step) // total - 1 for step in range(total + 1)]
    for step, (now, then) in enumerate(pairwise(times), 1):
        given = x.repeat(2, 1, 1, 1) if guided else x
        found = predict(given, torch.full((len(given),), now, device=x.device))
        if guided:
            scale = options.guidance_at((step - 1) / max(1, total - 1))
            conditional, null = found.chunk(2)
            found = torch.lerp(null, conditional, scale)
        energy = float(signal[now])
        a, b = math.sqrt(energy), math.sqrt(1 - energy)
        if velocity:
            clean, noise = a * x - b * found, a * found + b * x
        else:
            clean, noise = (x - b * found) / a, found
        left = float(signal[then]) if then >= 0 else 1.0
        x = math.sqrt(left) * clean + math.sqrt(1 - left) * noise
        yield Step(clean, step, total)
