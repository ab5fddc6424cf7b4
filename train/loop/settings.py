"""The settings of a run in its folder, as ``run.json``: a run resumes only with the same ones.

Beside the settings, the file holds what they do not state: the number of processes, the contents of
the data (``train.loop.contents``), and how the run was started (``train.loop.provenance``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from regvq.bundles.storage import read_json, write_json
from regvq.data.remote import redact_query, url_of
from regvq.errors import CheckpointError

from ..config.base import CommonConfig
from .contents import Contents, difference

# Settings that may change when a run resumes: they do not determine what is learned.
_FREE = (
    "steps", "out", "log_every", "save_every", "validate_every", "stop_after", "precision",
    "sampling", "tracker", "accumulate", "checkpointing", "compile",
)  # fmt: skip
# Folders that may have moved: what they hold is compared instead.
_PLACES = ("data.root", "tokens", "tokenizer")
# Files that may have moved: their names are compared.
_FILES = ("init", "features.weights", "tokenizer.quantizer.prior_file")
_FACTS = ("processes", "contents", "started")


def recorded_processes(out: Path) -> int | None:
    """Return the number of processes with which the run in ``out`` was started, or None if its
    ``run.json`` does not state it. Raises CheckpointError for a damaged file."""
    processes = (read_settings(out) or {}).get("processes")
    return processes if isinstance(processes, int) and processes > 0 else None


def read_settings(out: Path) -> dict[str, Any] | None:
    """Return ``out/run.json``, or None if there is none. Raises CheckpointError if it is damaged,
    with the remedy."""
    file = out / "run.json"
    if not file.exists():
        return None
    try:
        found = read_json(file)
    except CheckpointError as error:
        reason = str(error).rstrip(".")
    else:
        if isinstance(found.get("recipe"), str) and isinstance(found.get("data"), dict):
            return found
        reason = f"{file} does not describe a run"
    raise CheckpointError(
        f"{reason}; restore the file, choose another --out, or, if you know that the command is "
        "that of the run, delete the file to resume it."
    )


def remember_settings(
    config: CommonConfig,
    out: Path,
    contents: Contents | None = None,
    processes: int = 1,
    started: dict[str, Any] | None = None,
) -> None:
    """Write a run's settings to ``out/run.json``.

    ``contents``: the identity of its pictures. ``started``: the versions, the hardware and the
    command. Raises CheckpointError if the folder holds a run with other settings or pictures.
    """
    described = described_settings(config)
    for name in _FREE:
        described.pop(name, None)  # a kind of run need not have each of them
    described["data"].pop("workers")
    facts = {"processes": processes, "contents": contents, "started": started}
    facts = {name: value for name, value in facts.items() if value is not None}
    found = read_settings(out)
    if found is None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "run.json", described | facts)
        return
    before = {name: value for name, value in found.items() if name not in _FACTS}
    _add_newer(before, config, described)
    for name in _FREE:
        before.pop(name, None)  # a setting may have become free since then
    places = _PLACES if contents is not None else ()
    differing = sorted(
        name
        for name, (a, b) in _differences(before, described).items()
        if not (name in places or (name in _FILES and _file_name(a) == _file_name(b)))
    )
    if differing:
        raise CheckpointError(
            f"{out} holds a run with another {', '.join(differing[:4])}; "
            "choose another --out, or the same settings to resume it."
        )
    _check_contents(config, out, found, contents)
    write_json(out / "run.json", found | described | facts | _first(found))


def described_settings(config: CommonConfig) -> dict[str, Any]:
    """Return a run's settings as JSON: paths absolute, addresses without their query."""
    return json.loads(json.dumps(asdict(config), default=_path_text))


def _first(found: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a run's start, which remain."""
    return {name: found[name] for name in ("processes", "started") if name in found}


def _check_contents(
    config: CommonConfig, out: Path, found: dict[str, Any], contents: Contents | None
) -> None:
    place = getattr(config, "tokens", None) or config.data.root or config.data.name
    before = found.get("contents")
    if contents is not None and isinstance(before, dict):
        if before.get("tokenizer") != contents.get("tokenizer"):
            raise CheckpointError(
                f"{config.tokenizer} holds other weights than the tokenizer with which the run in "
                f"{out} was started; name that one with --tokenizer, or choose another --out."
            )
        if words := difference(before, contents):
            raise CheckpointError(
                f"{_path_text(place) if isinstance(place, Path) else place} {words}; restore them, "
                f"or choose another --out (with --init {out} to start from its weights)."
            )
    elif contents is not None:
        print(
            f"{out} is a run of an earlier version, which did not note its pictures: it resumes "
            f"with the {contents['pictures']} of {place}."
        )


def _file_name(path: object) -> str | None:
    return None if path is None else Path(str(path)).name


def _add_newer(before: dict[str, Any], config: Any, described: Mapping[str, Any]) -> None:
    """Add the settings that are newer than the run, at their defaults, also in nested configs."""
    for field in fields(config):
        if field.name not in described:
            continue
        value, inside = getattr(config, field.name), before.get(field.name)
        if is_dataclass(value) and isinstance(inside, dict):
            _add_newer(inside, value, described[field.name])
            continue
        default = field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        if default is not MISSING:
            default = asdict(default) if is_dataclass(default) else default
            before.setdefault(field.name, json.loads(json.dumps(default, default=_path_text)))


def _path_text(path: Path) -> str:
    """Return a path for ``run.json``: absolute; of an address, without its query, which may be a
    key."""
    url = url_of(path)
    return redact_query(url) if url is not None else str(path.resolve())


def _differences(a: Any, b: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the settings in which two descriptions differ, with both values."""
    if isinstance(a, dict) and isinstance(b, dict):
        return {
            found: values
            for key in set(a) | set(b)
            for found, values in _differences(
                a.get(key), b.get(key), f"{name}.{key}" if name else key
            ).items()
        }
    return {} if a == b else {name: (a, b)}
