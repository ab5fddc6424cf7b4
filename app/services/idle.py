"""Work that waits until no request is running.

Importing the text encoder of a prior takes the interpreter and one CPU core for seconds; a user who
is clicking through the tabs would notice it at every click.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

QUIET = 1.5
"""Seconds without a request after which the server counts as idle."""
LONGEST = 60.0
"""Seconds after which the work starts even if the server is not idle."""

_HEARTBEAT = "/heartbeat/"  # a stream that is open for as long as a page is


class RequestMonitor:
    """A counter of running requests that knows since when there has been none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open, self._since = 0, time.monotonic()

    def begin(self) -> None:
        """Count a request that starts."""
        with self._lock:
            self._open += 1

    def end(self) -> None:
        """Count a request that is answered."""
        with self._lock:
            self._open -= 1
            self._since = time.monotonic()

    def idle_seconds(self) -> float:
        """Return the seconds since the last answer; 0 while a request is running."""
        with self._lock:
            return 0.0 if self._open else time.monotonic() - self._since

    def wait(self, quiet: float | None = None, longest: float = LONGEST) -> bool:
        """Return True after ``quiet`` seconds (None: ``QUIET``) without a request, False after
        ``longest`` seconds."""
        quiet = QUIET if quiet is None else quiet
        until = time.monotonic() + longest
        while (left := quiet - self.idle_seconds()) > 0:
            if time.monotonic() + left > until:
                time.sleep(max(0.0, until - time.monotonic()))
                return self.idle_seconds() >= quiet
            time.sleep(left)
        return True


REQUESTS = RequestMonitor()
"""The monitor of this process's requests."""


_waiting: set[str] = set()
_guard = threading.Lock()


def run_when_idle(act: Callable[[], object], name: str) -> None:
    """Call ``act`` in a thread called ``name`` as soon as the server is idle.

    While work of that name waits or runs, more of it is left out: however often visitors ask for
    it, there is one thread per name.
    """
    with _guard:
        if name in _waiting:
            return
        _waiting.add(name)

    def run() -> None:
        try:
            REQUESTS.wait()
            act()
        finally:
            with _guard:
                _waiting.discard(name)

    threading.Thread(target=run, name=name, daemon=True).start()


class CountRequests:
    """ASGI middleware that reports every request to ``REQUESTS``, except a page's heartbeat."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _HEARTBEAT in scope["path"]:
            await self._app(scope, receive, send)
            return
        REQUESTS.begin()
        try:
            await self._app(scope, receive, send)
        finally:
            REQUESTS.end()
