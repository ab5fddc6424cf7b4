"""The lock that lets one model call run at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ModelLock:
    """A reentrant lock that is free again in a forked process.

    The thread that held the lock when the process was forked does not exist in the child and could
    never release it there.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting, self._counting = 0, threading.Lock()
        if hasattr(os, "register_at_fork"):  # Windows has no fork
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._waiting, self._counting = 0, threading.Lock()

    @property
    def wanted(self) -> bool:
        """True while a thread waits for the lock."""
        return self._waiting > 0

    def __enter__(self) -> ModelLock:
        if not self._lock.acquire(blocking=False):
            with self._counting:
                self._waiting += 1
            self._lock.acquire()
            with self._counting:
                self._waiting -= 1
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()


LOCK = ModelLock()
"""Held by everything that runs a model, for a visitor or for the warm-up."""


def one_at_a_time(function: Callable[P, T]) -> Callable[P, T]:
    """Run ``function`` while holding ``LOCK``."""

    @wraps(function)
    def locked(*args: P.args, **kwargs: P.kwargs) -> T:
        with LOCK:
            return function(*args, **kwargs)

    return locked
