"""The interface of every prior: training, sampling, saving and loading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..bundles.bundle import FORMAT, Bundle, bundle_of_kind, load_bundle, open_bundle
from ..bundles.storage import load_weights, state_for_disk, write_folder
from ..conditions import CONDITIONS, Condition, ConditionConfig, Conditioner
from ..config import entry_of, from_dict, to_dict
from ..errors import CheckpointError
from .categorical import Generators
from .options import ResolvedOptions, SamplingOptions, Step, check_grid, is_whole


class PriorConfig(Protocol):
    """The config of a prior: a frozen dataclass with these members."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def conditions(self) -> tuple[ConditionConfig, ...]: ...

    @property
    def grid(self) -> tuple[int, int]: ...

    @property
    def default_steps(self) -> int: ...

    def build(self) -> Prior[Any]: ...


Config = TypeVar("Config", bound=PriorConfig)


class Prior(nn.Module, ABC, Generic[Config]):
    """A distribution of token ids (B, h, w) under conditions: trained on ids, sampled for ids.

    Of a tokenizer with several levels, ids are (B, L, h, w) here and below.
    """

    conditioner: Conditioner
    config: Config
    draws_layout: ClassVar[bool] = False
    """True if ``sample`` draws a semantic map first when its condition has none."""

    @classmethod
    def from_pretrained(cls, source: str | Path | Bundle, device: str = "cpu") -> Prior[Any]:
        """Load the prior of a bundle or run folder: float32, in eval mode, without gradients.

        ``source`` is a folder, or a repository of the Hugging Face Hub, as for a tokenizer. The
        prior's class is that of the bundle's config, whatever class this method is called on.
        ``core.checkpoints.prior_tokenizer(source)`` is the bundle of its tokenizer. Raises
        CheckpointError for a folder without a prior, of another format, or with weights that are
        damaged or do not fit.
        """

        def load(bundle: Bundle, sha256: str | None) -> Prior[Any]:
            bundle = bundle_of_kind(bundle, "prior")
            config = prior_config(bundle.config.get("prior"), bundle.path / "config.json")
            return load_weights(config.build(), bundle.path / "model.safetensors", sha256)

        return load_bundle(open_bundle(source), load).to(device)

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
        """Write the prior's bundle to ``path``, replacing one that exists.

        Args:
            tokenizer: ``{"name", "fingerprint"}`` of the tokenizer whose ids it draws.
            data: ``{"name", "classes", "palette"}``, the classes and colors of semantic maps.
            sampling: the recommended options of ``sample``.
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
        """The number of sampling steps of ``sample`` by default."""
        return self.config.default_steps

    @property
    def grid(self) -> tuple[int, int]:
        """The rows and columns of tokens of the training pictures."""
        rows, columns = self.config.grid
        return rows, columns

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def loss(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss terms, scalars, of ids int64 (B, h, w).

        The trainer adds the terms as they are, except terms whose names end in "bits": these are
        detached. "bits" is the loss of a discrete prior in bits per token, comparable between
        priors in eval mode. Parts of the condition that this prior does not take are ignored.

        Raises ValueError as ``check_training_batch``.
        """
        self.check_training_batch(ids, condition)
        return self.forward(ids, condition, generator)

    @abstractmethod
    def check_training_batch(self, ids: Tensor, condition: Condition | None) -> None:
        """Raise ValueError unless ``loss`` can use ids and condition.

        It looks at their values. Where they are on a GPU, the host waits for them.
        """

    @abstractmethod
    def forward(
        self,
        ids: Tensor,
        condition: Condition | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return ``loss`` for arguments that were checked, as the trainer does on the CPU."""

    def learn_vocabulary(self, texts: Iterable[str]) -> None:
        """Set the vocabulary of a text condition, before training; without one, do nothing."""
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

        The same state of the generator gives the same pictures. Closing the iterator stops the
        computation. The prior must be in eval mode. The host waits for a GPU once, before the last
        step, to look at the logits, and twice before the first one if there are known ids.

        Args:
            condition: one for all pictures, one for each of the n, or None.
            generator: one for all pictures, or a sequence of n. With one for each picture, a
                picture does not depend on the others of its batch, except for rounding, which
                depends on the number of rows and can decide a draw that falls between two codes.
                See ``core.priors.categorical.seeded``.
            guidance: classifier-free guidance: 1 = the condition as it was learned, more = a
                stronger condition, 0 = none. A pair changes linearly from the first step to the
                last.
            temperature: divides the logits; below 1e-6, the most likely code is taken.
            top_k: draw only from this number of the most likely codes; 0 = all.
            top_p: of these, only from those that hold this share of the mass, in (0, 1].
            steps: number of steps, by default ``default_steps``; fixed for some priors.
            known: ids int64 (n, h, w) or (h, w) to keep; -1 = to be drawn.
            grid: rows and columns, by default those of ``known`` or of the training pictures.

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
        """Return the ids int64 (n, h, w) of the last step of ``sample``; same arguments."""
        return deque(self.sample(condition, n, **options), maxlen=1).pop().ids

    @abstractmethod
    def _sample(self, condition: Condition | None, options: ResolvedOptions) -> Iterator[Step]:
        """Yield the steps of ``sample`` for resolved options."""

    @abstractmethod
    def _step_limit(self, grid: tuple[int, int]) -> int:
        """Return the largest number of steps that sampling a grid can take."""

    def _resolved(self, options: SamplingOptions) -> ResolvedOptions:
        """Return options with ``known``, ``grid`` and ``steps`` set; errors as ``sample``."""
        if options.known is not None:
            options = self._with_known(options, options.known)
        grid = self.grid if options.grid is None else check_grid(options.grid)
        steps = self._step_count(options.steps, grid)
        return ResolvedOptions(**vars(options) | {"grid": grid, "steps": steps})

    def _with_known(self, options: SamplingOptions, known: Tensor) -> SamplingOptions:
        """Return options with ``known`` checked and expanded to (n, h, w), and its grid."""
        raise ValueError(f"{type(self).__name__} draws latents, not ids: it takes no known ids")

    def _step_count(self, steps: int | None, grid: tuple[int, int]) -> int:
        """Return the number of steps, by default ``default_steps``. Raises ValueError."""
        limit = self._step_limit(grid)
        if steps is None:
            return min(self.default_steps, limit)
        if not is_whole(steps) or not 1 <= steps <= limit:
            raise ValueError(f"steps must be a whole number from 1 to {limit}, got {steps}")
        return steps


class PriorKind(NamedTuple):
    """One kind of prior."""

    config: type
    build: Callable[[Any], Prior[Any]]
    """Builds the untrained prior of a config."""


PRIORS: dict[str, PriorKind] = {}
"""The kinds of prior by the names in config.json, filled by ``core.priors``. A name that was
published never changes."""


def kind_of(config: PriorConfig) -> str:
    """Return the name of a prior's kind in config.json."""
    return next(name for name, kind in PRIORS.items() if type(config) is kind.config)


def build_prior(config: PriorConfig) -> Prior[Any]:
    """Build the untrained prior of a config."""
    return PRIORS[kind_of(config)].build(config)


def describe_prior(config: PriorConfig) -> dict[str, Any]:
    """Return a prior's config as JSON: its settings and its conditions, each with its name."""
    conditions = [to_dict(condition, CONDITIONS) for condition in config.conditions]
    described = {"name": kind_of(config), **asdict(config), "conditions": conditions}
    if described.get("levels") == 1:  # bundles are older than the choice
        del described["levels"]
    return described


def prior_config(described: Any, file: Path | str = "config.json") -> PriorConfig:
    """Return the config that ``describe_prior`` wrote. Raises CheckpointError naming ``file``."""
    try:
        settings = dict(described)
        kind = entry_of(PRIORS, settings.pop("name"))
        conditions = tuple(from_dict(each, CONDITIONS) for each in settings.pop("conditions"))
        return from_dict(settings, kind.config, conditions=conditions)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} does not describe a prior: {error}.") from None
