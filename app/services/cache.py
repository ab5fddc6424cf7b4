"""A dictionary of limited size."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RecentItems(OrderedDict[K, V]):
    """A dictionary that keeps the ``size`` items that were set or touched last."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self.size:
            self.popitem(last=False)

    def touch(self, key: K) -> V | None:
        """Return the item ``key`` and mark it as the one used last; None if it is missing."""
        try:
            self.move_to_end(key)
        except KeyError:  # it was never there, or another thread has just made room
            return None
        return self.get(key)
