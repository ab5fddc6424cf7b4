"""Access control: who may visit, and Gradio's routes that are closed.

``REGVQ_AUTH`` lists visitors and their passwords. ``OnlyOurFiles`` closes routes of Gradio that
this app does not use: through them a visitor could make the server fetch an address, or write files
that are never deleted.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .guard.answers import Refusal, refuse
from .guard.settings import SettingError

VARIABLE = "REGVQ_AUTH"


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_NOT_FOUND = Refusal(404, "This route is closed.")
_CLOSED = re.compile(
    r"/(?:file=\s*[a-z][a-z0-9+.-]+:"  # file=http://…: the server would fetch it
    r"|proxy=|deep_link\b|process_recording\b|run-history\b|vibe-|undo-vibe|start-vibe|dev/reload"
    r")|^/(?:gradio_api/)?(?:component_server\b|stream/|custom_component/|monitoring\b|profiling/"
    r"|pwa_icon\b)",
    re.IGNORECASE,
)


def visitors(text: str | None = None) -> list[tuple[str, str]] | None:
    """Return the names and passwords in ``text`` or ``REGVQ_AUTH``: "user:password" pairs,
    separated by commas; None if everybody may visit. Raises SettingError, without any password."""
    text = os.environ.get(VARIABLE, "") if text is None else text
    pairs = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not pairs:
        if text.strip():  # something was intended: better nobody than everybody
            raise SettingError(f'{VARIABLE} names nobody; it must be "user:password" pairs.')
        return None
    found: dict[str, str] = {}
    for number, entry in enumerate(pairs, 1):
        name, colon, password = (part.strip() for part in entry.partition(":"))
        if not (name and colon and password):
            raise SettingError(
                f'entry {number} of {VARIABLE} must be "user:password"; pairs are separated by '
                "commas, so a password cannot contain one."
            )
        if name in found:
            raise SettingError(f"{VARIABLE} names {name} twice.")
        found[name] = password
    return list(found.items())


def admission(text: str | None = None) -> Callable[[str, str], bool] | None:
    """Return a function that tells whether a name and a password are those of a visitor, or None if
    everybody may visit; arguments and errors as of ``visitors``.

    It compares with every visitor, whatever the name, and takes the same time for each.
    """
    pairs = visitors(text)
    if pairs is None:
        return None
    known = [(_digest(name), _digest(password)) for name, password in pairs]

    def admits(name: str, password: str) -> bool:
        given, secret, found = _digest(name), _digest(password), False
        for one, other in known:
            found |= hmac.compare_digest(one, given) & hmac.compare_digest(other, secret)
        return found

    return admits


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class OnlyOurFiles:
    """ASGI middleware that answers 404 on routes of Gradio that are not used here."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _CLOSED.search(scope["path"]):
            await refuse(scope, send, _NOT_FOUND)
            return
        await self._app(scope, receive, send)
