"""A count of the bytes that each address has uploaded within the last hour."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ..services.cache import RecentItems

HOUR = 3600.0
MOMENT = 10.0
"""Seconds of uploads that are one entry: many small pieces take no more memory than a few."""
ADDRESSES = 10_000
"""Addresses that are remembered; then the one that was seen longest ago is forgotten."""


class Quota:
    """A sliding sum of bytes per address. It is used on the event loop only."""

    def __init__(self, most: int, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._now = most, now
        self._seen: RecentItems[str, deque[tuple[float, int]]] = RecentItems(ADDRESSES)

    def left(self, address: str) -> int:
        """Return the bytes that ``address`` may still upload."""
        return self._most - sum(size for _, size in self._recent(address))

    def add(self, address: str, size: int) -> None:
        """Count ``size`` bytes of ``address``."""
        if size <= 0:
            return
        entries = self._recent(address)
        if entries and self._now() - entries[-1][0] < MOMENT:
            began, before = entries.pop()
            entries.append((began, before + size))
        else:
            entries.append((self._now(), size))

    def _recent(self, address: str) -> deque[tuple[float, int]]:
        entries = self._seen.touch(address)
        if entries is None:
            entries = self._seen[address] = deque()
        while entries and entries[0][0] < self._now() - HOUR:
            entries.popleft()
        return entries
