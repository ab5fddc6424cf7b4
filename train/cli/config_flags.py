"""A run's config as flags: the settings that people change first, then all others.

tyro makes one box of help per dataclass, so the flags of a nested config are flattened first: each
setting becomes a flag named by its path (``--loss.l1``). Parsing therefore needs no union of
configs: a recipe may hold any frozen dataclass, such as the config of a quantizer of one's own.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, fields, is_dataclass, make_dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_type_hints

from .errors import UsageError, parse_flags

Config = TypeVar("Config")

EVERYDAY = (
    "steps", "seed", "batch", "out", "data.name", "data.root", "data.size", "tokenizer", "tokens",
    "init", "precision", "data.workers", "save_every", "validate_every", "log_every",
)  # fmt: skip
"""The settings that people change, in the order of the help; a config need not have all."""
_NO_FLAG = ("recipe",)


class _Setting(NamedTuple):
    path: str
    hint: Any
    value: Any
    help: str

    def flag(self, **how: Any) -> tuple[str, Any, Any]:
        """Return the field of a dataclass that tyro parses: its name, type and default."""
        import tyro

        described = tyro.conf.arg(name=self.path, help=self.help, **how)
        return _field_name(self.path), Annotated[self.hint, described], field(default=self.value)


def parse_config(
    config: Config, arguments: Sequence[str], *, program: str, description: str
) -> Config:
    """Return ``config`` with the settings that ``arguments`` change.

    Exits as ``parse_flags`` does. Raises UsageError for a value that the config refuses.
    """
    import tyro

    settings = {setting.path: setting for setting in _settings(config)}
    first = [path for path in EVERYDAY if path in settings]
    rest = [setting for path, setting in settings.items() if path not in first]
    # tyro titles a box with the name of its dataclass's field: "other options".
    other = make_dataclass("Other", [setting.flag(prefix_name=False) for setting in rest])
    flags = make_dataclass(
        "Flags",
        [
            *(settings[path].flag() for path in first),
            ("other", Annotated[other, tyro.conf.arg(name="other")], field(default_factory=other)),
        ],
    )
    parsed = parse_flags(flags, arguments, program=program, description=description)
    values = {path: getattr(parsed, _field_name(path)) for path in first}
    values |= {each.path: getattr(parsed.other, _field_name(each.path)) for each in rest}
    for path, value in values.items():
        usual = settings[path].value
        if _is_not_finite(value) and not _is_not_finite(usual):
            raise UsageError(
                f"{path} must be a finite number, got {value} (all flags: {program} --help)"
            )
    try:
        return _with_values(config, values)
    except ValueError as error:
        raise UsageError(f"{error} (all flags: {program} --help)") from None


def _is_not_finite(value: Any) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return any(isinstance(each, float) and not math.isfinite(each) for each in values)


def _settings(config: Any, prefix: str = "") -> Iterator[_Setting]:
    """Yield the settings of a config and of the configs inside it, depth first."""
    hints, described = get_type_hints(type(config)), _descriptions(type(config))
    for each in fields(config):
        value, path = getattr(config, each.name), prefix + each.name
        if path in _NO_FLAG:
            continue
        if is_dataclass(value):
            yield from _settings(value, f"{path}.")
        elif isinstance(value, tuple) and any(map(is_dataclass, value)):
            for index, entry in enumerate(value):
                yield from _settings(entry, f"{path}.{index}.")
        elif not _holds_dataclass(hints[each.name]):  # a config that is absent has no flags
            yield _Setting(path, hints[each.name], value, described.get(each.name, ""))


def _holds_dataclass(hint: Any) -> bool:
    return is_dataclass(hint) or any(map(_holds_dataclass, get_args(hint)))


def _with_values(config: Any, values: Mapping[str, Any]) -> Any:
    """Return ``config`` with the values of ``values``, which are named by their paths."""
    if isinstance(config, tuple):
        parts = (_below(values, str(index)) for index in range(len(config)))
        return tuple(_with_values(*pair) for pair in zip(config, parts, strict=True))
    changed = {}
    for name in {path.partition(".")[0] for path in values}:
        below = _below(values, name)
        changed[name] = _with_values(getattr(config, name), below) if below else values[name]
    return replace(config, **changed)


def _below(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    start = f"{name}."
    return {path[len(start) :]: x for path, x in values.items() if path.startswith(start)}


def _field_name(path: str) -> str:
    return path.replace(".", "__")


@lru_cache
def _descriptions(kind: type) -> dict[str, str]:
    """Return the strings that follow the fields of a dataclass and of its bases, by field."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not is_dataclass(each):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        except (OSError, TypeError, SyntaxError):  # its source is not available
            continue
        body = tree.body[0].body
        for entry, after in pairwise(body):
            if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
                text = after.value if isinstance(after, ast.Expr) else None
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    found[entry.target.id] = " ".join(text.value.split())
    return found
