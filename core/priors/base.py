"""The face that every prior shows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ..conditions import Condition, ConditionConfig, Conditioner
from .categorical import Noise
from .network import TokenNetwork
from .planned import LayoutConfig, LayoutPrior, check_layout

if TYPE_CHECKING:
    from . import PriorConfig

MOST_TOKENS = 2**14


class Step(NamedTuple):
    """A picture that grows: ``ids`` int64 (n, h, w), -1 where nothing is drawn yet (of a latent
    prior: latents float32 (n, D, h, w)), after ``done`` of ``total`` steps."""

    ids: Tensor
    done: int
    total: int
    layout: Tensor | None = None
    """Of a prior that draws a map first: its classes int64 (n, h, w), 255 = unlabelled, -1 where
    nothing is drawn yet."""

    @property
    def sketching(self) -> bool:
        """Whether there is a map, or a part of it, and no token yet."""
        return self.layout is not None and int(self.ids.max()) < 0


@dataclass(frozen=True)
class TokenPriorConfig:
    """What the discrete priors have in common. The sizes are our choice."""

    codebook_size: int = 1024
    """K, the codes of the tokenizer whose ids these are."""
    grid: tuple[int, int] = (16, 16)
    """Rows and columns of tokens of the training pictures."""
    width: int = 256
    """C, a multiple of four times the heads."""
    layers: int = 6
    heads: int = 4
    dropout: float = 0.0
    conditions: tuple[ConditionConfig, ...] = ()
    """What the prior is told, each kind once."""
    drop: float = 0.1
    """Share of the training pictures that lose their conditions, which guidance needs."""
    layout: LayoutConfig | None = None
    """Where the prior is told no semantic map, draw one first, which it is told then."""

    def __post_init__(self) -> None:
        if self.codebook_size < 1:
            raise ValueError(f"codebook_size must be at least 1, got {self.codebook_size}")
        check_grid(self.grid)
        if self.layout is not None:
            check_layout(self.conditions)

    def network(self, *, causal: bool, timed: bool, patch: int = 1) -> TokenNetwork:
        """The transformer of these sizes, untrained, with its conditioner."""
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
        )

    def planner(self) -> LayoutPrior | None:
        """What draws the prior's maps, untrained, or None."""
        if self.layout is None:
            return None
        return LayoutPrior(self.layout, self.grid, self.conditions, self.drop)


@dataclass(frozen=True)
class Choices:
    """How to sample: the checked arguments of ``Prior.sample``."""

    n: int
    generator: Noise
    guidance: tuple[float, float]
    temperature: float
    top_k: int
    top_p: float
    steps: int
    known: Tensor | None
    grid: tuple[int, int]

    @property
    def guided(self) -> bool:
        """Whether the network must be asked without condition, too."""
        return self.guidance != (1.0, 1.0)

    def scale(self, progress: float | Tensor) -> float | Tensor:
        """The guidance between the first step, 0, and the last, 1."""
        first, last = self.guidance
        return first + (last - first) * progress


class Prior(nn.Module, ABC):
    """Learns which ids (B, h, w) occur, under conditions, and draws such ids."""

    conditioner: Conditioner
    config: PriorConfig

    @property
    def default_steps(self) -> int:
        """Steps that ``sample`` takes if it is not told."""
        return self.config.default_steps

    @property
    @abstractmethod
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens of the training pictures."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @abstractmethod
    def loss(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Terms that the trainer adds up as they are, scalars; and under names that end in "bits",
        which are not to be added up, detached: "bits", of discrete priors, a token, comparable in
        eval mode.

        Parts of the condition that this prior does not take are passed over.
        """

    def forward(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """``loss``, so that wrappers which hook calls see it."""
        return self.loss(ids, condition, generator)

    def learn_vocabulary(self, texts: Iterable[str]) -> None:
        """Before training: the words that a text condition is to know. No text: nothing is done."""
        self.conditioner.learn_vocabulary(texts)

    def sample(
        self,
        condition: Condition | None = None,
        n: int = 1,
        *,
        generator: Noise = None,
        guidance: float | tuple[float, float] = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        steps: int | None = None,
        known: Tensor | None = None,
        grid: tuple[int, int] | None = None,
    ) -> Iterator[Step]:
        """Draw ``n`` pictures' ids, a ``Step`` at a time; the last one is complete.

        The same generator state gives the same picture. Closing the iterator ends the work. Expects
        eval mode.

        Args:
            condition: one for all, one for each of the n, or None.
            generator: for all pictures, or a sequence of n: each picture's own, which then is the
                same whatever others are drawn with it (but for the rounding of products with
                another number of rows, which a draw that falls between two codes may show). See
                ``core.priors.categorical.seeded``.
            guidance: 1 = the condition as it was learnt; more = stressed; 0 = ignored. A pair goes
                evenly from the first step's to the last step's.
            temperature: divides the logits; below 1e-6 as 0, which takes the most likely code.
            top_k: draw only from so many of the most likely codes; 0 = all.
            top_p: of these, only from those that make up this share of the mass, in (0, 1].
            steps: number of steps, for priors that leave a choice.
            known: ids int64 (n, h, w) or (h, w) that are given and kept; -1 = to be drawn.
            grid: rows and columns, if others than those of ``known`` or of the training pictures.

        Raises:
            ValueError: at once, one sentence, for a value that cannot be used.
        """
        choices = self._checked(
            n, generator, guidance, temperature, top_k, top_p, steps, known, grid
        )
        self.conditioner.check(condition, n)
        return self._begin(condition, choices)

    def check_how(
        self,
        guidance: float | tuple[float, float] = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        steps: int | None = None,
    ) -> None:
        """Raise ValueError as ``sample`` would for these settings, also before any training."""
        self._checked(1, None, guidance, temperature, top_k, top_p, steps, None, None)

    def generate(self, condition: Condition | None = None, n: int = 1, **how: object) -> Tensor:
        """The ids int64 (n, h, w) that ``sample`` ends with; same arguments."""
        for step in self.sample(condition, n, **how):  # noqa: B007 - the last one is wanted
            pass
        return step.ids

    def _begin(self, condition: Condition | None, choices: Choices) -> Iterator[Step]:
        """``sample`` with checked arguments."""
        return self._sample(condition, choices)

    @abstractmethod
    def _sample(self, condition: Condition | None, choices: Choices) -> Iterator[Step]:
        """The steps of a picture that is told all it will be told."""

    @abstractmethod
    def _step_limit(self, grid: tuple[int, int]) -> int:
        """Most steps that sampling a grid can take."""

    def _checked(
        self, n, generator, guidance, temperature, top_k, top_p, steps, known, grid
    ) -> Choices:
        if not _whole(n) or n < 1:
            raise ValueError(f"n must be a whole number of pictures, 1 or more, got {n}")
        single = generator is None or isinstance(generator, torch.Generator)
        if not single and len(generator) != n:
            raise ValueError(
                f"generator must be one for all or one for each of the {n} pictures, got "
                f"{len(generator)}"
            )
        pair = guidance if isinstance(guidance, tuple) else (guidance, guidance)
        if len(pair) != 2 or not all(_finite(g) and 0 <= g <= 100 for g in pair):
            raise ValueError(f"guidance must be from 0 to 100, got {guidance}")
        if not _finite(temperature) or not 0 <= temperature <= 100:
            raise ValueError(f"temperature must be from 0 to 100, got {temperature}")
        if not _whole(top_k) or top_k < 0:
            raise ValueError(f"top_k must be a whole number, 0 (= all codes) or more, got {top_k}")
        if not _finite(top_p) or not 0 < top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
        if known is not None:
            known, grid = self._checked_known(known, n, grid)
        grid = self.grid if grid is None else check_grid(grid)
        limit = self._step_limit(grid)
        if steps is None:
            steps = min(self.default_steps, limit)
        elif not _whole(steps) or not 1 <= steps <= limit:
            raise ValueError(f"steps must be a whole number from 1 to {limit}, got {steps}")
        pair = (float(pair[0]), float(pair[1]))
        return Choices(
            n, generator, pair, float(temperature), int(top_k), float(top_p), int(steps), known,
            grid,
        )  # fmt: skip

    def _checked_known(
        self, known: Tensor, n: int, grid: tuple[int, int] | None
    ) -> tuple[Tensor, tuple[int, int]]:
        raise ValueError(f"{type(self).__name__} draws latents, no ids: it takes no known ids")


class TokenPrior(Prior):
    """A prior over token ids."""

    config: TokenPriorConfig
    network: TokenNetwork
    layout: LayoutPrior | None
    learns = "all"
    """What ``loss`` is of in training: "all", or only the "layout" or the "tokens"."""

    def __init__(self, config: TokenPriorConfig, network: TokenNetwork) -> None:
        super().__init__()
        self.config, self.network, self.layout = config, network, config.planner()

    @property
    def conditioner(self) -> Conditioner:
        """The network's conditions."""
        return self.network.conditioner  # held there alone: a state holds each weight once

    @property
    def grid(self) -> tuple[int, int]:
        return tuple(self.config.grid)

    @property
    def codebook_size(self) -> int:
        """K, the number of codes."""
        return self.config.codebook_size

    def learn_vocabulary(self, texts: Iterable[str]) -> None:
        texts = list(texts)
        super().learn_vocabulary(texts)
        if self.layout is not None:
            self.layout.prior.learn_vocabulary(texts)

    def loss(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The terms of ``_loss``, and those of ``LayoutPrior.loss`` of a prior that draws maps,
        where it is told one; "bits" are the tokens' alone then, given the map."""
        ids = self._checked_ids(ids, condition)
        learns = self.learns if self.training else "all"
        losses = {} if learns == "layout" else self._loss(ids, condition, generator)
        told = condition is not None and condition.segmentation is not None
        if self.layout is not None and told and learns != "tokens":
            grid = tuple(ids.shape[1:])
            losses |= self.layout.loss(condition.segmentation, condition, grid, generator)
        return losses

    @abstractmethod
    def _loss(
        self, ids: Tensor, condition: Condition | None, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """``loss`` of the tokens, with checked arguments."""

    def _begin(self, condition: Condition | None, choices: Choices) -> Iterator[Step]:
        # What is known of a picture is no part of a map that is drawn without it.
        told = condition is not None and condition.segmentation is not None
        if self.layout is None or told or choices.known is not None:
            return self._sample(condition, choices)
        return self._planned(self.layout, condition, choices)

    def _planned(
        self, layout: LayoutPrior, condition: Condition | None, choices: Choices
    ) -> Iterator[Step]:
        """The steps of a map, then those of the picture told of it."""
        ahead = choices.grid[0]
        total = ahead + choices.steps
        blank = torch.full((choices.n, *choices.grid), -1, device=self.device)
        for step in layout.sample(condition, choices):
            drawn = step.ids
            yield Step(blank, step.done, total, drawn)
        condition = condition or Condition()
        if len(condition) == 1:
            condition = condition.repeat(choices.n)
        condition = replace(condition, segmentation=drawn)
        for step in self._sample(condition, choices):
            yield step._replace(done=ahead + step.done, total=ahead + step.total, layout=drawn)

    def _checked_ids(self, ids: Tensor, condition: Condition | None) -> Tensor:
        """Training ids (B, h, w) as they should be."""
        if ids.ndim != 3 or ids.is_floating_point():
            raise ValueError(f"token ids must be integers (B, h, w), got {tuple(ids.shape)}")
        low, high = (int(bound) for bound in ids.aminmax())
        if low < 0 or high >= self.codebook_size:
            raise ValueError(
                f"token ids must be from 0 to {self.codebook_size - 1}, got {low} to {high}: "
                "they are another tokenizer's"
            )
        self.conditioner.check(condition, len(ids), surplus=True)
        return ids

    def _checked_known(
        self, known: Tensor, n: int, grid: tuple[int, int] | None
    ) -> tuple[Tensor, tuple[int, int]]:
        shape = tuple(known.shape)
        fits = len(shape) == 2 or (len(shape) == 3 and shape[0] == n)
        if not fits or known.is_floating_point():
            raise ValueError(f"known must be integers (h, w) or ({n}, h, w), got {shape}")
        if grid is not None and tuple(grid) != shape[-2:]:
            raise ValueError(f"known is of {shape[-2]} x {shape[-1]} tokens, grid asks for {grid}")
        check_grid(shape[-2:])
        low, high = (int(bound) for bound in known.aminmax())
        if low < -1 or high >= self.codebook_size:
            raise ValueError(
                f"known ids must be from 0 to {self.codebook_size - 1}, or -1 where they are to "
                f"be drawn, got {low} to {high}"
            )
        return known.to(self.device).expand(n, *shape[-2:]), shape[-2:]


def check_grid(grid: tuple[int, int]) -> tuple[int, int]:
    """``grid`` as a pair of whole numbers, or ValueError."""
    if len(grid) != 2 or not all(_whole(side) and side >= 1 for side in grid):
        raise ValueError(f"grid must be a number of rows and one of columns, got {grid}")
    if grid[0] * grid[1] > MOST_TOKENS:
        raise ValueError(f"grid must have at most {MOST_TOKENS:,} tokens, got {grid}")
    return int(grid[0]), int(grid[1])


def check_patch(patch: int) -> None:
    """ValueError unless ``patch`` is a side that squares of tokens can have."""
    if not _whole(patch) or not 1 <= patch <= 8:
        raise ValueError(f"patch must be a whole number from 1 to 8, got {patch}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
