"""Autoregressive prior over tokens in raster order, as in VQ-GAN (arXiv 2012.09841).

The network is this project's token transformer (``core.networks.transformer``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..conditions import Condition
from .categorical import classifier_free_guidance, sample_categorical, uniform
from .network import TokenNetwork
from .options import ResolvedOptions, Step
from .token_prior import TokenPrior, TokenPriorConfig


@dataclass(frozen=True)
class AutoregressiveConfig(TokenPriorConfig):
    """A decoder-only transformer over token ids."""

    @property
    def default_steps(self) -> int:
        """The number of sampling steps: always one per token."""
        return self.grid[0] * self.grid[1]


class AutoregressivePrior(TokenPrior[AutoregressiveConfig]):
    """p(ids) = product over cells of p(id | ids of the cells before it).

    The input of the network's position i is the token of cell i - 1 (at the start, a special token)
    with the position and the condition of cell i, whose token it predicts.
    """

    def __init__(self, config: AutoregressiveConfig) -> None:
        super().__init__(config, config.network(causal=True, timed=False))

    def logits(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the logits (B, h*w, K) of each cell of ids (B, h, w), given the cells before."""
        rows, height, width = ids.shape
        context = self.network.context(condition, rows, generator, grid=(height, width))
        before = F.pad(ids.flatten(1)[:, :-1], (1, 0), value=self.codebook_size)
        return self.network(before, context)

    def _loss(
        self, ids: Tensor, condition: Condition | None, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return the exact negative log-likelihood per token, ``nll`` in nats and ``bits``."""
        logits = self.logits(ids, condition, generator)
        nll = F.cross_entropy(logits.float().flatten(0, 1), ids.flatten())
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
    """Draw ids token by token in raster order from a causal network; yield one step per token.

    The tokens at the start that are known in all pictures are processed in one pass.
    """
    rows, (height, width) = options.n, options.grid
    device = network.head.weight.device
    guided = options.guided and condition is not None
    context = network.context(condition, rows, grid=options.grid, guided=guided)
    total = height * width
    copies = 2 if guided else 1
    ids = torch.full((rows, total), -1, device=device)
    if options.known is not None:
        ids = options.known.reshape(rows, total).clone()
    known_everywhere = (ids >= 0).all(0).tolist()
    known = (ids >= 0) if options.known is not None else None
    start = known_everywhere.index(False) if False in known_everywhere else total
    step = network.decoder(context, copies * rows, total)
    # One random number per cell, also for known cells: a picture does not depend on the cells that
    # are known in the other pictures.
    at = uniform((rows, total), options.generator, device)
    before = F.pad(ids[:, :start], (1, 0), value=network.codes)
    for cell in range(start, total):
        logits = step(before.repeat(copies, 1))
        if not known_everywhere[cell]:
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
            if known is not None:
                drawn = torch.where(known[:, cell], ids[:, cell], drawn)
            ids[:, cell] = drawn
        before = ids[:, cell : cell + 1]
        yield Step(ids.view(rows, height, width).clone(), cell + 1, total)
    if start == total:
        yield Step(ids.view(rows, height, width), total, total)
