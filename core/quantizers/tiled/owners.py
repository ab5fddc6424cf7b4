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
from typing import Any, TypeVar

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
        with contextlib.suppress(RuntimeError):  # a process that ends, or has too many threads
            found = _pool(count).map(call, parts)
    return list(found)


def is_watched() -> bool:
    """Return True if something follows the operations of the calling thread alone: a trace, a
    counter, a transformation. It would miss those of other threads."""
    internals: Any = torch._C  # whose stubs lack a part
    return (
        internals._get_tracing_state() is not None
        or internals._len_torch_dispatch_stack() > 0
        or internals._functorch.peek_interpreter_stack() is not None
    )


def _pool(count: int) -> ThreadPoolExecutor:
    """Return ``count`` threads, each of which computes with one.

    Raises RuntimeError if they cannot begin. The number that a thread sets for itself is that of
    all threads which begin later, too: here it is set back at once, by a thread of its own, whose
    number it is.
    """
    with _one_at_a_time:
        if count in _pools:
            return _pools[count]
        (others,) = _elsewhere(torch.get_num_threads)
        pool = ThreadPoolExecutor(count, "regvq-owner")
        together = threading.Barrier(count + 1, timeout=10)
        try:
            for _ in range(count):
                pool.submit(_begin, together)
            together.wait()  # all have begun: from here on none can fail to
            together.wait()
        except RuntimeError:
            together.abort()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            _elsewhere(torch.set_num_threads, others)
        _pools[count] = pool
        return pool


def _begin(together: threading.Barrier) -> None:
    torch.get_num_threads()  # a thread's first use takes over the others' number, also after the 1
    together.wait()
    torch.set_num_threads(1)
    together.wait()


def _elsewhere(function: Callable[..., Result], *given: int) -> list[Result]:
    """Return the result of a function in a new thread."""
    found: list[Result] = []
    thread = threading.Thread(target=lambda: found.append(function(*given)))
    thread.start()
    thread.join()
    return found


def _forget() -> None:
    """Forget the threads of a parent process, which do not survive a fork."""
    global _one_at_a_time
    _one_at_a_time = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
