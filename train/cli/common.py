"""Helpers that several commands share: devices, samples of a data set, memory, processes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

from .errors import UsageError


def program(command: str) -> str:
    """Return the way to start a command, as help and errors print it."""
    package = __name__.partition(".")[0]
    if package == "train":
        return f"python train/{command}.py"
    if command == "run" and Path(sys.argv[0]).stem == "regvq-train":  # the console script
        return "regvq-train"
    return f"python -m {package}.{command}"


def pick_device(name: str) -> str:
    """Return the device ``name``; ``auto`` is a GPU if there is one. Raises UsageError."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used here: {reason}") from None
    return name


def bundle_name(bundle: Path) -> str:
    """Return a bundle's name: its folder's, or its run's if the folder is ``RUN/bundle``."""
    path = bundle.resolve()
    return path.parent.name if path.name == "bundle" else path.name


def evenly_spaced(length: int, limit: int | None) -> list[int]:
    """Return ``limit`` indices spread evenly over range(length); None: all of them.

    The first pictures of a data set may all be of one kind.
    """
    if limit is None or limit >= length:
        return list(range(length))
    return [i * length // limit for i in range(limit)]


def worker_start_method(workers: int) -> str | None:
    """Return the start method of DataLoader workers; None: the platform's default.

    Fork is the fastest (nothing is imported again), and it is safe on Linux only: Windows has none,
    and the system libraries of macOS do not survive it.
    """
    return "fork" if workers and sys.platform == "linux" else None


def extra_peak(call: Callable[[], None]) -> float:
    """Return the bytes by which ``call`` raises the peak of this process's memory over its present
    use; NaN where the system does not report it (Windows)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak
        before = _status("VmRSS")
        call()
        return _status("VmHWM") - before
    except OSError:
        # Elsewhere only the peak since the process started is known; it may hide a small call.
        before = _peak()
        call()
        return _peak() - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


def _peak() -> float:
    try:
        import resource  # POSIX only
    except ImportError:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
