"""Autoregressive prior: each token from those before it, in raster order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditions import Condition
from .base import Choices, Step, TokenPrior, TokenPriorConfig
from .categorical import draw, guide, uniform


@dataclass(frozen=True)
class AutoregressiveConfig(TokenPriorConfig):
    """A decoder-only transformer over token ids."""

    @property
    def default_steps(self) -> int:
        """Steps that sampling takes if it is not told: one a token, which is no choice."""
        return self.grid[0] * self.grid[1]

    def build(self) -> AutoregressivePrior:
        """The prior, untrained."""
        return AutoregressivePrior(self)


class AutoregressivePrior(TokenPrior):
    """p(ids) = product over cells of p(id | ids of the cells before it).

    The network's position i is given the token of cell i - 1 (a token of its own at the start),
    with the place and the condition of cell i, which it is to foretell.
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

    def _checked(self, n, generator, guidance, temperature, top_k, top_p, steps, known, grid):
        choices = super()._checked(
            n, generator, guidance, temperature, top_k, top_p, None, known, grid
        )
        tokens = choices.grid[0] * choices.grid[1]
        if steps not in (None, tokens):
            raise ValueError(
                f"an autoregressive prior takes a step a token, here {tokens}: leave steps out "
                f"or give that number, got {steps}"
            )
        return choices

    @torch.no_grad()
    def _sample(self, condition: Condition | None, choices: Choices) -> Iterator[Step]:
        rows, (height, width) = choices.n, choices.grid
        guided = choices.guided and condition is not None
        context = self.network.context(condition, rows, grid=choices.grid, guided=guided)
        total = height * width
        copies = 2 if guided else 1
        ids = torch.full((rows, total), -1, device=self.device)
        if choices.known is not None:
            ids = choices.known.reshape(rows, total).clone()
        given = (ids >= 0).all(0).tolist()
        forced = (ids >= 0) if choices.known is not None else None
        # What is known from the start is read at once, then a token at a time.
        begin = given.index(False) if False in given else total
        step = self.network.decoder(context, copies * rows, total)
        # A number for each cell, known or not: what one picture knows is no affair of another's.
        at = uniform((rows, total), choices.generator, self.device)
        before = F.pad(ids[:, :begin], (1, 0), value=self.codebook_size)
        for cell in range(begin, total):
            logits = step(before.repeat(copies, 1))
            if not given[cell]:
                if guided:
                    logits = guide(logits, choices.scale(cell / max(1, total - 1)))
                drawn = draw(
                    logits, temperature=choices.temperature, top_k=choices.top_k,
                    top_p=choices.top_p, at=at[:, cell],
                )  # fmt: skip
                if forced is not None:
                    drawn = torch.where(forced[:, cell], ids[:, cell], drawn)
                ids[:, cell] = drawn
            before = ids[:, cell : cell + 1]
            yield Step(ids.view(rows, height, width).clone(), cell + 1, total)
        if begin == total:
            yield Step(ids.view(rows, height, width), total, total)
