"""Compression of HTML and JSON, which Gradio sends plain: the first page is 750 kB of text.

An answer that comes in parts is passed on as it comes: a stream of events must not be held back.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from .gate import in_thread

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALLEST = 1024
"""Bytes from which an answer is compressed."""
LARGE = 32_768
"""Bytes from which it is compressed in a worker thread."""
LEVEL = 5
_KINDS = (b"text/html", b"application/json")


class Compress:
    """ASGI middleware that compresses HTML and JSON for clients that accept gzip."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _accepts_gzip(scope):
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def compress(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_text(message):
                start = message
                return
            if start is not None:
                first, start = start, None
                body = message.get("body", b"")
                if not message.get("more_body", False) and len(body) >= SMALLEST:
                    large = len(body) >= LARGE
                    small = await in_thread(_gzip, body) if large else _gzip(body)
                    first, message = _with(first, small), {**message, "body": small}
                await send(first)
            await send(message)

        await self._app(scope, receive, compress)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0)


def _accepts_gzip(scope: Scope) -> bool:
    values = (value for name, value in scope["headers"] if name == b"accept-encoding")
    return any(b"gzip" in value and b"gzip;q=0" not in value.replace(b" ", b"") for value in values)


def _is_text(start: Message) -> bool:
    headers = {name.lower(): value for name, value in start["headers"]}
    plain = b"content-encoding" not in headers and b"content-range" not in headers
    return plain and headers.get(b"content-type", b"").startswith(_KINDS)


def _with(start: Message, body: bytes) -> Message:
    dropped = (b"content-length", b"etag")
    headers = [pair for pair in start["headers"] if pair[0].lower() not in dropped]
    headers += [
        (b"content-encoding", b"gzip"),
        (b"content-length", str(len(body)).encode()),
        (b"vary", b"Accept-Encoding"),
    ]
    return {**start, "headers": headers}
