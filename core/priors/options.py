"""The options of sampling, and the steps that it yields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from torch import Tensor

from .categorical import Generators

MAX_TOKENS = 2**14

Progress = TypeVar("Progress", float, Tensor)


class Step(NamedTuple):
    """The state of the pictures during sampling, after ``done`` of ``total`` steps."""

    ids: Tensor
    """Token ids int64 (n, h, w), or (n, L, h, w) with several levels, -1 where a token is not drawn
    yet; of a latent prior, latents float32 (n, D, h, w)."""
    done: int
    total: int
    layout: Tensor | None = None
    """The semantic map of a prior that draws one first: class ids int64 (n, h, w), 255 = unlabeled,
    -1 where a cell is not drawn yet."""

    @property
    def sketching(self) -> bool:
        """True while the semantic map is drawn, before the first token."""
        return self.layout is not None and int(self.ids.max()) < 0


@dataclass(frozen=True, kw_only=True)
class _Options:
    n: int = 1
    generator: Generators = None
    guidance: float | tuple[float, float] = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    known: Tensor | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.n) or self.n < 1:
            raise ValueError(f"n must be a whole number of pictures, 1 or more, got {self.n}")
        if isinstance(self.generator, Sequence) and len(self.generator) != self.n:
            raise ValueError(
                f"generator must be one for all or one for each of the {self.n} pictures, got "
                f"{len(self.generator)}"
            )
        pair = self._guidance_pair
        if len(pair) != 2 or not all(_is_finite(g) and 0 <= g <= 100 for g in pair):
            raise ValueError(f"guidance must be from 0 to 100, got {self.guidance}")
        if not _is_finite(self.temperature) or not 0 <= self.temperature <= 100:
            raise ValueError(f"temperature must be from 0 to 100, got {self.temperature}")
        if not is_whole(self.top_k) or self.top_k < 0:
            raise ValueError(
                f"top_k must be a whole number, 0 (= all codes) or more, got {self.top_k}"
            )
        if not _is_finite(self.top_p) or not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")

    @property
    def _guidance_pair(self) -> tuple[float, float]:
        guidance = self.guidance
        return guidance if isinstance(guidance, tuple) else (guidance, guidance)

    @property
    def guided(self) -> bool:
        """True if the network must also be evaluated without its condition."""
        return self._guidance_pair != (1.0, 1.0)

    def guidance_at(self, progress: Progress) -> Progress:
        """Return the guidance at ``progress``: 0 = the first step, 1 = the last."""
        first, last = self._guidance_pair
        return first + (last - first) * progress


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(_Options):
    """The options of ``Prior.sample``, which documents them.

    Raises ValueError, one sentence, for a value that no prior can use.
    """

    steps: int | None = None
    grid: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class ResolvedOptions(_Options):
    """The options of a sampler: steps and grid are set, and known ids are (n, h, w)."""

    steps: int
    grid: tuple[int, int]


def check_grid(grid: tuple[int, ...]) -> tuple[int, int]:
    """Return ``grid`` as a pair of whole numbers. Raises ValueError if it is not such a pair."""
    if len(grid) != 2 or not all(is_whole(side) and side >= 1 for side in grid):
        raise ValueError(f"grid must be a number of rows and one of columns, got {grid}")
    if grid[0] * grid[1] > MAX_TOKENS:
        raise ValueError(f"grid must have at most {MAX_TOKENS:,} tokens, got {grid}")
    return int(grid[0]), int(grid[1])


def is_whole(value: object) -> bool:
    """Return True for an integer that is not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
