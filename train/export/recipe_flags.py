"""The flags that a run adds to its recipe, for the card: they make the run repeatable."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ..config.base import CommonConfig
from ..recipes import config_of, is_known

# Settings that the card states elsewhere, that do not change the result, or that are local paths.
_LEFT_OUT = (
    "recipe", "steps", "out", "log_every", "save_every", "validate_every", "stop_after",
    "precision", "tracker", "accumulate", "checkpointing", "compile",
    "init", "tokens", "tokenizer", "data.root", "data.workers", "features.weights",
    "prior.codebook_size", "prior.grid", "prior.levels",
)  # fmt: skip


def recipe_flags(config: CommonConfig) -> str:
    """Return the flags that turn a run's recipe into ``config``; "" if the recipe is unknown."""
    if not is_known(config.recipe):
        return ""
    return flags_beyond(config, config_of(config.recipe, config.steps))


def flags_beyond(config: CommonConfig, recipe: CommonConfig) -> str:
    """Return the flags that turn ``recipe`` into ``config``, as on a command line; no paths."""
    return " ".join(
        f"--{name.replace('_', '-')} {_shown(value)}"
        for name, value in _differing(config, recipe, "")
    )


def _differing(config: Any, recipe: Any, prefix: str) -> list[tuple[str, Any]]:
    found = []
    for setting in fields(config):
        name = prefix + setting.name
        value, usual = getattr(config, setting.name), getattr(recipe, setting.name, None)
        if value == usual or (name in _LEFT_OUT and not is_dataclass(value)):
            continue
        if is_dataclass(value) and type(value) is type(usual):
            found += _differing(value, usual, f"{name}.")
        elif not is_dataclass(value) and not isinstance(value, Path):
            found.append((name, value))
    return found


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
