"""Threads that own parts of a loop: results, numbers of threads, forks, the end of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from core.paths import ROOT
from core.quantizers.tiled import lookup, owners
from core.quantizers.tiled.owners import map_with_owners


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Let torch use two threads in this test, as on a machine of two cores, and new owners."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    owners._pools.clear()
    yield
    torch.set_num_threads(before)


def _seen(_: int) -> tuple[str, int, bool]:
    return threading.current_thread().name, torch.get_num_threads(), torch.is_grad_enabled()


@pytest.mark.usefixtures("two_threads")
def test_parts_are_computed_in_order_by_threads_of_their_own() -> None:
    met = threading.Barrier(2, timeout=60)

    def square(number: int) -> int:
        met.wait()  # two parts at a time, or never
        return number**2

    assert map_with_owners(square, range(6)) == [0, 1, 4, 9, 16, 25]
    for name, threads, gradients in map_with_owners(_seen, range(4)):
        assert name.startswith("regvq-owner") and threads == 1 and not gradients


@pytest.mark.usefixtures("two_threads")
def test_others_keep_their_number_of_threads() -> None:
    map_with_owners(_seen, range(2))
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert [torch.get_num_threads(), *found] == [2, 2]


@pytest.mark.usefixtures("two_threads")
def test_the_number_of_others_is_kept_where_it_is_another() -> None:
    """It is read and set by threads that begin then; the caller's own is not theirs."""
    owners._elsewhere(torch.set_num_threads, 3)
    assert torch.get_num_threads() == 2
    map_with_owners(_seen, range(2))
    assert owners._elsewhere(torch.get_num_threads) == [3] and torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_threads_that_cannot_begin_leave_the_work_to_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, submit, begun = threading.current_thread().name, ThreadPoolExecutor.submit, []

    def one(pool: ThreadPoolExecutor, *given: Any) -> Any:
        if begun:
            raise RuntimeError("can't start new thread")
        begun.append(submit(pool, *given))
        return begun[0]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", one)
    assert {name for name, *_ in map_with_owners(_seen, range(3))} == {here}
    assert isinstance(begun[0].exception(60), threading.BrokenBarrierError)
    assert owners._elsewhere(torch.get_num_threads) == [2] and not owners._pools


@pytest.mark.usefixtures("two_threads")
def test_a_search_that_is_watched_stays_in_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces and counters see the operations of one thread: an id would become a constant."""
    monkeypatch.setattr(lookup, "OWNED", 1)
    draw = torch.Generator().manual_seed(0)
    one, other, codes = (torch.randn(64, 4, generator=draw) for _ in range(3))

    def search(rows: torch.Tensor) -> torch.Tensor:
        return lookup.search(rows, codes, torch.zeros(64))

    wanted = search(other)
    assert torch.equal(make_fx(search)(one)(other), wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(torch.jit.trace(search, one)(other), wanted)
    assert torch.equal(torch.func.functionalize(search)(other), wanted)
    with FlopCounterMode(display=False) as counted:
        search(other)
    assert counted.get_total_flops() == 2 * 64 * 64 * 4


def test_with_one_thread_the_caller_computes(two_threads: None) -> None:
    torch.set_num_threads(1)
    here = threading.current_thread().name
    assert {name for name, *_ in map_with_owners(_seen, range(3))} == {here}
    torch.set_num_threads(2)
    assert map_with_owners(_seen, [0])[0][0] == here, "one part is not handed over"
    assert map_with_owners(_seen, []) == []


@pytest.mark.usefixtures("two_threads")
def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        map_with_owners(lambda number: 1 // number, range(3))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("rows", [2, 40, 90, 511, 512, 2500])
def test_the_search_of_owners_finds_the_codes_of_the_plain_one(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Generator().manual_seed(rows)
    z, codes = (torch.randn(n, 8, generator=draw, dtype=torch.float64) for n in (rows, 300))
    bias = torch.randn(300, generator=draw, dtype=torch.float64)
    calls: list[int] = []
    plain = lookup.plain_best_code

    def noted(part: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        calls.append(len(part))
        return plain(part, *rest)

    monkeypatch.setattr(lookup, "plain_best_code", noted)
    monkeypatch.setattr(lookup, "OWNED", rows * 300)
    found = lookup.search(z, codes, bias)
    assert torch.equal(found, (z @ codes.t() + bias).argmax(1))
    assert sum(calls) == rows and max(calls) == min(256, max(32, -(-rows // 2)), rows)
    calls.clear()
    monkeypatch.setattr(lookup, "OWNED", rows * 300 + 1)
    assert torch.equal(lookup.search(z, codes, bias), found) and calls == [rows]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX alone")
def test_a_fork_and_the_end_of_a_process_find_owners() -> None:
    """A child has no thread of its parent, and a process that ends starts none."""
    program = """
import atexit, os, torch
from core.quantizers.tiled.owners import map_with_owners
torch.set_num_threads(2)
def work(): return map_with_owners(lambda n: n + 1, range(4))
assert work() == [1, 2, 3, 4]
child = os.fork()
if child == 0:
    assert work() == [1, 2, 3, 4]
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
atexit.register(lambda: print(work()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "[1, 2, 3, 4]" and done.returncode == 0, done.stderr
