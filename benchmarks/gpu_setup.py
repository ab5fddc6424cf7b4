"""The device of ``gpu.py``, its limits, the clock, memory, and the rows of the sections."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass
class Setup:
    """The device of a measurement.

    ``limits``: what the section "machine" measured, "bandwidth" in bytes per second and matrix
    products in FLOP per second by type ("bf16", "fp16", "tf32", "fp32").
    """

    device: str = "cuda"
    tiny: bool = False
    """Tiny sizes and few repeats: to see that everything runs."""
    limits: dict[str, float] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        """True if the device is a GPU."""
        return self.device != "cpu"

    def wait(self) -> None:
        """Wait until the device has done what was launched."""
        import torch

        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], Any], calls: int = 1, budget: float = 2.0) -> float:
        """Return the seconds of a call: the median of groups of ``calls``, for which the host waits
        at the end of a group. No group begins after ``budget`` seconds."""
        call()
        self.wait()
        times: list[float] = []
        calls = 1 if self.tiny else calls
        while not times or (not self.tiny and sum(times) < budget and len(times) < 50):
            started = time.perf_counter()
            for _ in range(calls):
                call()
            self.wait()
            times.append(time.perf_counter() - started)
        return median(times) / calls

    def peak(self, call: Callable[[], Any]) -> float:
        """Return the bytes that a call takes beyond those in use before it."""
        import torch

        from train.cli.common import extra_peak

        if not self.on_gpu:
            return extra_peak(call)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def pick(self, full: Any, tiny: Any) -> Any:
        """Return one of two sizes."""
        return tiny if self.tiny else full


def row(
    what: str,
    value: float,
    unit: str = "",
    target: float | None = None,
    least: bool = False,
    note: str = "",
) -> dict[str, Any]:
    """Return a line of the table. ``target``: the value that must not be exceeded, or, with
    ``least``, must be reached."""
    found: dict[str, Any] = {"what": what, "value": value, "unit": unit, "note": note}
    if target is not None:
        found["target"] = ("at least " if least else "at most ") + f"{target:g}"
        found["ok"] = bool(value >= target if least else value <= target)
    return found


@contextmanager
def plain(chosen: bool = True) -> Iterator[None]:
    """Choose the plain twins of the fast paths inside."""
    from core.plain import VARIABLE

    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(int(chosen))
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
