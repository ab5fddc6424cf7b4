"""Trackers of a run: the rows of its log, sent to the services that accelerate knows.

TensorBoard's file is not among them: ``train.loop.record`` writes it, because accelerate's writer
has no way to take back the rows after the saved step when a run resumes. Every other tracker is one
of ``accelerate.tracking``: wandb, trackio, mlflow and others, or a class of one's own that is
registered there. What a tracker does never ends a run: one that fails is left out from then on.
"""

from __future__ import annotations

import inspect
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import tracking
from accelerate.utils import LoggerType

from regvq.bundles.storage import read_json, write_json
from regvq.errors import CheckpointError

from ..cli.errors import UsageError
from .record import STOPPED, Row

BOARD, NONE = "tensorboard", "none"
PROJECT = "regvq-studio"
FILE = "trackers.json"
"""The file in a run's folder with the run's name in its trackers, and the trackers it has had."""

_SAME_RUN: dict[str, Callable[[str, Path], dict[str, Any]]] = {
    "wandb": lambda key, out: {"id": key, "name": out.name, "resume": "allow", "dir": str(out)},
    "trackio": lambda key, out: {"name": f"{out.name}-{key[:8]}", "resume": "allow"},
    "comet_ml": lambda key, out: {"experiment_key": key},
    "swanlab": lambda key, out: {"id": key, "experiment_name": out.name, "resume": "allow"},
}
"""Arguments by which a tracker goes on with the run that it had. Others start a new one."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise UsageError unless all trackers are known and installed. Nothing is started."""
    if NONE in names and len(names) > 1:
        raise UsageError("--tracker none stands alone: name trackers, or none.")
    for name in names:
        if name in (BOARD, NONE):
            continue
        known = tracking.LOGGER_TYPE_TO_CLASS
        if name not in known:
            raise UsageError(
                f"--tracker {name} is not known; available: {', '.join(sorted(known))}, none."
            )
        built_in = name in {str(kind) for kind in LoggerType}
        if built_in and LoggerType(name) not in tracking.get_available_trackers():
            raise UsageError(
                f"--tracker {name} needs its package: pip install {name.replace('_', '-')}."
            )


class Trackers:
    """The started trackers of the run in the folder ``out``.

    ``described``: the run's settings. ``before``: the rows of its log, which a tracker that the run
    has not had yet receives; ``last``: the last step that was logged before the run resumed, up to
    which the others have all rows. Raises UsageError for a tracker that cannot start.
    """

    def __init__(
        self,
        names: Sequence[str],
        out: Path,
        described: Mapping[str, Any],
        before: Sequence[Row] = (),
        last: int = 0,
    ) -> None:
        self._out, self._running = out, {}
        self._sent: dict[str, int] = {}
        names = [name for name in names if name not in (BOARD, NONE)]
        if not names:
            return
        memory = _memory(out)
        had = memory["trackers"]
        for name in names:
            try:
                self._running[name] = self._started(name, memory["run"], _flat(described))
            except UsageError:
                self.finish()
                raise
            self._sent[name] = last if name in had else 0
        write_json(out / FILE, memory | {"trackers": sorted({*had, *names})})
        for row in before:
            figures = {name: x for name, x in row.items() if name not in ("step", STOPPED)}
            self._write(row["step"], figures, [name for name in names if name not in had])

    def _started(self, name: str, key: str, described: Mapping[str, Any]) -> Any:
        kind = tracking.LOGGER_TYPE_TO_CLASS[name]
        folder = [str(self._out / name)] if kind.requires_logging_directory else []
        if name in _SAME_RUN:
            how = _SAME_RUN[name](key, self._out)
        else:  # a class of one's own says by its parameters what it takes
            known = inspect.signature(kind.__init__).parameters
            how = {word: x for word, x in (("id", key), ("resume", "allow")) if word in known}
        project = os.environ.get("WANDB_PROJECT", PROJECT) if name == "wandb" else PROJECT
        try:
            tracker = kind(project, *folder, **how)
            getattr(tracker, "start", lambda: None)()  # versions before 1.6 start at once
            tracker.store_init_configuration(dict(described))
        except Exception as error:
            raise UsageError(
                f"--tracker {name} cannot start ({_reason(error)}); correct that, or leave it out."
            ) from None
        return tracker

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Send the figures of a step to the trackers that do not have them yet."""
        self._write(step, figures, [name for name, sent in self._sent.items() if step >= sent])

    def _write(self, step: int, figures: Mapping[str, float], names: Sequence[str]) -> None:
        for name in names:
            if (tracker := self._running.get(name)) is not None:
                self._try(name, f"at step {step}", partial(tracker.log, dict(figures), step=step))

    def finish(self) -> None:
        """End the trackers; the run may resume later."""
        for name, tracker in list(self._running.items()):
            self._try(name, "at its end", tracker.finish)
        self._running.clear()

    def _try(self, name: str, when: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            del self._running[name]
            print(
                f"WARNING: --tracker {name} failed {when} and is left out from here on "
                f"({_reason(error)}); log.jsonl has all rows.",
                file=sys.stderr,
            )


def _memory(out: Path) -> dict[str, Any]:
    """Return the run's name in its trackers, and the names of the trackers that it has had."""
    try:
        found = read_json(out / FILE)
        if isinstance(found["run"], str) and isinstance(found["trackers"], list):
            return {"run": found["run"], "trackers": [str(name) for name in found["trackers"]]}
    except (CheckpointError, OSError, KeyError, TypeError):
        pass
    return {"run": uuid.uuid4().hex, "trackers": []}


def _flat(described: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their paths, with the types that every tracker takes."""
    flat: dict[str, Any] = {}
    for name, value in described.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            plain = value is None or isinstance(value, (bool, int, float, str))
            flat[f"{prefix}{name}"] = value if plain else str(value)
    return flat


def _reason(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
