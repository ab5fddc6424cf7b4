"""Discrete diffusion prior: VQ-Diffusion (arXiv 2111.14822) over token ids."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..conditions import Condition
from .base import SamplingOptions, Step
from .categorical import classifier_free_guidance, uniform
from .mask_and_replace import MaskAndReplace
from .network import Context
from .token_prior import TokenPrior, TokenPriorConfig, check_patch

_SEEN_OFTEN = 10  # VQ-Diffusion's: timesteps are weighed once each was seen more often than this


@dataclass(frozen=True)
class DiffusionConfig(TokenPriorConfig):
    """VQ-Diffusion's process and losses, with the schedule of its released models."""

    timesteps: int = 100
    """T."""
    patch: int = 1
    """Side of the squares of tokens that share a position of the transformer: with 2 it is about
    four times as cheap. Ours; the paper has 1."""
    alpha: tuple[float, float] = (0.99999, 0.000009)
    """Probability that a token still has its code at time 1 and at time T; linear between."""
    gamma: tuple[float, float] = (0.000009, 0.99999)
    """Probability that it is masked, likewise. What alpha and gamma leave is replaced by any
    code: here next to nothing."""
    stay: float = 0.0
    """Added to the logit of the code that a token has now. The process replaces next to no codes,
    so that most tokens which are not masked are as they were, and a network has to learn to say so
    to within a millionth; with about 20 it is told. 0 is the paper's; telling it is ours, after
    what MDLM (arXiv 2406.07524) does where no code is ever replaced."""
    focus: float = 0.0
    """How much more the noisy end counts in training: the loss of time t is multiplied by
    (1 + focus (t/T)^3) / (1 + focus / 4). What a picture is to show is decided while next to
    nothing of it is there, of which the bound makes little; with 4 the last fifth of the times has
    two fifths of the weight, as in MaskGIT. 0 is the paper's, the bound itself; ``bits`` always
    is."""
    auxiliary: float = 5e-4
    """Weight of the auxiliary loss on p(x_0 | x_t); VQ-Diffusion's (1e-3 on ImageNet)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_patch(self.patch)
        if not 1 <= self.timesteps <= 10_000:
            raise ValueError(f"timesteps must be from 1 to 10,000, got {self.timesteps}")
        for name in ("stay", "focus", "auxiliary"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be 0 or more, got {value}")

    @property
    def default_steps(self) -> int:
        """The default number of sampling steps: all T."""
        return self.timesteps


class DiffusionPrior(TokenPrior):
    """Learns p(x_0 | x_t) and goes back from noise to ids in any number of steps up to T."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config, config.network(causal=False, timed=True, patch=config.patch))
        self.process = MaskAndReplace(
            config.codebook_size, config.timesteps, config.alpha, config.gamma
        )
        # Mean squared loss and number of draws of each timestep, for the importance sampling.
        self.register_buffer("squares", torch.zeros(config.timesteps))
        self.register_buffer("draws", torch.zeros(config.timesteps, dtype=torch.int64))

    def _loss(
        self, ids: Tensor, condition: Condition | None, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """``variational``: nats a token, an unbiased estimate of the bound (with ``focus``, of the
        bound so weighted) but for a constant; ``auxiliary``: weighted -log p(x_0 | x_t); ``bits``:
        the bound in bits a token.

        Timesteps are drawn in proportion to the root mean square of their losses in training,
        evenly over the batch in eval mode.
        """
        clean = ids.flatten(1)
        time, chance = self._times(len(ids), generator, ids.device)
        now = self.process.corrupt(clean, time, generator)
        context = self.network.context(condition, len(ids), generator, grid=tuple(ids.shape[1:]))
        logits = self._logits(now, context, time)
        with torch.autocast(ids.device.type, enabled=False):
            log_p = logits.float().log_softmax(2)
            kl = self.process.divergence(log_p, clean, now, time - 1, time).mean(1)
            nll = -log_p.gather(2, clean[..., None])[..., 0].mean(1)
        if self.training:
            self._remember(time, kl.detach())
        weight = 2 - (time - 1) / self.config.timesteps
        bound = (kl.detach() / chance).mean()
        bits = (bound + self.process.prior_divergence()) / math.log(2)
        focus = self.config.focus
        counts = (1 + focus * (time / self.config.timesteps) ** 3) / (1 + focus / 4) / chance
        return {
            "variational": (counts * kl).mean(),
            "auxiliary": self.config.auxiliary * (weight * counts * nll).mean(),
            "bits": bits,
        }

    def _logits(self, now: Tensor, context: Context, time: Tensor) -> Tensor:
        """Logits (B, N, K) of x_0, given x_t = ``now`` int64 (B, N) at times int64 (B,)."""
        logits = self.network(now, context, time=time / self.config.timesteps)
        if not self.config.stay:
            return logits
        masked = (now == self.codebook_size)[..., None]
        code = now[..., None].masked_fill(masked, 0)
        told = (~masked).to(logits.dtype) * self.config.stay
        return logits.scatter_add(2, code, told)

    def _times(
        self, rows: int, generator: torch.Generator | None, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Timesteps 1 to T int64 (rows,) and the probability with which each was drawn."""
        last = self.config.timesteps
        chance = torch.full((last,), 1 / last, device=device)
        if self.training and bool((self.draws > _SEEN_OFTEN).all()):
            # VQ-Diffusion: in proportion to the root of the mean square, the first step's being
            # that of the second, since it is a likelihood and no divergence.
            root = self.squares.float().sqrt() + 1e-10
            root = torch.cat([root[1:2], root[1:]]) if last > 1 else root
            chance = root / root.sum()
        # One draw a row, spread evenly over the batch: less noise at the same mean.
        at = torch.arange(rows, device=device) + uniform((rows,), generator, device)
        bounds = chance.cumsum(0)
        index = torch.searchsorted(bounds, at / rows * bounds[-1], right=True).clamp(max=last - 1)
        return index + 1, chance[index]

    @torch.no_grad()
    def _remember(self, time: Tensor, kl: Tensor) -> None:
        index = time - 1
        # Of a timestep that was drawn more than once, the mean.
        count = torch.bincount(index, minlength=len(self.draws))
        total = torch.zeros_like(self.squares).index_add_(0, index, kl.square().to(self.squares))
        mean = total / count.clamp(min=1)
        self.squares.copy_(torch.where(count > 0, 0.9 * self.squares + 0.1 * mean, self.squares))
        self.draws.add_(count)

    def _step_limit(self, grid: tuple[int, int]) -> int:
        return self.config.timesteps

    @torch.no_grad()
    def _sample(self, condition: Condition | None, options: SamplingOptions) -> Iterator[Step]:
        guided = options.guided and condition is not None
        context = self.network.context(condition, options.n, grid=options.grid, guided=guided)

        def predict(now: Tensor, time: Tensor) -> Tensor:
            return self._logits(now, context, time)

        yield from sample_diffusion(predict, self.process, options, self.device, guided=guided)


@torch.no_grad()
def sample_diffusion(
    predict: Callable[[Tensor, Tensor], Tensor],
    process: MaskAndReplace,
    options: SamplingOptions,
    device: torch.device,
    *,
    guided: bool,
) -> Iterator[Step]:
    """Go back from noise to ids through evenly spaced times of a mask-and-replace process.

    ``predict`` maps ids int64 (B, N) at times int64 (B,) to logits (B, N, K) of the clean ids;
    where the sampling is ``guided``, B is 2 n and the second half is without condition. ``options``
    are resolved (``Prior.sample``); ids are on ``device``.
    """
    assert options.grid is not None and options.steps is not None
    rows, (height, width) = options.n, options.grid
    copies = 2 if guided else 1
    last, steps = process.timesteps, options.steps
    times = [round(last * (1 - step / steps)) for step in range(steps + 1)]
    now = process.noise((rows, height * width), options.generator, device)
    known = None if options.known is None else options.known.reshape(rows, -1)
    for step, (end, begin) in enumerate(pairwise(times), 1):
        if known is not None:
            now = torch.where(known >= 0, known, now)
        time = torch.full((copies * rows,), end, device=device)
        logits = predict(now.repeat(copies, 1), time)
        if guided:
            scale = options.guidance_at((step - 1) / max(1, steps - 1))
            logits = classifier_free_guidance(logits, scale)
        now = process.step_back(
            logits,
            now,
            begin,
            end,
            options.generator,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
        )
        shown = now if known is None else torch.where(known >= 0, known, now)
        shown = shown.masked_fill(shown == process.codes, -1)
        yield Step(shown.view(rows, height, width), step, steps)
