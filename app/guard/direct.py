"""Turns of direct calls, which go around the queue and its lines.

Each takes a thread until it ends. A hundred of them at once took all threads, so that no page could
be opened. So one address has a few at a time, and its further ones wait without a thread.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from .answers import Refusal

AT_ONCE = 24
"""Calls that run at the same time."""
WAITING = 64
"""Calls of one address that run or wait."""


class Turns:
    """The direct calls of every address. It is used on the event loop only.

    at_once: the calls of one address that run at the same time.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._all = asyncio.Semaphore(AT_ONCE)
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._count: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn of ``address``, and hold it. Raises Refusal if too many wait already."""
        if self._count[address] >= WAITING:
            raise Refusal(
                429, f"Your address has {WAITING} calls waiting; wait for one of them to end."
            )
        own = self._own.setdefault(address, asyncio.Semaphore(self._at_once))
        self._count[address] += 1
        try:
            async with own, self._all:
                yield
        finally:
            self._count[address] -= 1
            if not self._count[address]:
                del self._count[address]
