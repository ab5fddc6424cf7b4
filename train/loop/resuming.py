"""The numbers of a saved state, checked before a run resumes from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from regvq.errors import CheckpointError

from ..config.base import CommonConfig


class Resumed(NamedTuple):
    """The numbers of a state that a run resumes from."""

    step: int
    processes: int
    """Processes with which the run was started."""
    broken: dict[Path, str]


def resumed(
    numbers: Mapping[str, Any],
    config: CommonConfig,
    out: Path,
    fixed: Mapping[str, str],
    processes: int,
) -> Resumed:
    """Return the numbers of the state of the run in ``out``.

    ``fixed``: the facts of this start that must be those of the first one. ``processes``: the
    number if the state, of an earlier version, does not state it. Raises CheckpointError if
    resuming would change the run, or if the numbers are not those of a run.
    """
    try:
        step, before = numbers["step"], dict(numbers.get("fixed", {}))
        broken = {Path(path): str(words) for path, words in numbers.get("broken", {}).items()}
        processes = numbers.get("processes", processes)
        whole = type(step) is int and type(processes) is int and step >= 0 < processes
    except (KeyError, TypeError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise CheckpointError(
            f"{out / 'state' / 'state.json'} does not describe the state of a run; restore it, or "
            "choose another --out."
        )
    for name, value in before.items():
        if (now := fixed.get(name)) != value:
            raise CheckpointError(
                f"the run in {out} was started with {name} {value!r}, and would resume "
                f"with {now!r}; provide the same {name} again, or choose another --out."
            )
    for flag, last in (("steps", config.steps), ("stop-after", config.stop_after)):
        if last is not None and step > last:
            raise CheckpointError(
                f"the run in {out} has reached step {step}, which is after --{flag} {last}; raise "
                f"it to {step} or more, or choose another --out."
            )
    return Resumed(step, processes, broken)


def check_no_state_is_missing(out: Path) -> None:
    """Raise CheckpointError if ``out`` holds the log and the bundle of a run.

    It is called for a folder without a state, whose run would silently start at step 1.
    """
    if (out / "log.jsonl").exists() and (out / "bundle").exists():
        raise CheckpointError(
            f"{out} holds the log and the checkpoint of a run, but no state from which it could "
            f"resume; restore {out / 'state'}, or choose another --out (with --init {out} to start "
            "from its weights)."
        )
