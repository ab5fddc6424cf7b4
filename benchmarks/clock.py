"""The machine of a measurement, and times of calls that take turns."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from company import CORES, company

OURS = "regvq-studio"


def machine(threads: int = CORES) -> dict[str, Any]:
    """Return date, processor, cores, threads, torch's version and the load before, as JSON."""
    from importlib.metadata import version

    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else "unknown"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": CORES,
        "threads": threads,
        "torch": version("torch"),
        "load of the machine before": load,
    }


def processor() -> str:
    """Return the processor's name as Linux states it; elsewhere its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def in_turns(
    calls: Mapping[str, Callable[[], Any]], seconds: float = 2.0, least: int = 3
) -> dict[str, float]:
    """Return the median milliseconds of each call, after one that is not timed.

    The calls take turns, so that a busy moment of the machine does not meet one alone, for
    ``seconds`` and at least ``least`` times each.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(times[next(reversed(times))]) < least:
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: 1e3 * median(found) for name, found in times.items()}


def alone_and_in_company(
    calls: Mapping[str, Callable[[], Any]], repeats: int, busy: int, device: str = "cpu"
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the fastest seconds of each call, in turns, alone and beside ``busy`` processes (of no
    call if there are none)."""

    def fastest() -> dict[str, float]:
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(repeats):  # in turns, so that other load affects all alike
            for name, call in calls.items():
                seconds[name].append(seconds_of(call, device))
        return {name: min(found) for name, found in seconds.items()}

    for call in calls.values():
        call()  # the first call loads modules that are imported late
    alone = fastest()
    if not busy:
        return alone, {}
    with company(busy):
        return alone, fastest()


def times_of(name: str, alone: dict, busy: dict) -> dict[str, float]:
    """Return the milliseconds of a method, and ours as a share of them."""
    found = {"ms": 1e3 * alone[name], "ours_over_it": alone[OURS] / alone[name]}
    if name in busy:
        found |= {"company_ms": 1e3 * busy[name], "company_ours_over_it": busy[OURS] / busy[name]}
    return found


def seconds_of(call: Callable[[], Any], device: str = "cpu") -> float:
    """Return the seconds of one call."""
    started = time.perf_counter()
    call()
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter() - started
