"""The settings of a run in its folder, as ``run.json``: a run resumes only with the same ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from regvq.bundles.storage import read_json, write_json
from regvq.data.shards.remote import redact_query, url_of
from regvq.errors import CheckpointError

from ..config.base import CommonConfig

# Settings that may change when a run resumes: they do not determine what is learned.
_FREE = ("steps", "out", "log_every", "save_every", "stop_after", "precision", "sampling")


def remember_settings(config: CommonConfig, out: Path) -> None:
    """Write a run's settings to ``out/run.json``.

    Raises CheckpointError if the folder holds a run with other settings.
    """
    described = json.loads(json.dumps(asdict(config), default=_path_text))
    for name in _FREE:
        described.pop(name, None)  # a kind of run need not have each of them
    described["data"].pop("workers")
    file = out / "run.json"
    if file.exists():
        before = read_json(file)
        _add_newer(before, config, described)
        for name in _FREE:
            before.pop(name, None)  # a setting may have become free since then
        if differing := sorted(_differences(before, described)):
            raise CheckpointError(
                f"{out} holds a run with another {', '.join(differing[:4])}; "
                "choose another --out, or the same settings to resume it."
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_json(file, described)


def _add_newer(before: dict[str, Any], config: Any, described: Mapping[str, Any]) -> None:
    """Add the settings that are newer than the run, at their defaults, also in nested configs."""
    for field in fields(config):
        if field.name not in described:
            continue
        value, inside = getattr(config, field.name), before.get(field.name)
        if is_dataclass(value) and isinstance(inside, dict):
            _add_newer(inside, value, described[field.name])
        elif field.default is not MISSING:
            default = json.loads(json.dumps(field.default, default=_path_text))
            before.setdefault(field.name, default)


def _path_text(path: Path) -> str:
    """Return a path for ``run.json``: absolute; of an address, without its query, which may be a
    key."""
    url = url_of(path)
    return redact_query(url) if url is not None else str(path.resolve())


def _differences(a: Any, b: Any, name: str = "") -> set[str]:
    """Return the names of the settings in which two descriptions differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        return {
            found
            for key in set(a) | set(b)
            for found in _differences(a.get(key), b.get(key), f"{name}.{key}" if name else key)
        }
    return set() if a == b else {name}
