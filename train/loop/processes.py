"""The processes of a run: starting them, agreeing on a stop, and the loss of one of them."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from regvq.distributed import max_over_processes, world_size
from regvq.errors import CheckpointError

from ..cli.errors import UsageError
from ..cli.stopping import launched_processes

LOADER_DIED = 200
"""The code of a loader that died in one process, in ``agreed``; signals are below 65."""
FAILED = 201
"""The code of any other error in one process before a step."""

_ACCELERATORS = ("cuda", "xpu", "npu", "mlu", "musa", "sdaa", "hpu")
_BROKEN_CONNECTION = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "Socket Timeout",
    "NCCL",
    "gloo",
)


class ProcessError(RuntimeError):
    """An error in another process of the run: one sentence."""


def accelerator() -> Accelerator:
    """Return the device and the processes of a run.

    Processes of ``torchrun`` on a machine without a GPU train together on its processors;
    accelerate alone would make each of them the only one. Raises UsageError if a launcher started
    one process instead of the several that it was asked for.
    """
    launched = launched_processes()
    if launched == 1 and _was_asked_for_several():
        raise UsageError(
            "`accelerate launch` starts only one process on CPUs; for several use "
            f"`{_torchrun_command()}`."
        )
    on_cpu = launched > 1 and not any(map(_has, _ACCELERATORS))
    # Autocast is our own: accelerate has one per process, and a study trains many models.
    made = Accelerator(mixed_precision="no", cpu=on_cpu)
    if made.num_processes != launched and launched > 1:
        raise UsageError(
            f"{launched} processes were started, but {made.num_processes} would train; start them "
            f"with `{_torchrun_command(launched)}`."
        )
    return made


def _has(name: str) -> bool:
    module = getattr(torch, name, None)
    return module is not None and module.is_available()


def _was_asked_for_several() -> bool:
    """Return True if ``accelerate launch --cpu`` was asked for several processes.

    It then sets the address at which they would meet, but starts one.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    return launched and "LOCAL_RANK" not in os.environ and "RANK" not in os.environ


def _torchrun_command(processes: int | None = None) -> str:
    count = processes or _asked_of_accelerate() or "N"
    script = Path(sys.argv[0])
    named = os.path.relpath(script) if script.suffix == ".py" else f"--no-python {script.name}"
    return f"torchrun --nproc_per_node {count} {named} {shlex.join(sys.argv[1:])}"


def _asked_of_accelerate() -> str | None:
    """Return the number of processes in the launcher's command line; None if it is not known."""
    try:
        words = Path(f"/proc/{os.getppid()}/cmdline").read_text(encoding="utf-8").split("\0")
    except (OSError, ValueError):
        return None
    for index, word in enumerate(words[:-1]):
        name, equals, value = word.replace("-", "_").partition("=")
        if name in ("__num_processes", "_n"):
            return value if equals else words[index + 1]
    return None


def agreed(code: int, device: torch.device) -> int:
    """Return the largest code of all processes, so that all stop before the same step."""
    return max_over_processes(code, device)


def leave(made: Accelerator) -> None:
    """Close the connections to the other processes of a run that has ended.

    Left to the interpreter's shutdown, a thread of theirs may still run when it is destroyed, which
    aborts the process (SIGABRT) although its run is whole.
    """
    made.end_training()


def share_of(total: int, processes: int, out: Path) -> int:
    """Return the pictures per step of each of ``processes``, which share ``total``.

    Raises CheckpointError if they cannot share them equally.
    """
    if total % processes:
        fitting = [str(n) for n in range(1, min(total, 64) + 1) if total % n == 0]
        raise CheckpointError(
            f"the run in {out} takes {total} pictures per step, which {processes} processes cannot "
            f"share equally; start it with {' or '.join(fitting)} processes."
        )
    return total // processes


def lost_connection(error: RuntimeError) -> bool:
    """Return True if an error says that another process of the run cannot be reached."""
    if world_size() == 1:
        return False
    return isinstance(error, torch.distributed.DistError) or any(
        words in str(error) for words in _BROKEN_CONNECTION
    )
