"""Autoregressive prior: each token from those before it, in raster order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditions import Condition
from .base import SamplingOptions, Step
from .categorical import classifier_free_guidance, sample_categorical, uniform
from .network import TokenNetwork
from .token_prior import TokenPrior, TokenPriorConfig


@dataclass(frozen=True)
class AutoregressiveConfig(TokenPriorConfig):
    """A decoder-only transformer over token ids."""

    @property
    def default_steps(self) -> int:
        """The number of sampling steps: one per token, which is no choice."""
        return self.grid[0] * self.grid[1]


class AutoregressivePrior(TokenPrior):
    """p(ids) = product over cells of p(id | ids of the cells before it).

    The network's position i is given the token of cell i - 1 (a token of its own at the start),
    with the place and the condition of cell i, which it is to predict.
    """

    def __init__(self, config: AutoregressiveConfig) -> None:
        super().__init__(config, config.network(causal=True, timed=False))

    def logits(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Logits (B, h*w, K) of each cell of ids (B, h, w), given the cells before it."""
        grid = tuple(ids.shape[1:])
        context = self.network.context(condition, len(ids), generator, grid=grid)
        before = F.pad(ids.flatten(1)[:, :-1], (1, 0), value=self.codebook_size)
        return self.network(before, context)

    def _loss(
        self, ids: Tensor, condition: Condition | None, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """``nll``: negative log-likelihood in nats a token; ``bits``: the same in bits, exact."""
        logits = self.logits(ids, condition, generator)
        nll = F.cross_entropy(logits.float().flatten(0, 1), ids.flatten())
        return {"nll": nll, "bits": nll.detach() / math.log(2)}

    def _step_limit(self, grid: tuple[int, int]) -> int:
        return grid[0] * grid[1]

    def _resolved(self, options: SamplingOptions) -> SamplingOptions:
        resolved = super()._resolved(replace(options, steps=None))
        assert resolved.grid is not None
        tokens = resolved.grid[0] * resolved.grid[1]
        if options.steps not in (None, tokens):
            raise ValueError(
                f"an autoregressive prior takes a step per token, here {tokens}: leave steps out "
                f"or give that number, got {options.steps}"
            )
        return replace(resolved, steps=tokens)

    def _sample(self, condition: Condition | None, options: SamplingOptions) -> Iterator[Step]:
        return sample_autoregressive(self.network, condition, options)


@torch.no_grad()
def sample_autoregressive(
    network: TokenNetwork, condition: Condition | None, options: SamplingOptions
) -> Iterator[Step]:
    """Draw ids token by token in raster order from a causal network; yield a step per token.

    ``options`` are resolved (``Prior.sample``). Ids that are known at the beginning of all pictures
    are read in one pass.
    """
    assert options.grid is not None
    rows, (height, width) = options.n, options.grid
    device = network.head.weight.device
    guided = options.guided and condition is not None
    context = network.context(condition, rows, grid=options.grid, guided=guided)
    total = height * width
    copies = 2 if guided else 1
    ids = torch.full((rows, total), -1, device=device)
    if options.known is not None:
        ids = options.known.reshape(rows, total).clone()
    given = (ids >= 0).all(0).tolist()
    forced = (ids >= 0) if options.known is not None else None
    begin = given.index(False) if False in given else total
    step = network.decoder(context, copies * rows, total)
    # One random number per cell, known or not: a picture does not depend on what others know.
    at = uniform((rows, total), options.generator, device)
    before = F.pad(ids[:, :begin], (1, 0), value=network.codes)
    for cell in range(begin, total):
        logits = step(before.repeat(copies, 1))
        if not given[cell]:
            if guided:
                scale = options.guidance_at(cell / max(1, total - 1))
                logits = classifier_free_guidance(logits, scale)
            drawn = sample_categorical(
                logits,
                temperature=options.temperature,
                top_k=options.top_k,
                top_p=options.top_p,
                at=at[:, cell],
            )
            if forced is not None:
                drawn = torch.where(forced[:, cell], ids[:, cell], drawn)
            ids[:, cell] = drawn
        before = ids[:, cell : cell + 1]
        yield Step(ids.view(rows, height, width).clone(), cell + 1, total)
    if begin == total:
        yield Step(ids.view(rows, height, width), total, total)
