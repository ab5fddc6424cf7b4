"""Trials: a fault in a run, then the next start, and the comparison with an undisturbed run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from core.bundles.replacement import is_leftover
from core.errors import CheckpointError

from .injection import Fault
from .runs import Task, check_readers, differences, saved_step
from .server import Server
from .table import TABLE


def try_kills(
    server: Server,
    task: Task,
    out: Path,
    faults: Sequence[Fault | float],
    kind: str,
) -> None:
    """Kill a run once per fault (a number: after that many seconds), finish it, and count it.

    A run is lost if a start finds less than was saved before, or fails. It is silent if its result
    is not that of an undisturbed one.
    """
    shutil.rmtree(out, ignore_errors=True)
    case, least, killed = f"{task.name} {list(faults)}", 0, False
    for fault in faults:
        had = task.command == "run" and (out / "bundle").is_dir()
        timed = isinstance(fault, float)
        end = server.run(
            task.command,
            task.flags(out),
            out,
            None if timed else fault,
            kill_after=fault if timed else None,
        )
        if end.code == 0:
            break  # it was faster
        if end.code > 0:
            TABLE.add(kind, f"{case}: {end.text[-300:]}", lost=True)
            return
        killed = True
        if task.command == "encode":
            continue
        try:
            if not timed and len(faults) == 1:
                least = max([s for calls, s in task.whole.saves if calls < fault.at], default=0)
            step = saved_step(out)
            check_readers(out, had)
        except (CheckpointError, AssertionError, OSError, KeyError) as error:
            TABLE.add(kind, f"{case}: {error!r}", lost=True)
            return
        if step < least:
            TABLE.add(kind, f"{case}: step {step} after {least}", lost=True)
            return
        least = step
    if not killed:
        return
    end = server.run(task.command, task.flags(out), out)
    resumed = [int(x) for x in _resumed(end.text)]
    if end.code or (least and resumed and resumed[0] < least):
        TABLE.add(kind, f"{case}: {end.text[-300:]}", lost=True)
        return
    wrong = differences(task, out)
    TABLE.add(kind, f"{case}: {wrong}" if wrong else case, silent=bool(wrong))
    shutil.rmtree(out, ignore_errors=True)


def _resumed(text: str) -> list[str]:
    """Return the first step of the progress bar."""
    return re.findall(r"\| (\d+)/\d+ \[", text)[:1]


def try_errors(server: Server, task: Task, out: Path, fault: Fault | int, kind: str) -> None:
    """Let writing fail (an int: beyond that file size), check the sentence, and finish the run."""
    shutil.rmtree(out, ignore_errors=True)
    limit = fault if isinstance(fault, int) else None
    end = server.run(
        task.command, task.flags(out), out, None if limit else fault, largest_file=limit
    )
    case = f"{task.name} {fault}"
    if end.code == 0:
        return  # everything was written before, or is small enough
    errors = [line for line in end.text.splitlines() if line.startswith("error: ")]
    said = end.code == 2 and len(errors) == 1 and "Traceback" not in end.text
    if said and task.whole.saves and "cannot be written at step" in errors[0]:
        said = str(out) in errors[0] and (
            "no state was saved" in errors[0] or "of step" in errors[0]
        )
    left = []
    if limit or fault.action != "EROFS":  # nothing can be removed from a read-only disk, either
        left = [file.name for file in out.rglob("*") if is_leftover(file.name)]
    if not said or left:
        TABLE.add(kind, f"{case}: {left} {end.text[-600:]}", lost=True)
        return
    end = server.run(task.command, task.flags(out), out)
    if end.code:
        TABLE.add(kind, f"{case}: {end.text[-300:]}", lost=True)
        return
    wrong = differences(task, out)
    TABLE.add(kind, f"{case}: {wrong}" if wrong else case, silent=bool(wrong))
    shutil.rmtree(out, ignore_errors=True)
