"""The messages that wait for each session to fetch them, bounded in bytes.

Gradio keeps the answers of a session until its stream is read, however many and large they are, and
beyond 2,000 sessions forgets the one that called first, though it may be waiting for a model. Here
those are forgotten first that nobody has read for longest, and those that are read stay.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
from gradio.queueing import Queue
from gradio.utils import LRUCache

MOST = 32 * 2**20
"""Bytes of answers that wait, in JSON; in memory they take three times as many."""
SESSIONS = 2000
READ = 15.0
"""Seconds since which a session must have been read to count as read; its stream asks every 10."""


class Mailbox(asyncio.Queue[Any]):
    """The messages to a session. ``size`` is that of the answers among them in bytes."""

    def __init__(self, grown: Callable[[], None]) -> None:
        super().__init__()
        self._grown = grown
        self.size, self.read = 0, time.monotonic()

    def put_nowait(self, message: Any) -> None:
        """Add a message."""
        super().put_nowait((message, weight(message)))

    def _put(self, item: tuple[Any, int]) -> None:
        super()._put(item)
        self.size += item[1]
        if item[1]:
            self._grown()

    def _get(self) -> Any:
        message, size = super()._get()
        self.size -= size
        return message

    @property
    def is_read(self) -> bool:
        """True while somebody waits for a message."""
        return any(not getter.done() for getter in self._getters)  # type: ignore[attr-defined]

    @property
    def order(self) -> tuple[bool, float]:
        """Its rank among those that are forgotten: the least one first."""
        return self.is_read, self.read

    async def get(self) -> Any:
        """Return the next message; to wait for one is to read."""
        self.read = time.monotonic()
        return await super().get()


class Mailboxes(LRUCache[str, Any]):
    """The mailboxes of all sessions, in the place of Gradio's."""

    def __init__(self, queue: Queue, most: int = MOST, sessions: int = SESSIONS) -> None:
        super().__init__(1 << 30)
        self._queue, self._most, self._sessions = queue, most, sessions

    def __setitem__(self, session: str, _: Any) -> None:
        super().__setitem__(session, Mailbox(self._forget))
        self._forget()

    def __missing__(self, session: str) -> Any:
        return asyncio.Queue()  # an answer to a session that was forgotten goes nowhere

    def _forget(self) -> None:
        """Forget sessions that nobody reads until the others are within bounds."""
        size = sum(box.size for box in self.values())
        if size <= self._most and len(self) <= self._sessions:
            return
        before = time.monotonic() - READ
        for session, box in sorted(self.items(), key=lambda item: item[1].order):
            if size <= self._most and len(self) <= self._sessions:
                return
            # A new one gets some time, in which it is read if a page or a client has called.
            if box.read > before and size <= 2 * self._most and len(self) <= 2 * self._sessions:
                return
            size -= box.size
            del self[session]
            self._queue.pending_event_ids_session.pop(session, None)


def weight(message: Any) -> int:
    """Return the bytes of a message's answer in JSON; 0 for one without data."""
    data = (getattr(message, "output", None) or {}).get("data")
    try:
        return len(orjson.dumps(data, default=str)) if data else 0
    except TypeError:  # half a character, which cannot be sent either
        return 0
