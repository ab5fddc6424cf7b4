"""The gate: ASGI middleware that reads each request before Gradio does.

It limits addresses and bodies, parses JSON in a worker thread, and refuses what names a file of
another machine, a listener that is private, or a call without its inputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from weakref import WeakValueDictionary

from .addresses import visitor
from .answers import Refusal, refuse, send_event
from .bodies import read_body, replay
from .calls import (
    UNKNOWN_SESSION,
    check_call,
    check_event,
    check_query,
    knows_session,
    runs_directly,
)
from .direct import Turns
from .login_page import without_endpoints
from .logins import LOGIN
from .quota import Quota
from .settings import Limits
from .uploads import UPLOAD, receive_upload
from .values import check_files, check_tool_call, files, lies_in, read_json

if TYPE_CHECKING:
    from anyio import CapacityLimiter
    from gradio.blocks import Blocks
    from starlette.types import ASGIApp, Receive, Scope, Send

_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
_PICTURES = 4
"""Pictures of a call that are read in advance; no endpoint has more inputs for them."""
_STREAM = "/gradio_api/queue/data"
_MCP = re.compile(r"/gradio_api/mcp(?:/.*)?")
_HOST = re.compile(rb"[A-Za-z0-9.:_\[\]-]{1,255}(?:, *[A-Za-z0-9.:_\[\]-]{1,255}){0,9}")
_NAME = 255
"""Bytes of a file's name; the framework answers 500 to a longer one."""
_HOSTS = (b"host", b"x-forwarded-host", b"x-forwarded-proto")


class Gate:
    """ASGI middleware that lets through what the explorer and its clients send."""

    def __init__(self, app: ASGIApp, limits: Limits | None = None) -> None:
        self._app, self._limits = app, limits or Limits()
        self._quota = Quota(self._limits.uploads_per_hour)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._limiter: CapacityLimiter | None = None
        # Of listeners that have a line, and of those that answer at once.
        self._direct = {True: Turns(4), False: Turns(16)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            query = self._check_head(scope)
            scope = _without_range(scope)
            admitted = is_admitted(scope)
            has_body, is_login = scope["method"] in _WITH_BODY, LOGIN.fullmatch(scope["path"])
            closed = has_body or _MCP.fullmatch(scope["path"])  # Gradio leaves these open
            if closed and not admitted and not is_login:
                raise Refusal(401, "Log in first.")
            if UPLOAD.fullmatch(scope["path"]):
                address = visitor(scope, self._limits.proxies)
                await receive_upload(
                    self._app, scope, receive, send, self._limits, self._quota, address
                )
                return
            if has_body:
                receive, turns = await self._check_body(scope, receive)
                if turns is not None:
                    async with turns.turn(visitor(scope, self._limits.proxies)):
                        await self._app(scope, receive, send)
                    return
        except Refusal as refusal:
            await refuse(scope, send, refusal)
            return
        if scope["path"] == _STREAM and admitted and not self._knows(scope, query):
            await send_event(scope, send, UNKNOWN_SESSION)
            return
        await self._app(scope, receive, send if admitted else without_endpoints(send))

    def _knows(self, scope: Scope, query: dict[str, str]) -> bool:
        blocks = blocks_of(scope)
        return blocks is None or knows_session(blocks, query.get("session_hash", ""))

    def _check_head(self, scope: Scope) -> dict[str, str]:
        """Return the query. Raises Refusal if the address or a header cannot come from a page or a
        client."""
        query = scope.get("query_string", b"")
        if len(scope.get("raw_path") or b"") + len(query) > self._limits.address:
            raise Refusal(
                414, f"The address must have at most {self._limits.address:,} characters."
            )
        for name, value in scope["headers"]:
            if name in _HOSTS and not _HOST.fullmatch(value):
                raise Refusal(400, f"The header {name.decode()} names no host.")
        path = scope["path"]
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
            raise Refusal(400, "The address holds control characters.")
        if any(len(part) > _NAME for part in path.encode("utf-8", "replace").split(b"/")):
            raise Refusal(404, "There is nothing at this address.")  # no file has such a name
        found = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        check_query(path, found)
        blocks = blocks_of(scope)
        if blocks is not None and scope["method"] == "GET" and is_admitted(scope):
            check_event(blocks, path)
        return found

    async def _check_body(self, scope: Scope, receive: Receive) -> tuple[Receive, Turns | None]:
        """Return a ``receive`` that yields the checked body, and the turns that the call takes part
        in. Raises Refusal."""
        limits, path = self._limits, scope["path"]
        most = limits.form if LOGIN.fullmatch(path) else limits.body
        body, direct = await read_body(scope, receive, most, limits.seconds), None
        if body and not LOGIN.fullmatch(path):
            body, pictures, direct = await in_thread(self._check_json, blocks_of(scope), path, body)
            if pictures:
                await self._screen(visitor(scope, limits.proxies), pictures)
        return replay(body, receive), None if direct is None else self._direct[direct]

    def _check_json(
        self, blocks: Blocks | None, path: str, body: bytes
    ) -> tuple[bytes, list[str], bool | None]:
        """Return the body, with the inputs that a call leaves out; the files that it names, all of
        them uploads; and what `runs_directly` says. Raises Refusal."""
        from gradio.utils import get_upload_folder

        value, direct = read_json(body, self._limits), None
        folder = get_upload_folder()
        check_files(value, lambda file: lies_in(file, folder))
        if _MCP.fullmatch(path):
            check_tool_call(value)
        elif blocks is not None:
            if check_call(blocks, path, value):
                body = json.dumps(value).encode()
            direct = runs_directly(blocks, path, value)
        return body, list(dict.fromkeys(file for file, _ in files(value) if file)), direct

    def _screening(self) -> CapacityLimiter:
        """Return the limit of threads that wait for pictures; Gradio's own threads stay free."""
        from anyio import CapacityLimiter

        if self._limiter is None:
            self._limiter = CapacityLimiter(4)
        return self._limiter

    async def _screen(self, address: str, pictures: list[str]) -> None:
        """Read pictures before the call joins a queue, one visitor's after another. A picture that
        is refused stays refused: the call's own handler says so, in the way that its page shows."""
        from ..services.uploads import screen

        turn = self._turns.setdefault(address, asyncio.Lock())
        async with turn:
            for picture in pictures[:_PICTURES]:
                with contextlib.suppress(Exception):
                    await in_thread(screen, picture, limiter=self._screening())


def _without_range(scope: Scope) -> Scope:
    """Return the request for the whole file: a server need not serve ranges (RFC 9110, 14.2), and
    Gradio fails at several and answers a single one with the headers of the request."""
    if not any(name == b"range" for name, _ in scope["headers"]):
        return scope
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}


def blocks_of(scope: Scope) -> Blocks | None:
    """Return the explorer that a request is for."""
    return getattr(scope.get("app"), "blocks", None)


def is_admitted(scope: Scope) -> bool:
    """Return True if everybody may visit, or if the request has the cookie of one who logged in."""
    app = scope.get("app")
    if getattr(app, "auth", None) is None:
        return True
    cookies = SimpleCookie()
    for name, value in scope["headers"]:
        if name == b"cookie":
            with contextlib.suppress(CookieError):
                cookies.load(value.decode("latin-1"))
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(name in cookies and cookies[name].value in app.tokens for name in names)


async def in_thread(function: Callable[..., Any], *arguments: Any, limiter: Any = None) -> Any:
    """Return the result of ``function`` in a worker thread, so that the event loop goes on."""
    from anyio.to_thread import run_sync

    return await run_sync(function, *arguments, limiter=limiter)
