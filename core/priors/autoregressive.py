"""Autoregressive prior over tokens in raster order, as in VQ-GAN (arXiv 2012.09841).

The network is this project's token transformer (``core.networks.transformer``). With several ids
per position, the levels of a cell are drawn in turn, then the next cell, as in RQ-Transformer
(arXiv 2203.01941; ``core.priors.levels`` says what is our choice).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditions import Condition
from .categorical import FiniteLogits, classifier_free_guidance, sample_categorical, uniform
from .levels import as_grid, levels_of
from .network import TokenNetwork
from .options import ResolvedOptions, Step
from .token_prior import TokenPrior, TokenPriorConfig


@dataclass(frozen=True)
class AutoregressiveConfig(TokenPriorConfig):
    """A decoder-only transformer over token ids."""

    @property
    def default_steps(self) -> int:
        """The number of sampling steps: always one per position."""
        return self.grid[0] * self.grid[1]


class AutoregressivePrior(TokenPrior[AutoregressiveConfig]):
    """p(ids) = product over cells, and levels of a cell, of p(id | ids before it).

    The input of the network's position i is the token, or the tokens, of cell i - 1 (at the start,
    a special token) with the position and the condition of cell i, whose token it predicts.
    """

    def __init__(self, config: AutoregressiveConfig) -> None:
        super().__init__(config, config.network(causal=True, timed=False))

    def logits(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the logits (B, h*w, K) of each cell of ids (B, h, w), given the cells before.

        With several levels, those of ids (B, L, h, w) are (B, L, h*w, K), also given the levels
        before of the same cell.
        """
        network, grid = self.network, (ids.shape[-2], ids.shape[-1])
        context = network.context(condition, len(ids), generator, grid=grid)
        before = F.pad(ids.flatten(-2)[..., :-1], (1, 0), value=self.codebook_size)
        found = network(before, context)
        if network.levels == 1:
            return found
        flat = ids.flatten(-2)
        levels = range(network.levels)
        return torch.stack([network.token_logits(found, n, flat[:, :n]) for n in levels], 1)

    def _loss(
        self, ids: Tensor, condition: Condition | None, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return the exact negative log-likelihood per token, ``nll`` in nats and ``bits``."""
        logits = self.logits(ids, condition, generator)
        nll = F.cross_entropy(logits.float().flatten(0, -2), ids.flatten())
        return {"nll": nll, "bits": nll.detach() / math.log(2)}

    def _step_limit(self, grid: tuple[int, int]) -> int:
        return grid[0] * grid[1]

    def _step_count(self, steps: int | None, grid: tuple[int, int]) -> int:
        tokens = self._step_limit(grid)
        if steps not in (None, tokens):
            raise ValueError(
                f"an autoregressive prior takes a step per token, here {tokens}: leave steps out "
                f"or give that number, got {steps}"
            )
        return tokens

    def _sample(self, condition: Condition | None, options: ResolvedOptions) -> Iterator[Step]:
        return sample_autoregressive(self.network, condition, options)


@torch.no_grad()
def sample_autoregressive(
    network: TokenNetwork, condition: Condition | None, options: ResolvedOptions
) -> Iterator[Step]:
    """Draw ids token by token in raster order from a causal network; yield one step per position.

    The levels of a position are drawn in turn. The tokens at the start that are known in all
    pictures are processed in one pass.
    """
    rows, (height, width) = options.n, options.grid
    device, levels = network.device, network.levels
    guided = options.guided and condition is not None
    context = network.context(condition, rows, grid=options.grid, guided=guided)
    total = height * width
    copies = 2 if guided else 1
    ids = torch.full((rows, levels, total), -1, device=device)
    known, known_everywhere = None, [False] * total
    if options.known is not None:
        ids = levels_of(options.known, levels).clone()
        known = ids >= 0
        known_everywhere = known.all(1).all(0).tolist()
    finite = FiniteLogits()
    start = known_everywhere.index(False) if False in known_everywhere else total
    step = network.decoder(context, copies * rows, total)
    # One random number per token, also for known ones: a picture does not depend on the tokens that
    # are known in the other pictures.
    at = uniform((rows, total * levels), options.generator, device).view(rows, total, levels)
    before = F.pad(ids[..., :start], (1, 0), value=network.codes)
    for cell in range(start, total):
        before = before[:, 0] if levels == 1 else before
        found = step(torch.cat([before] * copies))
        for level in range(0 if known_everywhere[cell] else levels):
            drawn_before = torch.cat([ids[:, :level, cell]] * copies)
            logits = network.token_logits(found, level, drawn_before)
            if guided:
                scale = options.guidance_at(cell / max(1, total - 1))
                logits = classifier_free_guidance(logits, scale)
            drawn = sample_categorical(
                logits,
                temperature=options.temperature,
                top_k=options.top_k,
                top_p=options.top_p,
                at=at[:, cell, level],
                finite=finite,
            )
            if known is not None:
                drawn = torch.where(known[:, level, cell], ids[:, level, cell], drawn)
            ids[:, level, cell] = drawn
        before = ids[..., cell : cell + 1]
        if cell == total - 1:
            finite.check()
        yield Step(as_grid(ids.clone(), options.grid), cell + 1, total)
    if start == total:
        yield Step(as_grid(ids, options.grid), total, total)
