"""Access control: who may visit, and Gradio's routes that are closed.

``REGVQ_AUTH`` lists visitors and their passwords. ``OnlyOurFiles`` closes routes of Gradio that
this app does not use: through them a visitor could make the server fetch an address, or write files
that are never deleted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

VARIABLE = "REGVQ_AUTH"


class SettingError(ValueError):
    """An unusable setting of the owner; its text is one sentence."""


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_NOT_FOUND = b"Not found."
_CLOSED = re.compile(
    r"/(?:file=\s*[a-z][a-z0-9+.-]+:"  # file=http://…: the server would fetch it
    r"|proxy=|deep_link\b|process_recording\b|run-history\b|vibe-|undo-vibe|start-vibe|dev/reload)",
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


class OnlyOurFiles:
    """ASGI middleware that answers 404 on routes of Gradio that are not used here."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _CLOSED.search(scope["path"]):
            await send(
                {
                    "type": "http.response.start",
                    "status": 404,
                    "headers": [(b"content-type", b"text/plain")],
                }
            )
            await send({"type": "http.response.body", "body": _NOT_FOUND})
            return
        await self._app(scope, receive, send)
