"""Settings of malloc: freed memory is kept for the next step, and shared by all threads."""

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
    held = [torch.ones(400_000) for _ in range(40)]  # 1.6 MB each, less than a huge page
step()
before = faults()
for _ in range(10):
    step()
print(faults() - before)
"""


def printed(script: str, mode: str, **settings: str) -> str:
    """Return the output of a script in a new process, because malloc's settings are per process."""
    done = subprocess.run(
        [sys.executable, "-c", script, mode],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
@pytest.mark.slow
def test_freed_pages_are_kept():
    # By default malloc's threshold changes, and a small block at the top of the heap may or may not
    # keep the memory below it from being returned.
    fixed = {"MALLOC_MMAP_THRESHOLD_": "131072"}
    counts = {mode: int(printed(COUNT, mode, **fixed)) for mode in ("returned", "kept")}
    assert keep_freed_memory()
    assert counts["kept"] < counts["returned"] / 4


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
    places.append(libc.malloc(50_000))  # below the size that is mapped separately
threads = [threading.Thread(target=call) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
call()  # the arena of the main thread
print(max(abs(place - places[-1]) for place in places) < 1 << 30)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_threads_share_one_arena():
    near = {mode: printed(SHARE, mode) for mode in ("separate", "shared")}
    assert near == {"separate": "False", "shared": "True"}
    assert share_freed_memory()
