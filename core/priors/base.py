"""The contract of every prior: how it is trained, sampled, saved and loaded."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..bundles.bundle import FORMAT, Bundle, bundle_of_kind
from ..bundles.storage import load_weights, state_for_disk, write_folder
from ..conditions import CONDITIONS, Condition, ConditionConfig, Conditioner
from ..config import from_dict, to_dict
from ..errors import CheckpointError
from .categorical import Generators

MOST_TOKENS = 2**14


class Step(NamedTuple):
    """One state of the pictures while they are sampled, after ``done`` of ``total`` steps."""

    ids: Tensor
    """Token ids int64 (n, h, w), -1 where none is drawn yet; of a latent prior, latents float32
    (n, D, h, w)."""
    done: int
    total: int
    layout: Tensor | None = None
    """The semantic map of a prior that draws one first: class ids int64 (n, h, w), 255 = unlabelled
    and -1 where none is drawn yet."""

    @property
    def sketching(self) -> bool:
        """Whether the map is being drawn and no token is drawn yet."""
        return self.layout is not None and int(self.ids.max()) < 0


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """The options of ``Prior.sample``, which documents them.

    Raises ValueError, in one sentence, for a value that no prior can use. ``Prior.sample`` fills in
    ``steps`` and ``grid``.
    """

    n: int = 1
    generator: Generators = None
    guidance: float | tuple[float, float] = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    steps: int | None = None
    known: Tensor | None = None
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not _whole(self.n) or self.n < 1:
            raise ValueError(f"n must be a whole number of pictures, 1 or more, got {self.n}")
        single = self.generator is None or isinstance(self.generator, torch.Generator)
        if not single and len(self.generator) != self.n:
            raise ValueError(
                f"generator must be one for all or one for each of the {self.n} pictures, got "
                f"{len(self.generator)}"
            )
        pair = self._guidance_pair
        if len(pair) != 2 or not all(_finite(g) and 0 <= g <= 100 for g in pair):
            raise ValueError(f"guidance must be from 0 to 100, got {self.guidance}")
        if not _finite(self.temperature) or not 0 <= self.temperature <= 100:
            raise ValueError(f"temperature must be from 0 to 100, got {self.temperature}")
        if not _whole(self.top_k) or self.top_k < 0:
            raise ValueError(
                f"top_k must be a whole number, 0 (= all codes) or more, got {self.top_k}"
            )
        if not _finite(self.top_p) or not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")

    @property
    def _guidance_pair(self) -> tuple[float, float]:
        guidance = self.guidance
        return guidance if isinstance(guidance, tuple) else (guidance, guidance)

    @property
    def guided(self) -> bool:
        """Whether the network must also be evaluated without its condition."""
        return self._guidance_pair != (1.0, 1.0)

    def guidance_at(self, progress: float | Tensor) -> float | Tensor:
        """Return the guidance at ``progress``: 0 = the first step, 1 = the last."""
        first, last = self._guidance_pair
        return first + (last - first) * progress


class PriorConfig(Protocol):
    """The config of a prior: a frozen dataclass with these members."""

    @property
    def conditions(self) -> tuple[ConditionConfig, ...]: ...

    @property
    def default_steps(self) -> int: ...

    def build(self) -> Prior: ...


class Prior(nn.Module, ABC):
    """A distribution of token ids (B, h, w) under conditions: trained on ids, sampled for ids."""

    conditioner: Conditioner
    config: PriorConfig
    draws_layout: ClassVar[bool] = False
    """Whether ``sample`` draws a semantic map first where it is given none."""

    @classmethod
    def from_pretrained(cls, source: str | Path | Bundle, device: str = "cpu") -> Prior:
        """Load the prior of a bundle or run folder: float32, in eval mode, without gradients.

        Its tokenizer is ``core.checkpoints.prior_tokenizer(source)``. Raises CheckpointError for a
        folder without a prior, of another format, or with weights that do not fit.
        """
        bundle = bundle_of_kind(source, "prior")
        config = prior_config(bundle.config.get("prior"), bundle.path / "config.json")
        return load_weights(config.build(), bundle.path / "model.safetensors").to(device)

    def save_pretrained(
        self,
        path: str | Path,
        *,
        tokenizer: Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        card: str = "",
        metrics: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        half: bool = True,
    ) -> Bundle:
        """Write the prior's bundle to ``path``, replacing one that is there.

        Args:
            tokenizer: ``{"name", "fingerprint"}`` of the tokenizer whose ids it draws.
            data: ``{"name", "classes", "palette"}``, the classes and colors of semantic maps.
            sampling: the best options of ``sample``.
            half: store floating-point weights in float16.
        """
        config = {
            "format": FORMAT,
            "kind": "prior",
            "prior": describe_prior(self.config),
            "tokenizer": dict(tokenizer),
            "data": dict(data or {}),
            "sampling": dict(sampling or {}),
            "recipe": dict(recipe or {}),
        }
        write_folder(Path(path), config, state_for_disk(self, half), card, metrics)
        return Bundle(Path(path).name, Path(path))

    @property
    def default_steps(self) -> int:
        """The number of sampling steps where ``sample`` is given none."""
        return self.config.default_steps

    @property
    @abstractmethod
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens of the training pictures."""

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @abstractmethod
    def loss(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss terms, scalars, of ids int64 (B, h, w).

        The trainer adds the terms as they are. Terms whose names end in "bits" are detached and not
        added: "bits" is the loss of a discrete prior in bits per token, comparable in eval mode.
        Parts of the condition that this prior does not use are ignored.
        """

    def forward(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss``, so that wrappers which hook calls see it."""
        return self.loss(ids, condition, generator)

    def learn_vocabulary(self, texts: Iterable[str]) -> None:
        """Set the vocabulary of the text condition, before training; without one, do nothing."""
        self.conditioner.learn_vocabulary(texts)

    def sample(
        self,
        condition: Condition | None = None,
        n: int = 1,
        *,
        generator: Generators = None,
        guidance: float | tuple[float, float] = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        steps: int | None = None,
        known: Tensor | None = None,
        grid: tuple[int, int] | None = None,
    ) -> Iterator[Step]:
        """Draw the ids of ``n`` pictures and yield each ``Step``; the last one is complete.

        The same generator state gives the same pictures. Closing the iterator stops the work. The
        prior must be in eval mode.

        Args:
            condition: one for all pictures, one for each of the n, or None.
            generator: one for all pictures, or a sequence of n. With one for each, a picture does
                not depend on those it is drawn with (except for the rounding of products with
                another number of rows, which can decide a draw that falls between two codes). See
                ``core.priors.categorical.seeded``.
            guidance: classifier-free guidance: 1 = the condition as it was learned, more = a
                stronger condition, 0 = none. A pair changes linearly from the first step to the
                last.
            temperature: divides the logits; below 1e-6, the most likely code is taken.
            top_k: draw only from this number of the most likely codes; 0 = all.
            top_p: of these, only from those that hold this share of the mass, in (0, 1].
            steps: number of steps, for priors that leave a choice.
            known: ids int64 (n, h, w) or (h, w) to keep; -1 = to be drawn.
            grid: rows and columns, if other than those of ``known`` or of the training pictures.

        Raises:
            ValueError: at once, in one sentence, for a value that cannot be used.
        """
        options = self._resolved(
            SamplingOptions(
                n=n,
                generator=generator,
                guidance=guidance,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                steps=steps,
                known=known,
                grid=grid,
            )
        )
        self.conditioner.check(condition, n)
        return self._sample(condition, options)

    def validate_sampling(
        self,
        guidance: float | tuple[float, float] = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        steps: int | None = None,
    ) -> None:
        """Raise ValueError as ``sample`` would for these options; works before any training."""
        self._resolved(
            SamplingOptions(
                guidance=guidance, temperature=temperature, top_k=top_k, top_p=top_p, steps=steps
            )
        )

    def generate(self, condition: Condition | None = None, n: int = 1, **options: Any) -> Tensor:
        """Return the ids int64 (n, h, w) with which ``sample`` ends; same arguments."""
        for step in self.sample(condition, n, **options):  # noqa: B007 (the last one is wanted)
            pass
        return step.ids

    @abstractmethod
    def _sample(self, condition: Condition | None, options: SamplingOptions) -> Iterator[Step]:
        """Yield the steps of ``sample`` for options that were resolved."""

    @abstractmethod
    def _step_limit(self, grid: tuple[int, int]) -> int:
        """Return the largest number of steps that sampling a grid can take."""

    def _resolved(self, options: SamplingOptions) -> SamplingOptions:
        """Fill in ``known``, ``grid`` and ``steps``. Raises ValueError as ``sample``."""
        if options.known is not None:
            options = self._with_known(options, options.known)
        grid = self.grid if options.grid is None else check_grid(options.grid)
        limit, steps = self._step_limit(grid), options.steps
        if steps is None:
            steps = min(self.default_steps, limit)
        elif not _whole(steps) or not 1 <= steps <= limit:
            raise ValueError(f"steps must be a whole number from 1 to {limit}, got {steps}")
        return replace(options, grid=grid, steps=steps)

    def _with_known(self, options: SamplingOptions, known: Tensor) -> SamplingOptions:
        """Check ``known`` and expand it to (n, h, w), which is then the grid."""
        raise ValueError(f"{type(self).__name__} draws latents, not ids: it takes no known ids")


class PriorKind(NamedTuple):
    """One kind of prior."""

    config: type
    build: Callable[[Any], Prior]
    """Builds the untrained prior of a config."""


PRIORS: dict[str, PriorKind] = {}
"""The kinds of prior by the names that config.json uses; filled by ``core.priors``. A name, once
shipped, stays."""


def kind_of(config: PriorConfig) -> str:
    """Return the name of a prior's kind in config.json."""
    return next(name for name, kind in PRIORS.items() if type(config) is kind.config)


def build_prior(config: PriorConfig) -> Prior:
    """Build the untrained prior of a config."""
    return PRIORS[kind_of(config)].build(config)


def describe_prior(config: PriorConfig) -> dict[str, Any]:
    """Return a prior's config as JSON: its settings and conditions, each tagged with its name."""
    conditions = [to_dict(condition, CONDITIONS) for condition in config.conditions]
    return {"name": kind_of(config), **asdict(config), "conditions": conditions}


def prior_config(described: Any, file: Path | str = "config.json") -> PriorConfig:
    """Return the config that ``describe_prior`` wrote. Raises CheckpointError naming ``file``."""
    try:
        settings = dict(described)
        kind = PRIORS[settings.pop("name")]
        conditions = tuple(from_dict(each, CONDITIONS) for each in settings.pop("conditions"))
        return from_dict(settings, kind.config, conditions=conditions)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} does not describe a prior: {error}.") from None


def check_grid(grid: tuple[int, int]) -> tuple[int, int]:
    """Return ``grid`` as a pair of whole numbers. Raises ValueError."""
    if len(grid) != 2 or not all(_whole(side) and side >= 1 for side in grid):
        raise ValueError(f"grid must be a number of rows and one of columns, got {grid}")
    if grid[0] * grid[1] > MOST_TOKENS:
        raise ValueError(f"grid must have at most {MOST_TOKENS:,} tokens, got {grid}")
    return int(grid[0]), int(grid[1])


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
