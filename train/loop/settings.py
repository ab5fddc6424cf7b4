"""The settings of a run in its folder, as ``run.json``: a run resumes only with the same ones."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from regvq.bundles.storage import read_json, write_json
from regvq.data.shards.remote import redact_query, url_of
from regvq.errors import CheckpointError

from ..config.base import CommonConfig

# Settings that may change when a run resumes: they do not determine what is learned.
_FREE = ("steps", "out", "log_every", "save_every", "stop_after", "precision", "sampling")


def recorded_processes(out: Path) -> int | None:
    """Return the number of processes with which the run in ``out`` was started, or None if its
    ``run.json`` does not state it. Raises CheckpointError for a damaged file."""
    file = out / "run.json"
    processes = read_json(file).get("processes") if file.exists() else None
    return processes if isinstance(processes, int) and processes > 0 else None


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
        for field in fields(config):  # settings that are newer than the run
            if field.name in described and field.default is not MISSING:
                before.setdefault(field.name, field.default)
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
