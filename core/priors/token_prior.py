"""The base of the discrete priors: a transformer over token ids."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..conditions import Condition, ConditionConfig, Conditioner, SemanticConfig
from .base import Prior, build_prior
from .network import TokenNetwork
from .options import SamplingOptions, check_grid, is_whole


@dataclass(frozen=True)
class LayoutConfig:
    """Size of the prior that draws a semantic map first (``core.priors.planned``).

    It is an autoregressive prior over the classes of the map's cells. The sizes are our choice.
    """

    width: int = 96
    layers: int = 3
    heads: int = 4
    dropout: float = 0.0


@dataclass(frozen=True)
class TokenPriorConfig(ABC):
    """The settings that the discrete priors share. The sizes are our choice."""

    codebook_size: int = 1024
    """K, the number of codes of the tokenizer whose ids are modeled."""
    grid: tuple[int, int] = (16, 16)
    """Rows and columns of tokens of the training pictures."""
    width: int = 256
    """C, a multiple of four times the heads."""
    layers: int = 6
    heads: int = 4
    dropout: float = 0.0
    conditions: tuple[ConditionConfig, ...] = ()
    """The conditions of the prior, each kind at most once."""
    drop: float = 0.1
    """Share of the training pictures that lose their conditions, which guidance needs."""
    layout: LayoutConfig | None = None
    """If set, the prior draws a semantic map first when it is given none, and is conditioned on
    it."""
    levels: int = 1
    """L, the number of ids per position of the tokenizer."""

    def __post_init__(self) -> None:
        if self.codebook_size < 1:
            raise ValueError(f"codebook_size must be at least 1, got {self.codebook_size}")
        if self.levels < 1:
            raise ValueError(f"levels must be at least 1, got {self.levels}")
        check_grid(self.grid)
        if self.layout is not None:
            _check_layout(self.conditions)

    @property
    @abstractmethod
    def default_steps(self) -> int:
        """The default number of sampling steps."""

    def build(self) -> Prior[Any]:
        """Build the prior, untrained."""
        return build_prior(self)

    def network(self, *, causal: bool, timed: bool, patch: int = 1) -> TokenNetwork:
        """Build the transformer of these sizes, untrained, with its conditioner."""
        return TokenNetwork(
            codes=self.codebook_size,
            grid=self.grid,
            conditioner=Conditioner(self.conditions, self.width, self.grid, self.drop),
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            dropout=self.dropout,
            causal=causal,
            timed=timed,
            patch=patch,
            levels=self.levels,
        )


def _check_layout(conditions: Sequence[ConditionConfig]) -> None:
    """Raise ValueError unless a prior with these conditions can use a map that is drawn first."""
    semantic = [each for each in conditions if isinstance(each, SemanticConfig)]
    if not semantic:
        raise ValueError("a layout is drawn for a semantic condition, and the prior has none")
    if semantic[0].shares:
        raise ValueError("a layout has one class per cell; set semantic.shares false")


Config = TypeVar("Config", bound=TokenPriorConfig)


class TokenPrior(Prior[Config]):
    """A prior over token ids."""

    network: TokenNetwork

    def __init__(self, config: Config, network: TokenNetwork) -> None:
        super().__init__()
        self.config, self.network = config, network

    # A property, not an attribute: the conditioner is a part of the network, and in an attribute it
    # would be in the state twice.
    @property
    def conditioner(self) -> Conditioner:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The encoder of the conditions, a part of the network."""
        return self.network.conditioner

    @property
    def codebook_size(self) -> int:
        """K, the number of codes."""
        return self.config.codebook_size

    def forward(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        return self._loss(ids, condition, generator)

    @abstractmethod
    def _loss(
        self, ids: Tensor, condition: Condition | None, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Return ``loss`` for arguments that are checked."""

    def check_training_batch(self, ids: Tensor, condition: Condition | None) -> None:
        levels = self.config.levels
        fits = ids.ndim == 3 if levels == 1 else ids.ndim == 4 and ids.shape[1] == levels
        if not fits or ids.is_floating_point():
            words = "(B, h, w)" if levels == 1 else f"(B, {levels}, h, w)"
            raise ValueError(f"token ids must be integers {words}, got {tuple(ids.shape)}")
        low, high = torch.stack(ids.aminmax()).tolist()
        if low < 0 or high >= self.codebook_size:
            raise ValueError(
                f"token ids must be from 0 to {self.codebook_size - 1}, got {low} to {high}: "
                "they are those of another tokenizer"
            )
        self.conditioner.check(condition, len(ids), allow_unused=True)

    def _with_known(self, options: SamplingOptions, known: Tensor) -> SamplingOptions:
        shape, n, levels = known.shape, options.n, self.config.levels
        inner, words = ((), "") if levels == 1 else ((levels,), f"{levels}, ")
        fits = known.ndim >= 2 and tuple(shape[:-2]) in (inner, (n, *inner))
        if not fits or known.is_floating_point():
            raise ValueError(
                f"known must be integers ({words}h, w) or ({n}, {words}h, w), got {tuple(shape)}"
            )
        if options.grid is not None and tuple(options.grid) != tuple(shape[-2:]):
            raise ValueError(
                f"known has {shape[-2]} x {shape[-1]} tokens, but grid is {options.grid}"
            )
        grid = check_grid(shape[-2:])
        low, high = torch.stack(known.aminmax()).tolist()
        if low < -1 or high >= self.codebook_size:
            raise ValueError(
                f"known ids must be from 0 to {self.codebook_size - 1}, or -1 for tokens to be "
                f"drawn, got {low} to {high}"
            )
        known = known.to(self.device, non_blocking=True).expand(n, *inner, *grid)
        return replace(options, known=known, grid=grid)


def check_patch(patch: int) -> None:
    """Raise ValueError unless ``patch`` is a valid side of a patch of tokens."""
    if not is_whole(patch) or not 1 <= patch <= 8:
        raise ValueError(f"patch must be a whole number from 1 to 8, got {patch}")
