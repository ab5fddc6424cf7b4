"""Frozen config dataclasses as JSON objects and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

Entry = TypeVar("Entry")


def to_dict(config: Any, kinds: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Return a config's settings, nested configs as dictionaries.

    With ``kinds``, a registry of config classes by name, the name comes first, as "name". Settings
    that hold a path are left out: the path belongs to the machine on which it was set, and the
    contents of the file are in the weights.
    """
    settings = {key: value for key, value in asdict(config).items() if not isinstance(value, Path)}
    if kinds is None:
        return settings
    return {"name": next(name for name, kind in kinds.items() if type(config) is kind), **settings}


def from_dict(described: Any, kind: type | Mapping[str, type], **given: Any) -> Any:
    """Return the config that ``to_dict`` described; JSON's lists become tuples.

    ``kind`` is the config's class, or a registry of classes from which the entry "name" chooses;
    ``given`` are settings that are configs already. Raises KeyError, TypeError or ValueError if
    ``described`` does not describe such a config.
    """
    settings = dict(described)
    if isinstance(kind, Mapping):
        kind = entry_of(kind, settings.pop("name"))
    if unknown := set(settings) - {field.name for field in fields(kind)}:
        raise ValueError(f"unknown setting {', '.join(sorted(unknown))}")
    hints = get_type_hints(kind)
    for key, value in settings.items():
        nested = next((each for each in get_args(hints[key]) if _is_config_class(each)), None)
        if isinstance(value, Mapping) and nested is not None:
            settings[key] = from_dict(value, nested)
        else:
            settings[key] = _tuples(value)
    return kind(**settings, **given)


def entry_of(registry: Mapping[str, Entry], name: str) -> Entry:
    """Return the entry ``name`` of a registry. Raises ValueError, listing the names, if it has
    none."""
    if name not in registry:
        raise ValueError(f"unknown name {name!r}; available: {', '.join(registry)}")
    return registry[name]


def changed_settings(config: Any) -> dict[str, Any]:
    """Return the settings that differ from their defaults, without those that hold a path."""
    settings = {
        field.name: (getattr(config, field.name), field.default) for field in fields(config)
    }
    return {
        name: value
        for name, (value, default) in settings.items()
        if value != default and not isinstance(value, Path)
    }


def _is_config_class(hint: Any) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
