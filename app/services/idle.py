"""What may wait, waits until nobody is waiting for an answer.

Importing what priors read words with takes both the interpreter and a processor for seconds; a
visitor who goes through the tabs meanwhile would feel it at every click.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

CALM = 1.5
"""Seconds without a request after which nobody seems to be waiting."""
LONGEST = 60.0
"""Seconds after which what has to be done is done all the same."""

_STAYS_OPEN = "/heartbeat/"  # a stream that is open for as long as the page is


class Attention:
    """Knows since when nobody has waited for an answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open, self._since = 0, time.monotonic()

    def begin(self) -> None:
        """Someone waits."""
        with self._lock:
            self._open += 1

    def end(self) -> None:
        """One of those who wait got the answer."""
        with self._lock:
            self._open -= 1
            self._since = time.monotonic()

    def calm(self) -> float:
        """Seconds since the last answer; 0 while somebody waits."""
        with self._lock:
            return 0.0 if self._open else time.monotonic() - self._since

    def wait(self, calm: float | None = None, longest: float = LONGEST) -> bool:
        """Return when there were ``calm`` (None: ``CALM``) seconds without a request (true), or
        after ``longest`` (false)."""
        calm = CALM if calm is None else calm
        until = time.monotonic() + longest
        while (left := calm - self.calm()) > 0:
            if time.monotonic() + left > until:
                time.sleep(max(0.0, until - time.monotonic()))
                return self.calm() >= calm
            time.sleep(left)
        return True


ATTENTION = Attention()
"""That of this process's visitors."""


def when_calm(act: Callable[[], object], name: str) -> None:
    """Do it in a thread of that name, as soon as nobody waits."""

    def run() -> None:
        ATTENTION.wait()
        act()

    threading.Thread(target=run, name=name, daemon=True).start()


class Attended:
    """ASGI middleware: tells ``ATTENTION`` of every request, but for the page's heartbeat."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _STAYS_OPEN in scope["path"]:
            await self._app(scope, receive, send)
            return
        ATTENTION.begin()
        try:
            await self._app(scope, receive, send)
        finally:
            ATTENTION.end()
