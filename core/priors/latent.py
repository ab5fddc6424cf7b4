"""Latent diffusion on the tokenizer's continuous latents (arXiv 2112.10752).

It is the downstream test of NSVQ (arXiv 2606.11363): a U-Net and a DDPM on the latents before
quantization, which the tokenizer then quantizes and decodes. The U-Net and the noise schedule are
those of diffusers, which is imported only when such a prior is built. The steps of DDIM are
computed here: for most numbers of steps, diffusers' scheduler steps to other times than those of
its next prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..conditions import Condition, ConditionConfig, Conditioner
from ..distributed import mean_over_processes
from ..host_values import HostCopy
from .base import Prior, build_prior
from .categorical import classifier_free_guidance, normal, spread_uniform
from .options import ResolvedOptions, Step, check_grid


@dataclass(frozen=True)
class LatentConfig:
    """A U-Net and its diffusion.

    NSVQ's downstream test has width 256, factors (1, 2, 4), 2 blocks and linear betas.
    """

    latent_dim: int = 32
    """D, the channels of the tokenizer's latents."""
    grid: tuple[int, int] = (16, 16)
    """Rows and columns of the training pictures' latents."""
    width: int = 64
    """Channels of the U-Net at the finest level; a multiple of 32."""
    factors: tuple[int, ...] = (1, 2, 4)
    """Channels of each level, as a multiple of ``width``. Each level after the first halves the
    grid."""
    blocks: int = 2
    """Residual blocks per level."""
    head_width: int = 32
    """Channels of an attention head; every level has attention."""
    dropout: float = 0.0
    timesteps: int = 1000
    """T of the diffusion."""
    betas: tuple[float, float] = (1e-4, 2e-2)
    """Variance of the noise of the first and the last step; linear between."""
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    """The prediction of the network: the noise, or the velocity (arXiv 2202.00512)."""
    conditions: tuple[ConditionConfig, ...] = ()
    """The conditions of the prior, each kind at most once. Of a text, it uses the vector and not
    the tokens."""
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
                f"grid must be divisible by {step}, because {len(self.factors)} levels halve it "
                f"{len(self.factors) - 1} times, got {self.grid}"
            )
        first, last = self.betas
        if not 0 < first <= last < 1:
            raise ValueError(f"betas must rise from above 0 to below 1, got {self.betas}")
        # Sampling starts with pure noise, so the diffusion must end with it.
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

    def build(self) -> Prior[Any]:
        """Build the prior, untrained."""
        return build_prior(self)


class LatentPrior(Prior[LatentConfig]):
    """A distribution of latents (n, D, h, w), which the tokenizer quantizes and decodes."""

    scheduler: Any
    """diffusers' DDIMScheduler."""
    mean: Tensor
    std: Tensor

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        # diffusers exports lazily, which a type checker takes for private.
        from diffusers import DDIMScheduler, UNet2DModel  # pyright: ignore[reportPrivateImportUsage]

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
        first, last = config.betas
        self.scheduler = DDIMScheduler(
            num_train_timesteps=config.timesteps, beta_start=first, beta_end=last
        )
        self.register_buffer("mean", torch.zeros(config.latent_dim))
        self.register_buffer("std", torch.zeros(()))
        self._scale = HostCopy()
        self._signal: list[float] | None = None

    @torch.no_grad()
    def measure(self, latents: Tensor) -> None:
        """Set the mean per channel and the common standard deviation from latents (B, D, h, w) of
        all processes.

        The diffusion is of latents scaled to mean 0 and standard deviation 1. Training calls it
        with its first batch.
        """
        latents = latents.float()
        self.mean.copy_(mean_over_processes(latents.mean((0, 2, 3))))
        centered = latents - self.mean[:, None, None]
        variance = mean_over_processes(centered.square().mean())
        self.std.copy_(variance.sqrt().clamp(min=1e-6))

    def check_training_batch(self, ids: Tensor, condition: Condition | None) -> None:
        if ids.ndim != 4 or ids.shape[1] != self.config.latent_dim:
            raise ValueError(
                f"latents must be (B, {self.config.latent_dim}, h, w), got {tuple(ids.shape)}"
            )
        self._check_sides((ids.shape[2], ids.shape[3]))
        self.conditioner.check(condition, len(ids), allow_unused=True)

    def forward(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return ``denoising``, the mean squared error of the predicted noise or velocity.

        ``ids`` are latents float32 (B, D, h, w).
        """
        latents = ids
        rows, _, height, width = latents.shape
        if not self._scale(self.std):
            self.measure(latents)
        clean = (latents.float() - self.mean[:, None, None]) / self.std
        last = self.config.timesteps
        at = spread_uniform(rows, generator, clean.device)
        time = (at * last).long().clamp(max=last - 1)
        noise = normal(tuple(clean.shape), generator, clean.device)
        noisy = self.scheduler.add_noise(clean, noise, time)
        vector, cells = self._encode(condition, rows, (height, width), generator)
        prediction = self._network(noisy, time, vector, cells).float()
        target = noise
        if self.config.prediction == "v_prediction":
            target = self.scheduler.get_velocity(clean, noise, time)
        return {"denoising": F.mse_loss(prediction, target)}

    def _encode(
        self,
        condition: Condition | None,
        rows: int,
        grid: tuple[int, int],
        generator: torch.Generator | None = None,
        *,
        guided: bool = False,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the vector (B, 4 C) and the cells (B, C, h, w) of a condition; None if unused."""
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
                f"both sides of the grid of latents must be multiples of {step}, got {grid}"
            )

    def _step_limit(self, grid: tuple[int, int]) -> int:
        self._check_sides(grid)
        return self.config.timesteps

    def sample(
        self, condition: Condition | None = None, n: int = 1, **options: Any
    ) -> Iterator[Step]:
        """Draw latents as ``Prior.sample`` draws ids: ``Step.ids`` is float32 (n, D, h, w).

        Raises ValueError for an untrained prior, too.
        """
        if not self._scale(self.std):
            raise ValueError("this latent prior is not trained: the scale of its latents is unset")
        return super().sample(condition, n, **options)

    def _shares(self) -> list[float]:
        """Return the share of the clean latents' variance at each time, read once."""
        found = self._signal
        if found is None:
            found = self._signal = list(map(float, self.scheduler.alphas_cumprod.tolist()))
        return found

    @torch.no_grad()
    def _sample(self, condition: Condition | None, options: ResolvedOptions) -> Iterator[Step]:
        guided = options.guided and condition is not None
        vector, cells = self._encode(condition, options.n, options.grid, guided=guided)
        dtype = next(self.unet.parameters()).dtype

        def predict(x: Tensor, time: Tensor) -> Tensor:
            return self._network(x.to(dtype), time, vector, cells).float()

        shape = (options.n, self.config.latent_dim, *options.grid)
        start = normal(shape, options.generator, self.device)
        steps = sample_ddim(
            predict,
            start,
            options,
            self._shares(),
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
    options: ResolvedOptions,
    signal: Sequence[float] | Tensor,
    *,
    guided: bool,
    velocity: bool,
) -> Iterator[Step]:
    """Draw clean latents from noise by DDIM (arXiv 2010.02502, Eq. 12, with sigma = 0).

    Each step yields the network's prediction of the clean latents. Of the options for codes, only
    the temperature is used: it scales the variance of the noise at the start.

    Args:
        predict: a function from latents (B, D, h, w) at times int64 (B,) to the noise or the
            velocity (arXiv 2202.00512). If the sampling is ``guided``, B is 2 n, and the second
            half is without condition.
        start: noise (n, D, h, w) of the standard normal distribution.
        signal: share (T,) of the clean latents' variance that is left at each time.
        velocity: True if ``predict`` returns the velocity.
    """
    x = start * math.sqrt(options.temperature)
    last, total = len(signal), options.steps
    # Evenly from the last time, whose latents are noise, to -1, where they are clean.
    times = [last * (total - step) // total - 1 for step in range(total + 1)]
    for step, (now, then) in enumerate(pairwise(times), 1):
        given = x.repeat(2, 1, 1, 1) if guided else x
        prediction = predict(given, torch.full((len(given),), now, device=x.device))
        if guided:
            scale = options.guidance_at((step - 1) / max(1, total - 1))
            prediction = classifier_free_guidance(prediction, scale)
        share = float(signal[now])
        a, b = math.sqrt(share), math.sqrt(1 - share)
        if velocity:
            clean, noise = a * x - b * prediction, a * prediction + b * x
        else:
            clean, noise = (x - b * prediction) / a, prediction
        left = float(signal[then]) if then >= 0 else 1.0
        x = math.sqrt(left) * clean + math.sqrt(1 - left) * noise
        yield Step(clean, step, total)
