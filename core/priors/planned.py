"""Priors that draw a semantic map first and then the picture from it.

The position and the number of objects that a text states are one or two of the thousand bits of a
picture's tokens and are hardly learned among them; of a map's bits they are a large part. Therefore
Make-A-Scene (arXiv 2203.13131) draws the tokens of a map before those of the picture,
autoregressively. INFERRED: here a separate network draws the classes of the map on the token grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..conditions import Condition, Conditioner, SemanticConfig
from ..conditions.semantic import UNLABELED, composition, majority
from .autoregressive import AutoregressiveConfig, AutoregressivePrior
from .base import Prior
from .network import TokenNetwork
from .options import ResolvedOptions, SamplingOptions, Step
from .token_prior import LayoutConfig, TokenPrior, TokenPriorConfig


def build_token_prior(
    kind: Callable[[Any], TokenPrior[Any]], config: TokenPriorConfig
) -> Prior[Any]:
    """Build a prior of class ``kind``, untrained; with a layout, in a ``PlannedPrior``."""
    tokens = kind(config)
    return tokens if config.layout is None else PlannedPrior(tokens, config.layout)


class LayoutPrior(nn.Module):
    """A prior of semantic maps on the token grid: class ids int64 (n, h, w), 255 = unlabeled.

    It has the conditions of the token prior's config, except the semantic one.
    """

    def __init__(self, config: LayoutConfig, tokens: TokenPriorConfig) -> None:
        super().__init__()
        semantic = next(each for each in tokens.conditions if isinstance(each, SemanticConfig))
        self.classes = semantic.classes
        self.prior = AutoregressivePrior(
            AutoregressiveConfig(
                codebook_size=self.classes + 1,  # the last one: unlabeled
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

        ``layout`` is the exact negative log-likelihood in nats per cell, ``layout_bits`` the same
        in bits.
        """
        cells = majority(composition(segmentation, self.classes, grid)).argmax(1)
        losses = self.prior(cells, condition, generator)
        return {"layout": losses["nll"], "layout_bits": losses["bits"]}

    def sample(self, condition: Condition | None, options: ResolvedOptions) -> Iterator[Step]:
        """Yield one step per row of cells, whose ids are the map.

        The options are those of the tokens, except top-k: a number out of a thousand codes does not
        apply to a few classes. Only top-k 1, the most likely code, is used for the classes, too.
        """
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


class PlannedPrior(Prior[TokenPriorConfig]):
    """A token prior, and a prior of the semantic map that the token prior is conditioned on.

    The map prior is not used when ``sample`` gets a map or known ids. In a state dict, the names of
    the token prior's weights are those of a token prior alone, and the names of the map prior's
    weights start with "layout.".
    """

    draws_layout = True
    trained_part: Literal["all", "layout", "tokens"] = "all"
    """The part whose loss ``loss`` returns in training."""

    def __init__(self, tokens: TokenPrior[Any], layout: LayoutConfig) -> None:
        super().__init__()
        self.config, self.tokens = tokens.config, tokens
        self.layout = LayoutPrior(layout, tokens.config)
        self.register_state_dict_post_hook(_hoist_tokens)
        self.register_load_state_dict_pre_hook(_lower_tokens)

    @property  # as in TokenPrior
    def conditioner(self) -> Conditioner:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The encoder of the conditions of the token prior."""
        return self.tokens.conditioner

    @property
    def network(self) -> TokenNetwork:
        """The network of the token prior."""
        return self.tokens.network

    @property
    def codebook_size(self) -> int:
        """K, the number of codes."""
        return self.tokens.codebook_size

    def learn_vocabulary(self, texts: Iterable[str]) -> None:
        texts = list(texts)
        self.tokens.learn_vocabulary(texts)
        self.layout.prior.learn_vocabulary(texts)

    def check_training_batch(self, ids: Tensor, condition: Condition | None) -> None:
        self.tokens.check_training_batch(ids, condition)
        self.layout.prior.conditioner.check(condition, len(ids), allow_unused=True)

    def forward(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses of the token prior and, if the condition has a map, of the map prior.

        "bits" is only that of the tokens, given the map.
        """
        part = self.trained_part if self.training else "all"
        losses: dict[str, Tensor] = {}
        if part != "layout":
            losses = self.tokens(ids, condition, generator)
        if condition is not None and condition.segmentation is not None and part != "tokens":
            grid = (ids.shape[-2], ids.shape[-1])
            losses |= self.layout.loss(condition.segmentation, condition, grid, generator)
        return losses

    def _step_limit(self, grid: tuple[int, int]) -> int:
        return self.tokens._step_limit(grid)

    def _resolved(self, options: SamplingOptions) -> ResolvedOptions:
        return self.tokens._resolved(options)

    def _sample(self, condition: Condition | None, options: ResolvedOptions) -> Iterator[Step]:
        given = condition is not None and condition.segmentation is not None
        # A map drawn without regard to known ids would not fit them.
        if given or options.known is not None:
            return self.tokens._sample(condition, options)
        return self._planned(condition or Condition(), options)

    def _planned(self, condition: Condition, options: ResolvedOptions) -> Iterator[Step]:
        """Yield the steps of the map, then those of the picture, which is conditioned on it."""
        map_steps = options.grid[0]
        total = map_steps + options.steps
        levels = self.config.levels
        blank = torch.full((options.n, levels, *options.grid), -1, device=self.device)
        blank = blank[:, 0] if levels == 1 else blank
        layout = None
        for step in self.layout.sample(condition if len(condition) else None, options):
            layout = step.ids
            yield Step(blank, step.done, total, layout)
        if len(condition) == 1:
            condition = condition.repeat(options.n)
        condition = replace(condition, segmentation=layout)
        for step in self.tokens._sample(condition, options):
            yield step._replace(
                done=map_steps + step.done, total=map_steps + step.total, layout=layout
            )


_LAYOUT, _TOKENS = "layout.", "tokens."


def _hoist_tokens(
    module: nn.Module, state: MutableMapping[str, Any], prefix: str, metadata: Any
) -> None:
    """Remove "tokens." from the names of a state: a token prior alone has the same names."""
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
        if name.startswith(prefix) and not own.startswith((_LAYOUT, _TOKENS)):
            state[prefix + _TOKENS + own] = state.pop(name)
