"""Recipes of your own: ``--recipe FILE.py:NAME``.

FILE.py is a Python file of yours, NAME a function in it without arguments that returns a RunConfig
or a PriorRunConfig::

    from dataclasses import replace
    from regvq_train.recipes import config_of

    def small():
        "My photographs with 256 codes."
        run = config_of("photos-regvq")
        quantizer = replace(run.tokenizer.quantizer, size=256)
        return replace(run, tokenizer=replace(run.tokenizer, quantizer=quantizer))

The file may also define a quantizer or a data set and register it (``register_quantizer`` of
regvq.quantizers, ``register_dataset`` of regvq.data). Other commands import it by the same flag,
the explorer by the environment variable REGVQ_EXTENSIONS.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from regvq.extensions import ExtensionError, describe_error, load_file

from ..cli.errors import UsageError
from . import Recipe, add_recipe

_SPELLING = re.compile(r"(?P<file>.+\.py)(?::(?P<name>.*))?")


def is_own(text: str) -> bool:
    """Return True if ``text`` names a Python file, FILE.py or FILE.py:NAME."""
    return _SPELLING.fullmatch(text) is not None


def load_own_file(text: str | None) -> None:
    """Import the file of FILE.py or FILE.py:NAME, which registers its quantizers and data sets.

    None imports nothing. Raises UsageError, one sentence, for a file that cannot be imported.
    """
    if text is None:
        return
    found = _SPELLING.fullmatch(text)
    if found is None:
        raise UsageError(f"--recipe {text} must name a Python file, FILE.py or FILE.py:NAME")
    _import(found["file"])


def load_own_recipe(text: str) -> str:
    """Import the recipe of FILE.py:NAME and return its name in cards and run folders.

    The name is the file's name without its folder, and the function's: bundles are published, and
    paths are private. Raises UsageError, one sentence, for a file that cannot be imported, or for
    a name that is not a recipe.
    """
    found = _SPELLING.fullmatch(text)
    module = _import(found["file"])
    name = f"{Path(found['file']).name}:{found['name']}"
    recipe = _function(module, found["file"], found["name"])
    add_recipe(name, recipe)
    _check(_call(recipe, name, Path(module.__file__)), name)
    return name


def default_folder(name: str) -> str:
    """Return the name of a recipe's run folder: FILE-NAME for a recipe of one's own."""
    return name.replace(".py:", "-")


def _import(file: str) -> ModuleType:
    try:
        return load_file(Path(file))
    except ExtensionError as error:
        raise UsageError(f"--recipe {error}") from None


def _function(module: ModuleType, file: str, name: str | None) -> Recipe:
    available = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    ]
    functions = f"functions in it: {', '.join(available) or 'none'}"
    if not name:
        raise UsageError(f"--recipe {file} must also name a function, {file}:NAME; {functions}")
    if not hasattr(module, name):
        raise UsageError(f"--recipe {file} has no {name!r}; {functions}")
    recipe = getattr(module, name)
    if not callable(recipe):
        raise UsageError(f"--recipe {file}:{name} is not a function; {functions}")
    try:
        parameters = inspect.signature(recipe).parameters.values()
    except (TypeError, ValueError):
        parameters = ()
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in optional]
    if needed:
        raise UsageError(
            f"--recipe {file}:{name} must take no arguments, but it needs {', '.join(needed)}"
        )
    return recipe


def _call(recipe: Recipe, name: str, file: Path) -> Any:
    try:
        return recipe()
    except (Exception, SystemExit) as error:
        said = describe_error(error, file)
        raise UsageError(f"--recipe {name} raised an error: {said}") from error


def _check(config: Any, name: str) -> None:
    """Raise UsageError unless ``config`` can be trained and stored in a bundle."""
    from regvq.quantizers import QUANTIZERS

    from ..config.prior import PriorRunConfig
    from ..config.tokenizer import RunConfig

    if not isinstance(config, (RunConfig, PriorRunConfig)):
        raise UsageError(
            f"--recipe {name} must return a RunConfig or a PriorRunConfig, but it returns "
            f"{_kind(config)}"
        )
    if isinstance(config, RunConfig):
        kind = type(config.tokenizer.quantizer)
        if kind not in QUANTIZERS.values():
            raise UsageError(
                f"--recipe {name} uses {kind.__name__}, which is not a registered quantizer; call "
                "regvq.quantizers.register_quantizer in its file"
            )
    try:
        json.dumps(asdict(config), default=_path_text)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--recipe {name} has a setting that JSON cannot hold: {error}") from None


def _path_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} is {_kind(value)}")


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
