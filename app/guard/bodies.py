"""Bodies of requests: read up to a limit, and handed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .answers import Refusal
from .settings import MEGABYTE

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope

_DRAINED = 256 * MEGABYTE
_DRAIN_SECONDS = 10.0


def declared_length(scope: Scope) -> int | None:
    """Return the length that a request declares; None if it declares none, or no number."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None


def too_large(most: int) -> Refusal:
    """Return the refusal of a body of more than ``most`` bytes."""
    size = f"{most / MEGABYTE:g} MB" if most >= MEGABYTE else f"{most / 1024:g} kB"
    return Refusal(413, f"The request must have at most {size}.")


async def read_body(scope: Scope, receive: Receive, most: int, seconds: float) -> bytes:
    """Return a request's body. Raises Refusal above ``most`` bytes or after ``seconds``."""
    if (declared_length(scope) or 0) > most:
        await drain(receive)
        raise too_large(most)
    parts, size = [], 0
    receive_in_time = within(receive, seconds, "request")
    while True:
        message = await receive_in_time()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "The request ended too early.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            parts.clear()
            await drain(receive)
            raise too_large(most)
        if not message.get("more_body", False):
            return b"".join(parts)


def within(receive: Receive, seconds: float, what: str) -> Receive:
    """Return ``receive`` that raises Refusal after ``seconds``; ``what`` names what is sent."""
    until = time.monotonic() + seconds

    async def through() -> Message:
        try:
            return await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
        except asyncio.TimeoutError:
            raise Refusal(408, f"The {what} did not arrive within {seconds:g} s.") from None

    return through


async def drain(receive: Receive) -> None:
    """Read the rest of a body and drop it, within limits: a client that still sends would not read
    the answer."""
    size, until = 0, time.monotonic() + _DRAIN_SECONDS
    while size < _DRAINED and time.monotonic() < until:
        try:
            message = await asyncio.wait_for(receive(), _DRAIN_SECONDS)
        except asyncio.TimeoutError:
            return
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that yields ``body`` and then what the server has to say."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def counted(receive: Receive, count: Callable[[bytes], None]) -> Receive:
    """Return ``receive`` with ``count`` called with each part of the body."""

    async def through() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            count(message.get("body", b""))
        return message

    return through
