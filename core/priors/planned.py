"""Priors that draw a semantic map first and then the picture from it.

The position and number of things that a sentence states are one or two of the thousand bits of a
picture's tokens, and hardly learned among them; of a map they are a large part. Make-A-Scene
(arXiv 2203.13131) therefore draws a map's tokens before a picture's, autoregressively. INFERRED:
here the map's own classes are drawn, on the token grid, by a network of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..conditions import Condition, Conditioner, SemanticConfig
from ..conditions.semantic import UNLABELED, composition, majority
from .autoregressive import AutoregressiveConfig, AutoregressivePrior
from .base import Prior, SamplingOptions, Step
from .network import TokenNetwork
from .token_prior import LayoutConfig, TokenPrior, TokenPriorConfig


def build_token_prior(kind: type[TokenPrior], config: TokenPriorConfig) -> Prior:
    """Build a prior of class ``kind``, untrained; one with a layout becomes a ``PlannedPrior``."""
    tokens = kind(config)
    return tokens if config.layout is None else PlannedPrior(tokens, config.layout)


class LayoutPrior(nn.Module):
    """Draws semantic maps on the token grid: class ids int64 (n, h, w), 255 = unlabelled.

    It has the conditions of the token prior's config, except the semantic one.
    """

    def __init__(self, config: LayoutConfig, tokens: TokenPriorConfig) -> None:
        super().__init__()
        semantic = next(each for each in tokens.conditions if isinstance(each, SemanticConfig))
        self.classes = semantic.classes
        self.prior = AutoregressivePrior(
            AutoregressiveConfig(
                codebook_size=self.classes + 1,  # the last one: unlabelled
                grid=tokens.grid,
                width=config.width,
                layers=config.layers,
                heads=config.heads,
                dropout=config.dropout,
                conditions=tuple(each for each in tokens.conditions if each is not semantic),
                drop=tokens.drop,
            )
        )
        self.prior.network.init_positions()

    def loss(
        self,
        segmentation: Tensor,
        condition: Condition,
        grid: tuple[int, int],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Return the losses of maps int64 (B, H, W) on a grid of cells.

        ``layout`` is the negative log-likelihood in nats per cell, ``layout_bits`` the same in
        bits; both are exact.
        """
        cells = majority(composition(segmentation, self.classes, grid)).argmax(1)
        losses = self.prior.loss(cells, condition, generator)
        return {"layout": losses["nll"], "layout_bits": losses["bits"]}

    def sample(self, condition: Condition | None, options: SamplingOptions) -> Iterator[Step]:
        """Yield one step per row of cells, with the map as its ids.

        The options are those of the tokens, except for top-k: a number of codes of a thousand is no
        measure for a few classes. With top-k 1, the most likely class is taken, too.
        """
        assert options.grid is not None  # resolved options have one
        rows, columns = options.grid
        steps = self.prior.sample(
            condition,
            options.n,
            generator=options.generator,
            guidance=options.guidance,
            temperature=options.temperature,
            top_k=int(options.top_k == 1),
            top_p=options.top_p,
            grid=options.grid,
        )
        for step in steps:
            row, rest = divmod(step.done, columns)
            if not rest:
                drawn = step.ids.masked_fill(step.ids == self.classes, UNLABELED)
                yield step._replace(ids=drawn, done=row, total=rows)


class PlannedPrior(Prior):
    """A token prior, and a prior of the semantic map that the token prior is conditioned on.

    Where ``sample`` is given a map, or known ids, the map prior is not used. A state dict holds the
    token prior's weights by its own names and the map prior's below "layout.".
    """

    config: TokenPriorConfig
    draws_layout = True
    trained_part: Literal["all", "layout", "tokens"] = "all"
    """The part whose loss ``loss`` returns in training."""

    def __init__(self, tokens: TokenPrior, layout: LayoutConfig) -> None:
        super().__init__()
        self.config, self.tokens = tokens.config, tokens
        self.layout = LayoutPrior(layout, tokens.config)
        self.register_state_dict_post_hook(_hoist_tokens)
        self.register_load_state_dict_pre_hook(_lower_tokens)

    @property
    def conditioner(self) -> Conditioner:
        """The conditions of the token prior."""
        return self.tokens.conditioner

    @property
    def network(self) -> TokenNetwork:
        """The network of the token prior."""
        return self.tokens.network

    @property
    def grid(self) -> tuple[int, int]:
        return self.tokens.grid

    @property
    def codebook_size(self) -> int:
        """K, the number of codes."""
        return self.tokens.codebook_size

    def learn_vocabulary(self, texts: Iterable[str]) -> None:
        texts = list(texts)
        self.tokens.learn_vocabulary(texts)
        self.layout.prior.learn_vocabulary(texts)

    def loss(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses of the token prior and, where a map is given, of the map prior.

        "bits" is the tokens' alone, given the map.
        """
        ids = self.tokens.checked_ids(ids, condition)
        part = self.trained_part if self.training else "all"
        losses: dict[str, Tensor] = {}
        if part != "layout":
            losses = self.tokens.loss(ids, condition, generator)
        if condition is not None and condition.segmentation is not None and part != "tokens":
            grid = (ids.shape[1], ids.shape[2])
            losses |= self.layout.loss(condition.segmentation, condition, grid, generator)
        return losses

    def _step_limit(self, grid: tuple[int, int]) -> int:
        return self.tokens._step_limit(grid)

    def _resolved(self, options: SamplingOptions) -> SamplingOptions:
        return self.tokens._resolved(options)

    def _sample(self, condition: Condition | None, options: SamplingOptions) -> Iterator[Step]:
        given = condition is not None and condition.segmentation is not None
        # Known ids say nothing about a map that is drawn without them.
        if given or options.known is not None:
            return self.tokens._sample(condition, options)
        return self._planned(condition or Condition(), options)

    def _planned(self, condition: Condition, options: SamplingOptions) -> Iterator[Step]:
        """Yield the steps of the map, then those of the picture that is conditioned on it."""
        assert options.grid is not None and options.steps is not None  # they are resolved
        ahead = options.grid[0]
        total = ahead + options.steps
        blank = torch.full((options.n, *options.grid), -1, device=self.device)
        layout = None
        for step in self.layout.sample(condition if len(condition) else None, options):
            layout = step.ids
            yield Step(blank, step.done, total, layout)
        if len(condition) == 1:
            condition = condition.repeat(options.n)
        condition = replace(condition, segmentation=layout)
        for step in self.tokens._sample(condition, options):
            yield step._replace(done=ahead + step.done, total=ahead + step.total, layout=layout)


_OWN, _TOKENS = "layout.", "tokens."


def _hoist_tokens(
    module: nn.Module, state: MutableMapping[str, Any], prefix: str, metadata: Any
) -> None:
    """Name the token prior's weights as a token prior alone names them."""
    for name in list(state):
        if name.startswith(prefix):
            value, own = state.pop(name), name[len(prefix) :]
            state[prefix + own.removeprefix(_TOKENS)] = value


def _lower_tokens(
    module: nn.Module, state: MutableMapping[str, Any], prefix: str, *others: Any
) -> None:
    """Undo ``_hoist_tokens`` before a state is loaded."""
    for name in list(state):
        own = name[len(prefix) :]
        if name.startswith(prefix) and not own.startswith((_OWN, _TOKENS)):
            state[prefix + _TOKENS + own] = state.pop(name)
