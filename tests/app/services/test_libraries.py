"""A module that is slow to load is read by another process, while the event loop goes on."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from pathlib import Path

import pytest

from app.services import libraries, memory
from app.services.libraries import LibraryReader

# From a cold disk it holds Python's lock; the second time its files are in memory.
SLOW = """
import ctypes, pathlib
read = pathlib.Path(__file__).with_suffix(".read")
if not read.exists():
    ctypes.PyDLL(None).usleep(2_500_000)
    read.touch()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "slow_to_load.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "slow_to_load", raising=False)
    return "slow_to_load"


async def longest_pause(until: asyncio.Task[None]) -> float:
    longest = 0.0
    while not until.done():
        before = time.monotonic()
        await asyncio.sleep(0.01)
        longest = max(longest, time.monotonic() - before)
    return longest


async def import_after(reader: LibraryReader, name: str) -> None:
    await reader.wait_in_loop()
    await asyncio.to_thread(__import__, name)


@pytest.mark.parametrize("first", [True, False], ids=["by another process", "here"])
def test_the_loop_goes_on_while_a_library_is_read(module: str, first: bool) -> None:
    async def run() -> float:
        reader = LibraryReader(module)
        if first:
            reader.begin()
            assert not reader.ready
        return await longest_pause(asyncio.create_task(import_after(reader, module)))

    pause = asyncio.run(run())
    assert (pause < 1.5) == first, pause
    assert module in sys.modules


def test_what_is_imported_already_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries.subprocess, "run", lambda *_, **__: pytest.fail("it is read"))
    reader = LibraryReader("sys")
    reader.begin()
    assert reader.ready
    reader.wait()


def test_a_process_that_cannot_start_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(libraries.subprocess, "run", fails)
    reader = LibraryReader("a_module_that_does_not_exist")
    reader.begin()
    reader.wait()
    assert reader.ready


def test_searches_for_garbage_leave_out_what_is_loaded() -> None:
    try:
        memory.keep_what_is_loaded()
        assert gc.get_freeze_count() > 10_000
        assert len(gc.get_objects()) < 10_000
    finally:
        gc.unfreeze()
