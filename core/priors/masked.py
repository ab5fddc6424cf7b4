"""Masked prior: many tokens per step, the most certain first (MaskGIT, arXiv 2202.04200).

With several ids per position, the levels are drawn in turn over the whole picture, each as MaskGIT
does, given the levels before, as in SoundStorm (arXiv 2305.09636): the input of a position is the
sum of its embeddings, and each level has a head. There all steps but one per level are those of the
first level; here each level has as many (our choice).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditions import Condition
from ..distributed import mean_over_rows
from .categorical import classifier_free_guidance, sample_categorical, spread_uniform, uniform
from .levels import as_grid, levels_of
from .network import TokenNetwork
from .options import ResolvedOptions, Step
from .token_prior import TokenPrior, TokenPriorConfig, check_patch


@dataclass(frozen=True)
class MaskedConfig(TokenPriorConfig):
    """MaskGIT's training and decoding."""

    label_smoothing: float = 0.1
    """As in MaskGIT."""
    patch: int = 1
    """Side of the patches of tokens that share a position of the transformer; 2 makes it about four
    times as cheap. Our addition: the paper has 1."""
    choice_temperature: float = 4.5
    """Scale, at the first step, of the Gumbel noise on the confidence that decides which tokens are
    kept; it falls linearly to 0. As in MaskGIT."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_patch(self.patch)
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if not (math.isfinite(self.choice_temperature) and self.choice_temperature >= 0):
            raise ValueError(f"choice_temperature must be 0 or more, got {self.choice_temperature}")

    @property
    def default_steps(self) -> int:
        """The default number of sampling steps (8 to 12 in MaskGIT), for each level."""
        return 12 * self.levels


class MaskedPrior(TokenPrior[MaskedConfig]):
    """p(id of a masked cell | ids of the other cells), for any set of masked cells."""

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__(config, config.network(causal=False, timed=False, patch=config.patch))

    def _loss(
        self, ids: Tensor, condition: Condition | None, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return ``masked`` and ``bits``.

        ``masked`` is the cross-entropy in nats over the masked tokens, whose share follows a
        cosine; in training over those of all processes, which mask different numbers of them.
        ``bits`` is an upper bound on the bits per token, the mean over all orders in which the
        tokens could be drawn: the number of masked tokens is uniform, and the mean is over the
        masked tokens. In training, the draws of the cosine are weighted to estimate it roughly.

        With several levels, each picture has one of them masked, drawn evenly; those before it are
        known, those after it are not.
        """
        levels, grid = self.config.levels, (ids.shape[-2], ids.shape[-1])
        whole = levels_of(ids, levels)
        rows, _, count = whole.shape
        level = torch.zeros(rows, dtype=torch.int64, device=ids.device)
        if levels > 1:
            drawn = uniform((rows,), generator, ids.device) * levels
            level = drawn.long().clamp(max=levels - 1)
        flat = whole[torch.arange(rows, device=ids.device), level]
        at = spread_uniform(rows, generator, ids.device)
        share = torch.cos(at * math.pi / 2) if self.training else at
        number = (share * count).floor().clamp(0, count - 1).add(1)
        order = uniform(tuple(flat.shape), generator, ids.device).argsort(1).argsort(1)
        masked = order < number[:, None]
        context = self.network.context(condition, rows, generator, grid=grid)
        number_of = torch.arange(levels, device=ids.device)[None, :, None]
        of = level[:, None, None]
        hidden = (number_of > of) | ((number_of == of) & masked[:, None])
        shown = whole.masked_fill(hidden, self.codebook_size)
        found = self.network(shown[:, 0] if levels == 1 else shown, context)
        # Each head has a part in the loss, if only an empty one: its gradient must not be missing.
        places = [masked & (level == number)[:, None] for number in range(levels)]
        parts = [self.network.token_logits(found[at], n) for n, at in enumerate(places)]
        logits, target = torch.cat(parts).float(), torch.cat([flat[at] for at in places])
        loss = F.cross_entropy(logits, target, label_smoothing=self.config.label_smoothing)
        if self.training:  # a collective; elsewhere, a process may measure alone
            loss = mean_over_rows(loss, len(target))
        with torch.no_grad():
            nll = F.cross_entropy(logits, target, reduction="none")
            row = torch.cat([at.nonzero()[:, 0] for at in places])
            mean = torch.zeros(rows, device=ids.device).index_add_(0, row, nll) / number
            if self.training:  # the cosine's density is 2 / (pi sqrt(1 - share^2))
                mean = mean * (1 - share.square()).sqrt() * math.pi / 2
        return {"masked": loss, "bits": mean.mean() / math.log(2)}

    def _step_limit(self, grid: tuple[int, int]) -> int:
        return grid[0] * grid[1] * self.config.levels

    def _step_count(self, steps: int | None, grid: tuple[int, int]) -> int:
        found, levels = super()._step_count(steps, grid), self.config.levels
        if found < levels:
            raise ValueError(f"steps must be {levels} or more, one for each level, got {found}")
        return found

    def _sample(self, condition: Condition | None, options: ResolvedOptions) -> Iterator[Step]:
        return sample_masked(self.network, condition, options, self.config.choice_temperature)


@torch.no_grad()
def sample_masked(
    network: TokenNetwork,
    condition: Condition | None,
    options: ResolvedOptions,
    choice_temperature: float,
) -> Iterator[Step]:
    """Draw all masked ids at every step and keep the most certain (MaskGIT, arXiv 2202.04200).

    The number of ids that stay masked falls by a cosine. ``choice_temperature`` is the scale of the
    Gumbel noise on the confidence; it falls linearly to 0. With several levels, that is done for
    each in turn, with an equal share of the steps.
    """
    rows, (height, width), levels = options.n, options.grid, network.levels
    copies = 2 if options.guided and condition is not None else 1
    context = network.context(condition, rows, grid=options.grid, guided=copies > 1)
    unknown = network.codes
    ids = torch.full((rows, levels, height * width), unknown, device=network.device)
    if options.known is not None:
        known = levels_of(options.known, levels)
        ids = torch.where(known >= 0, known, unknown)
    shares = [options.steps // levels + (n < options.steps % levels) for n in range(levels)]
    # A picture with fewer ids to draw than the number of steps takes fewer steps.
    steps_of = [
        (ids[:, level] == unknown).sum(1).clamp(1, share).double()
        for level, share in enumerate(shares)
    ]
    total, done = sum(int(each.max()) for each in steps_of), 0
    for level in range(levels):

        def logits_of(now: Tensor, level: int = level, before: Tensor = ids) -> Tensor:
            """Return the logits of the level with the ids ``now``; those of later ones are hidden,
            as in training."""
            after = torch.full_like(before[:, level + 1 :], unknown)
            shown = torch.cat([before[:, :level], now[:, None], after], 1)
            found = network(torch.cat([shown[:, 0] if levels == 1 else shown] * copies), context)
            return network.token_logits(found, level)

        for now in _draw_level(
            logits_of, ids[:, level], unknown, options, steps_of[level], choice_temperature, copies
        ):
            done += 1
            ids = torch.cat([ids[:, :level], now[:, None], ids[:, level + 1 :]], 1)
            shown = ids.masked_fill(ids == unknown, -1)
            yield Step(as_grid(shown, options.grid), done, total)


def _draw_level(
    logits_of: Callable[[Tensor], Tensor],
    ids: Tensor,
    unknown: int,
    options: ResolvedOptions,
    steps_of: Tensor,
    choice_temperature: float,
    copies: int,
) -> Iterator[Tensor]:
    """Yield the ids (n, N) of a level after each of its steps, ``unknown`` where still masked.

    ``logits_of`` returns the logits (copies * n, N, K) of such ids, ``steps_of`` (n,) are the steps
    of each picture.
    """
    to_draw = (ids == unknown).sum(1)
    for step in range(1, int(steps_of.max()) + 1):
        masked = ids == unknown
        logits = logits_of(ids)
        if copies > 1:
            scale = options.guidance_at(((step - 1) / (steps_of - 1).clamp(min=1)).clamp(max=1))
            logits = classifier_free_guidance(logits, scale.float()[:, None, None])
        logits = logits.float()
        drawn = sample_categorical(
            logits,
            options.generator,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            wanted=masked,
        )
        confidence = logits.gather(2, drawn[..., None])[..., 0] - logits.logsumexp(2)
        noise = uniform(tuple(confidence.shape), options.generator, confidence.device)
        noise = -torch.log(-torch.log(noise.clamp(1e-20, 1 - 2**-24)))
        progress = (step / steps_of).clamp(max=1)
        confidence = confidence + choice_temperature * (1 - progress[:, None]) * noise
        # The number still masked after this step: a cosine, but at least one fewer per step.
        left = (to_draw * torch.cos(progress * math.pi / 2)).floor().long()
        left = torch.minimum(left, masked.sum(1) - 1).clamp(min=0)
        left = left.masked_fill(step >= steps_of, 0)
        rank = confidence.masked_fill(~masked, math.inf).argsort(1).argsort(1)
        ids = torch.where(masked & (rank >= left[:, None]), drawn, ids)
        yield ids
