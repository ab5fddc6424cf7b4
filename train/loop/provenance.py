"""The origin of a run: commit, versions, hardware and command, which make it repeatable."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from regvq import __version__
from regvq.data.remote import without_keys
from regvq.paths import IN_TREE, ROOT


@lru_cache
def origin() -> dict[str, Any]:
    """Return the versions and the hardware, without any path or host name: cards are published."""
    found = {"regvq": __version__, "torch": torch.__version__, "python": platform.python_version()}
    if commit := _commit():
        found["commit"] = commit
    return found | {"system": platform.system(), "hardware": hardware()}


def started() -> dict[str, Any]:
    """Return ``origin`` and the command line, for the run's own folder; addresses in it are without
    the keys that they may hold."""
    program = shlex.join([Path(sys.executable).name, *map(without_keys, sys.argv)])
    return {**origin(), "command": program}


@lru_cache
def hardware() -> str:
    """Return the name of the GPU, or of the processor and the number of its cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line[:10] == "model name")
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


def _commit() -> str | None:
    """Return the commit of the source tree, with "-dirty" if files of it were changed."""
    if not IN_TREE or not (ROOT / ".git").exists():
        return None
    words = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty"]
    words += ["--exclude=*"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
