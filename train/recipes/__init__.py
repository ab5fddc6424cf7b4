"""The recipes by name. A recipe is a function that returns the whole config of a run.

Its docstring says what it trains, the published figure that it aims at, and which settings are
INFERRED. Listing the recipes imports none of them: the lines are read from their source, so that
``python train/run.py --help`` answers without torch.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..cli.errors import UsageError

if TYPE_CHECKING:
    from ..config.base import CommonConfig

Recipe = Callable[..., Any]


class Group(NamedTuple):
    """Recipes of one purpose, all in one module of this package."""

    title: str
    module: str
    names: tuple[str, ...]


GROUPS = (
    Group(
        "Tokenizers of your photographs (--data.root DIR)",
        "photos",
        (
            "photos-regvq", "photos-regvq-last", "photos-regvq-16k", "imagenette128-nsvq-16k",
            "imagenette128-simvq-16k", "photos-regvq-decoder", "photos-nsvq", "photos-simvq",
            "photos-vq", "photos-vq-last", "photos-vqvae", "photos-gumbel", "photos-fsq",
            "photos-lfq", "photos-ibq", "photos-vqgan", "birds-facades-regvq",
        ),
    ),
    Group("Any tokenizer, trained further (--init DIR --data.root DIR)", "finetune", ("finetune",)),
    Group("Tokenizers of drawn scenes (no files needed)", "scenes", ("scenes-regvq", "scenes-vq")),
    Group(
        "Priors of drawn scenes (no files needed)",
        "priors",
        ("scenes-text-diffusion", "scenes-semantic-ar", "scenes-masked", "scenes-latent"),
    ),
    Group(
        "Priors of photographs (--data.root DIR)",
        "priors",
        (
            "imagenette-class-ar", "imagenette-class-masked", "birds-text-ar",
            "birds-text-diffusion", "facades-semantic-ar", "coco-text-diffusion",
        ),
    ),
    Group(
        "Tokenizers at the papers' scale: Reg-VQ and its baselines",
        "papers.regvq",
        (
            "ade20k-regvq", "ade20k-vq", "ade20k-gumbel", "celebamask-regvq", "celebamask-vq",
            "cub-regvq", "cub-gumbel", "coco-regvq",
        ),
    ),
    Group(
        "Tokenizers at the papers' scale: ImageNet",
        "papers.imagenet",
        (
            "imagenet128-simvq-65k", "imagenet128-nsvq-65k", "imagenet128-vq-65k",
            "imagenet256-simvq-65k", "imagenet256-nsvq-65k", "imagenet256-vq",
            "imagenet256-vq-16k",
        ),
    ),
    Group(
        "Priors at the papers' scale",
        "papers.priors",
        (
            "ade20k-semantic-ar", "celebamask-semantic-ar", "cub-text-diffusion",
            "coco-text-diffusion-large", "imagenet128-latent",
        ),
    ),
)  # fmt: skip
"""All recipes, in the order of the list. The recipe ``a-b`` is the function ``a_b`` of its module,
which is imported when one of its recipes is asked for."""

_GROUP_OF = {name: group for group in GROUPS for name in group.names}
NAMES = tuple(_GROUP_OF)
_OWN: dict[str, Recipe] = {}  # recipes of the user's own files, by FILE.py:NAME


def add_recipe(name: str, recipe: Recipe) -> None:
    """Make a recipe of the user's own known under ``name``, for this process."""
    _OWN[name] = recipe


def is_known(name: str) -> bool:
    """Return True if there is a recipe of this name."""
    return name in _OWN or name in _GROUP_OF


def recipe_of(name: str) -> Recipe:
    """Return the function of a recipe. Raises UsageError, with similar names, if it is unknown."""
    if name in _OWN:
        return _OWN[name]
    if name not in _GROUP_OF:
        similar = difflib.get_close_matches(name, NAMES, n=3)
        hint = f"; similar names: {', '.join(similar)}" if similar else ""
        raise UsageError(f"unknown recipe {name!r}{hint}")
    module = importlib.import_module(f".{_GROUP_OF[name].module}", __package__)
    return getattr(module, name.replace("-", "_"))


def config_of(name: str, steps: int | None = None) -> CommonConfig:
    """Return the config of the recipe ``name``, which has its name. Raises UsageError.

    ``steps``: the length of the run, for a recipe with settings that follow from it; such a recipe
    is a function that takes ``steps``. None: the recipe's own.
    """
    recipe = recipe_of(name)
    follows = steps is not None and "steps" in inspect.signature(recipe).parameters
    return replace(recipe(steps=steps) if follows else recipe(), recipe=name)


def summary_of(name: str) -> str:
    """Return the first line of a recipe's docstring, without importing its module."""
    docstring = _docstrings(_GROUP_OF[name].module).get(name.replace("-", "_"), "")
    return docstring.partition("\n")[0]


@lru_cache
def _docstrings(module: str) -> dict[str, str]:
    """Return the docstrings of a module's functions, read from its source."""
    file = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        entry.name: ast.get_docstring(entry) or ""
        for entry in tree.body
        if isinstance(entry, ast.FunctionDef)
    }
