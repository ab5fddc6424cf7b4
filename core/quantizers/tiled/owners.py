"""Threads that own parts of a loop, each of which computes its operations alone.

torch shares out every operation among its threads, which then wait for the slowest. A loop over
small tiles has a thousand such waits, and beside a busy program each may last as long as that
program's turn. Where tiles do not depend on one another, it is faster on an idle machine, too, that
a thread takes whole tiles (measured: docs/performance.md).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")

_pools: dict[int, ThreadPoolExecutor] = {}
_one_at_a_time = threading.Lock()


def map_with_owners(function: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """Return the results of ``function`` for each part, in order, without gradients.

    The parts are taken by as many threads as torch uses for the caller (`torch.get_num_threads`),
    each of which computes with one. With one, the caller computes them itself.
    """
    parts, count = list(parts), torch.get_num_threads()

    @torch.no_grad()  # a thread does not inherit it
    def call(part: Part) -> Result:
        return function(part)

    found = map(call, parts)
    if count > 1 and len(parts) > 1:
        with contextlib.suppress(RuntimeError):  # a process that ends takes no more work
            found = _pool(count).map(call, parts)
    return list(found)


def _pool(count: int) -> ThreadPoolExecutor:
    """Return ``count`` threads, each of which computes with one."""
    with _one_at_a_time:
        if count not in _pools:
            pool = ThreadPoolExecutor(count, "regvq-owner")
            # All begin before any goes on; one that a process which ends keeps from it gives up.
            together = threading.Barrier(count + 1, timeout=10)
            try:
                for _ in range(count):
                    pool.submit(_begin, together)
                together.wait()
            finally:  # the number that a thread sets is that of all threads which begin later, too
                torch.set_num_threads(count)
            _pools[count] = pool
        return _pools[count]


def _begin(together: threading.Barrier) -> None:
    torch.get_num_threads()  # a thread's first use takes over the others' number, also after the 1
    torch.set_num_threads(1)
    together.wait()


def _forget() -> None:
    """Forget the threads of a parent process, which do not survive a fork."""
    global _one_at_a_time
    _one_at_a_time = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
