"""A brake on guessed passwords: after three wrong ones, an address waits before each further one.

The wait doubles with every guess. A short one is spent before the answer; above that, the answer is
that it is too early.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..services.cache import RecentItems
from .addresses import visitor
from .answers import Refusal, refuse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("regvq.app")

FREE = 3
"""Wrong passwords in a row that cost no wait."""
PATIENT = 4.0
"""The longest wait in seconds that is spent before the answer."""
LONGEST = 900.0
"""The longest wait in seconds."""
FORGOTTEN = 3600.0
"""Seconds after which an address's wrong passwords are forgotten."""
ADDRESSES = 10_000
LOGIN = re.compile(r"/login/?")


class Guesses:
    """The wrong passwords of each address. It is used on the event loop only."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: RecentItems[str, tuple[int, float, float]] = RecentItems(ADDRESSES)

    def begin(self, address: str) -> float:
        """Count a guess as wrong until it is known, and return the seconds that it has to wait.

        Guesses that are sent at the same time wait for one another. One that would have to wait
        longer than ``PATIENT`` is not made, and not counted.
        """
        now = self._now()
        wrong, free_at, last = self._seen.get(address, (0, 0.0, now))
        if now - last > FORGOTTEN:
            wrong, free_at = 0, 0.0
        wait = max(0.0, free_at - now)
        if wait <= PATIENT:
            pause = min(2.0 ** (wrong + 1 - FREE), LONGEST) if wrong + 1 >= FREE else 0.0
            self._seen[address] = (wrong + 1, now + wait + pause, now)
        return wait

    def right(self, address: str) -> None:
        """Forget the guesses of an address that has logged in."""
        self._seen.pop(address, None)

    def in_a_row(self, address: str) -> int:
        """Return the number of wrong guesses."""
        return self._seen.get(address, (0, 0.0, 0.0))[0]


class LoginBrake:
    """ASGI middleware that slows guesses down and writes each wrong one to the log."""

    def __init__(self, app: ASGIApp, proxies: int = 0, guesses: Guesses | None = None) -> None:
        self._app, self._proxies = app, proxies
        self._guesses = guesses or Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_login = scope["type"] == "http" and LOGIN.fullmatch(scope["path"])
        if not is_login or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        address = visitor(scope, self._proxies)
        wait = self._guesses.begin(address)
        if wait > PATIENT:
            seconds = str(int(wait) + 1)
            sentence = f"Too many wrong passwords: wait {seconds} s before the next one."
            await refuse(scope, send, Refusal(429, sentence, {"retry-after": seconds}))
            return
        await asyncio.sleep(wait)

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] < 400:
                    self._guesses.right(address)
                else:
                    row = self._guesses.in_a_row(address)
                    log.warning("Wrong user name or password from %s (%d in a row)", address, row)
            await send(message)

        await self._app(scope, receive, watch)
