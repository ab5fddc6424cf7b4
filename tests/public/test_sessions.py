# ruff: noqa: F811  (fixtures are imported and are the parameters of tests)
"""Visitors come and go: what the server keeps of each is small."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable

import gradio as gr
import pytest

from app.services import memory
from core.malloc import return_freed_memory
from core.paths import ROOT
from tests.app.conftest import bundles  # noqa: F401  (a fixture)
from tests.helpers import local_http as http
from tests.public.explorers import explorer  # noqa: F401  (a fixture)

MEGABYTES_PER_VISIT = 0.1


def resident() -> float:
    """Return this process's resident memory in megabytes, without what is freed already."""
    gc.collect()
    if not return_freed_memory():
        pytest.skip("freed memory cannot be told from used memory here")
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


def contained() -> float:
    """Return the megabytes of Python's plain containers. They show what a few visits leave behind:
    the resident memory of a process that computes moves by more."""
    gc.collect()
    plain = (one for one in gc.get_objects() if type(one) in (dict, list, set, tuple))
    return sum(map(sys.getsizeof, plain)) / 1e6


@pytest.mark.parametrize(
    ("count", "used"),
    [
        pytest.param(20, contained, marks=pytest.mark.slow),
        pytest.param(1000, resident, marks=pytest.mark.long),
    ],
)
def test_visits_leave_little_behind(
    explorer: gr.Blocks,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    used: Callable[[], float],
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from soak import Page

    with http.client(timeout=120) as client:
        page = Page(client, explorer.local_url)
        for number in range(min(count, 60)):  # fill the caches
            page.visit(number)
        grown = []
        for turn in range(10):  # what sessions leave behind grows in every turn, other work in few
            before = used()
            for number in range(count):
                page.visit(10_000 * (turn + 1) + number)
            grown.append(used() - before)
            if grown[-1] < MEGABYTES_PER_VISIT * count:
                break
        assert min(grown) < MEGABYTES_PER_VISIT * count, grown
    states = explorer.state_holder
    assert states.capacity == 1000 and len(states.session_data) >= count
    assert all(not one.config_values for one in states.session_data.values())


def test_freed_memory_is_returned_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, calls = threading.Event(), []
    monkeypatch.setattr(memory, "EVERY", 0.01)

    def returned() -> bool:
        calls.append(1)
        if len(calls) == 3:
            ended.set()
        return True

    monkeypatch.setattr(memory, "return_freed_memory", returned)
    memory.return_memory(ended)
    assert len(calls) == 3
