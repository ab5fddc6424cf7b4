"""Company: busy processes that a benchmark starts beside a measurement, and ends after it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# It ends with its parent, even if that is killed.
_BUSY = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(100_000):
        pass
"""


@contextmanager
def company(count: int = CORES) -> Iterator[list[subprocess.Popen]]:
    """Keep ``count`` processes busy, by default one per core; yield them, and end them after."""
    command = [sys.executable, "-S", "-c", _BUSY, str(os.getpid())]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
