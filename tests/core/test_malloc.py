"""What malloc does with freed memory: kept for the next step, shared by all threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from core.malloc import keep_freed_memory, share_freed_memory
from core.paths import ROOT

COUNT = """
import resource, sys, torch
from core.malloc import keep_freed_memory
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


def printed(script: str, how: str, **settings: str) -> str:
    """What a script prints, in a process of its own: what malloc is told holds for a process."""
    done = subprocess.run(
        [sys.executable, "-c", script, how], cwd=ROOT, env=os.environ | settings,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_pages_are_asked_for_once():
    # Left to itself, malloc's bound moves, and it is chance whether something small at the top of
    # the heap keeps what was freed below it.
    fixed = {"MALLOC_MMAP_THRESHOLD_": "131072"}
    counts = {how: int(printed(COUNT, how, **fixed)) for how in ("given back", "kept")}
    assert keep_freed_memory()
    assert counts["kept"] < counts["given back"] / 4


SHARE = """
import sys, threading
from core.malloc import share_freed_memory
if sys.argv[1] == "shared":
    share_freed_memory()
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
places = []
def call():
    places.append(libc.malloc(50_000))  # below what gets pages of its own
threads = [threading.Thread(target=call) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
call()  # where the main thread's memory is
print(max(abs(place - places[-1]) for place in places) < 1 << 30)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_threads_take_their_memory_from_one_place():
    near = {how: printed(SHARE, how) for how in ("apart", "shared")}
    assert near == {"apart": "False", "shared": "True"}
    assert share_freed_memory()
