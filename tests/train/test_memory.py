"""Freed memory is kept: the pages of a step's activations are not asked for again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from train.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parents[2]
COUNT = """
import resource, sys, torch
from train.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    held = [torch.ones(400_000) for _ in range(40)]  # 1.6 MB each: less than a huge page
step()
before = faults()
for _ in range(10):
    step()
print(faults() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_pages_are_asked_for_once():
    counts = {}
    for how in ("given back", "kept"):
        done = subprocess.run(
            [sys.executable, "-c", COUNT, how],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        counts[how] = int(done.stdout)
    assert keep_freed_memory()
    assert counts["kept"] < counts["given back"] / 4
