"""Who may come in, and what is behind the doors that Gradio leaves open.

``REGVQ_AUTH`` names visitors and their passwords. ``OnlyOurFiles`` shuts routes of Gradio that this
app has no use for: by them a visitor could let the server fetch an address, or write files that are
never deleted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

VARIABLE = "REGVQ_AUTH"


class SettingError(ValueError):
    """A setting of the owner's that cannot be used; one sentence."""


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_NOT_HERE = b"Not here."
_SHUT = re.compile(
    r"/(?:file=\s*[a-z][a-z0-9+.-]+:"  # file=http://…: the server would fetch it
    r"|proxy=|deep_link\b|process_recording\b|run-history\b|vibe-|undo-vibe|start-vibe|dev/reload)",
    re.IGNORECASE,
)


def visitors(text: str | None = None) -> list[tuple[str, str]] | None:
    """The names and passwords of ``text`` or of ``REGVQ_AUTH``, "user:password" pairs with commas
    between them; None if everybody may come in. Raises SettingError; it tells no password.
    """
    text = os.environ.get(VARIABLE, "") if text is None else text
    pairs = [entry.strip() for entry in text.split(",") if entry.strip()]
    if not pairs:
        if text.strip():  # something was meant; better nobody than everybody
            raise SettingError(f'{VARIABLE} names nobody; it must be "user:password" pairs.')
        return None
    found: dict[str, str] = {}
    for number, entry in enumerate(pairs, 1):
        name, colon, password = (part.strip() for part in entry.partition(":"))
        if not (name and colon and password):
            raise SettingError(
                f'entry {number} of {VARIABLE} must be "user:password"; pairs are separated by '
                "commas, so that a password holds none."
            )
        if name in found:
            raise SettingError(f"{VARIABLE} names {name} twice.")
        found[name] = password
    return list(found.items())


class OnlyOurFiles:
    """ASGI middleware: 404 for routes of Gradio that are of no use here."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _SHUT.search(scope["path"]):
            await send(
                {
                    "type": "http.response.start",
                    "status": 404,
                    "headers": [(b"content-type", b"text/plain")],
                }
            )
            await send({"type": "http.response.body", "body": _NOT_HERE})
            return
        await self._app(scope, receive, send)
