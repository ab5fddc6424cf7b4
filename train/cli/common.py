"""What several commands need: where to compute, which pictures stand for many, memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

from .errors import UsageError


def pick_device(name: str) -> str:
    """The device called ``name``; ``auto`` is a GPU if there is one. Raises UsageError."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name} cannot be used here: {reason}") from None
    return name


def called(bundle: Path) -> str:
    """What a bundle is called: its folder, or that of the run whose ``bundle`` it is."""
    path = bundle.resolve()
    return path.parent.name if path.name == "bundle" else path.name


def spread_over(length: int, limit: int | None) -> list[int]:
    """``limit`` indices spread evenly over range(length): the first ones may all be of one kind."""
    if limit is None or limit >= length:
        return list(range(length))
    return [i * length // limit for i in range(limit)]


def extra_peak(call: Callable[[], None]) -> float:
    """Bytes by which ``call`` raises the peak of this process's memory over what is in use."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
        before = _status("VmRSS")
        call()
        return _status("VmHWM") - before
    except OSError:  # elsewhere the process's own peak must do, which may hide a small call
        unit = 1 if sys.platform == "darwin" else 1024
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
