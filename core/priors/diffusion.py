"""Discrete diffusion prior: VQ-Diffusion (arXiv 2111.14822) over token ids."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..conditions import Condition
from ..distributed import sum_over_processes
from ..host_values import count_values
from .categorical import FiniteLogits, classifier_free_guidance, spread_uniform
from .mask_and_replace import MaskAndReplace
from .network import Context
from .options import ResolvedOptions, Step
from .token_prior import TokenPrior, TokenPriorConfig, check_patch

_MIN_DRAWS = 10  # of each timestep before the importance sampling starts; as in VQ-Diffusion


@dataclass(frozen=True)
class DiffusionConfig(TokenPriorConfig):
    """VQ-Diffusion's process and losses, with the schedule of its released models."""

    timesteps: int = 100
    """T."""
    patch: int = 1
    """Side of the patches of tokens that share a position of the transformer; 2 makes it about four
    times as cheap. Our addition: the paper has 1."""
    alpha: tuple[float, float] = (0.99999, 0.000009)
    """Probability that a token still has its code at time 1 and at time T; linear between."""
    gamma: tuple[float, float] = (0.000009, 0.99999)
    """Probability that a token is masked at time 1 and at time T; linear between. The rest of the
    tokens, here nearly none, are replaced by any code."""
    stay: float = 0.0
    """Constant that is added to the logit of a token's present code. The process replaces nearly no
    codes, so that almost all tokens which are not masked still have their code; the network would
    have to learn this to within a millionth, and a constant of about 20 states it. Our addition,
    after MDLM (arXiv 2406.07524), where codes are never replaced: the paper has 0."""
    focus: float = 0.0
    """Extra weight of the noisy end in training: the loss of time t is multiplied by
    (1 + focus (t/T)^3) / (1 + focus / 4). The content of a picture is decided while nearly all
    tokens are masked, which has little weight in the bound; with 4, the last fifth of the times has
    two fifths of the weight, as in MaskGIT. Our addition: the paper has 0, the bound itself, and
    ``bits`` is always the bound."""
    auxiliary: float = 5e-4
    """Weight of the auxiliary loss on p(x_0 | x_t), as in VQ-Diffusion (1e-3 on ImageNet)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels > 1:
            raise ValueError(
                "a discrete diffusion prior draws one id per position, but the tokenizer has "
                f"{self.levels} levels: choose an autoregressive or a masked prior"
            )
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


class DiffusionPrior(TokenPrior[DiffusionConfig]):
    """p(x_0 | x_t), which leads from noise back to ids in any number of steps up to T."""

    squares: Tensor
    """The moving average of the squared loss of each timestep, float32 (T,)."""
    draws: Tensor
    """The number of draws of each timestep in training, int64 (T,)."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config, config.network(causal=False, timed=True, patch=config.patch))
        self.process = MaskAndReplace(
            config.codebook_size, config.timesteps, config.alpha, config.gamma
        )
        self.register_buffer("squares", torch.zeros(config.timesteps))
        self.register_buffer("draws", torch.zeros(config.timesteps, dtype=torch.int64))

    def _loss(
        self, ids: Tensor, condition: Condition | None, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return ``variational``, ``auxiliary`` and ``bits``.

        ``variational`` is, up to a constant, an unbiased estimate of the bound in nats per token,
        weighted by ``focus``; ``auxiliary`` is the weighted -log p(x_0 | x_t); ``bits`` is the
        bound in bits per token. In training, timesteps are drawn in proportion to the root mean
        square of their losses, in eval mode evenly.
        """
        rows, height, width = ids.shape
        clean = ids.flatten(1)
        time, probability = self._draw_times(rows, generator, ids.device)
        now = self.process.corrupt(clean, time, generator)
        context = self.network.context(condition, rows, generator, grid=(height, width))
        logits = self._logits(now, context, time)
        with torch.autocast(ids.device.type, enabled=False):
            log_p = logits.float().log_softmax(2)
            kl = self.process.divergence(log_p, clean, now, time - 1, time).mean(1)
            nll = -log_p.gather(2, clean[..., None])[..., 0].mean(1)
        if self.training:
            self._record(time, kl.detach())
        weight = 2 - (time - 1) / self.config.timesteps
        bound = (kl.detach() / probability).mean()
        bits = (bound + self.process.prior_divergence()) / math.log(2)
        focus = self.config.focus
        scale = (1 + focus * (time / self.config.timesteps) ** 3) / (1 + focus / 4) / probability
        return {
            "variational": (scale * kl).mean(),
            "auxiliary": self.config.auxiliary * (weight * scale * nll).mean(),
            "bits": bits,
        }

    def _logits(self, now: Tensor, context: Context, time: Tensor) -> Tensor:
        """Return the logits (B, N, K) of x_0, given x_t = ``now`` int64 (B, N) at times (B,)."""
        logits = self.network(now, context, time=time / self.config.timesteps)
        if not self.config.stay:
            return logits
        masked = (now == self.codebook_size)[..., None]
        code = now[..., None].masked_fill(masked, 0)
        stay = (~masked).to(logits.dtype) * self.config.stay
        return logits.scatter_add(2, code, stay)

    def _draw_times(
        self, rows: int, generator: torch.Generator | None, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Return timesteps from 1 to T, int64 (rows,), and the probability of each draw."""
        last = self.config.timesteps
        probability = torch.full((last,), 1 / last, device=device)
        if self.training:
            # As in VQ-Diffusion: in proportion to the root of the mean square. The first timestep
            # has that of the second, because its loss is a likelihood and not a divergence.
            root = self.squares.float().sqrt() + 1e-10
            root = torch.cat([root[1:2], root[1:]]) if last > 1 else root
            # Chosen on the device: the host would have to wait to know which.
            known = (self.draws > _MIN_DRAWS).all()
            probability = torch.where(known, root / root.sum(), probability)
        at = spread_uniform(rows, generator, device)
        bounds = probability.cumsum(0)
        index = torch.searchsorted(bounds, at * bounds[-1], right=True).clamp(max=last - 1)
        return index + 1, probability[index]

    @torch.no_grad()
    def _record(self, time: Tensor, kl: Tensor) -> None:
        """Update ``squares`` and ``draws`` by losses (B,) of timesteps (B,), of all processes."""
        index = time - 1
        # The mean, if a timestep was drawn more than once.
        count = sum_over_processes(count_values(index, len(self.draws)))
        total = torch.zeros_like(self.squares).index_add_(0, index, kl.square().to(self.squares))
        total = sum_over_processes(total)
        mean = total / count.clamp(min=1)
        self.squares.copy_(torch.where(count > 0, 0.9 * self.squares + 0.1 * mean, self.squares))
        self.draws.add_(count)

    def _step_limit(self, grid: tuple[int, int]) -> int:
        return self.config.timesteps

    @torch.no_grad()
    def _sample(self, condition: Condition | None, options: ResolvedOptions) -> Iterator[Step]:
        guided = options.guided and condition is not None
        context = self.network.context(condition, options.n, grid=options.grid, guided=guided)

        def predict(now: Tensor, time: Tensor) -> Tensor:
            return self._logits(now, context, time)

        yield from sample_diffusion(predict, self.process, options, self.device, guided=guided)


@torch.no_grad()
def sample_diffusion(
    predict: Callable[[Tensor, Tensor], Tensor],
    process: MaskAndReplace,
    options: ResolvedOptions,
    device: torch.device,
    *,
    guided: bool,
) -> Iterator[Step]:
    """Draw ids from noise, backward through evenly spaced times of a mask-and-replace process.

    ``predict`` maps ids int64 (B, N) at times int64 (B,) to logits (B, N, K) of the clean ids. If
    the sampling is ``guided``, B is 2 n, and the second half is without condition. The ids are on
    ``device``.
    """
    rows, (height, width) = options.n, options.grid
    copies = 2 if guided else 1
    last, steps = process.timesteps, options.steps
    times = [round(last * (1 - step / steps)) for step in range(steps + 1)]
    now = process.noise((rows, height * width), options.generator, device)
    known = None if options.known is None else options.known.reshape(rows, -1)
    finite = FiniteLogits()
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
            finite=finite,
        )
        if step == steps:
            finite.check()
        shown = now if known is None else torch.where(known >= 0, known, now)
        shown = shown.masked_fill(shown == process.codes, -1)
        yield Step(shown.view(rows, height, width), step, steps)
