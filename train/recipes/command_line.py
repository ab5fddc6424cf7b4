"""The command line of ``train/run.py``: the list of the recipes, and the choice of one."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING

from ..cli.errors import UsageError
from . import GROUPS, config_of, recipe_of, summary_of
from .own_file import is_own, load_own_recipe

if TYPE_CHECKING:
    from ..config.base import CommonConfig


def recipe_list() -> str:
    """Return all recipes, grouped by purpose, a line each."""
    lines = []
    for group in GROUPS:
        lines += [group.title, *(f"  {name:<26} {summary_of(name)}" for name in group.names), ""]
    return "\n".join(lines).rstrip()


def parse_run(arguments: list[str], program: str) -> CommonConfig:
    """Return the config that a command line asks for. Only its recipe is imported.

    Exits with code 0 after printing the help of the recipe. Raises UsageError, or exits with code
    2, for a wrong command line.
    """
    from ..cli.config_flags import parse_config

    asked, flags = _split(arguments, program)
    name = load_own_recipe(asked) if is_own(asked) else asked
    try:
        description = inspect.getdoc(recipe_of(name)) or ""
    except UsageError as error:
        raise UsageError(f"{error} ({program} --help lists the recipes)") from None
    usual, words = config_of(name), {"program": f"{program} {asked}", "description": description}
    config = parse_config(usual, flags, **words)
    fitting = config_of(name, config.steps)
    if replace(fitting, steps=usual.steps) == usual:  # nothing else follows from the steps
        return config
    return parse_config(fitting, flags, **words)


def _split(arguments: list[str], program: str) -> tuple[str, list[str]]:
    """Return the recipe, which is given first or by --recipe, and the other arguments."""
    for index, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag != "--recipe":
            continue
        if equals:
            return value, arguments[:index] + arguments[index + 1 :]
        if index + 1 < len(arguments):
            return arguments[index + 1], arguments[:index] + arguments[index + 2 :]
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(f"name a recipe: {program} RECIPE ({program} --help lists the recipes)")
    return arguments[0], arguments[1:]
