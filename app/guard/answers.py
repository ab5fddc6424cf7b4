"""Refusals: one sentence for the visitor, one line in the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import Scope, Send

log = logging.getLogger("regvq.app")


class Refusal(Exception):
    """A request that is not served: the status and the sentence of its answer."""

    def __init__(
        self, status: int, sentence: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
        self.headers = dict(headers or {})


async def refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer a request with a refusal, as JSON that Gradio's page and client understand."""
    log.warning("Refused %s %s (%d): %s", *place(scope), refusal.status, one_line(refusal.sentence))
    await send_json(
        send,
        refusal.status,
        {"detail": refusal.sentence, "error": refusal.sentence},
        refusal.headers,
    )


async def send_json(
    send: Send, status: int, content: Any, headers: Mapping[str, str] | None = None
) -> None:
    """Send ``content`` as an answer in JSON."""
    body = json.dumps(content).encode()
    fields = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_event(scope: Scope, send: Send, content: Any) -> None:
    """Answer a request for a stream with one event and the stream's end."""
    log.warning("Refused %s %s: %s", *place(scope), one_line(str(content.get("message", ""))))
    fields = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    body = f"data: {json.dumps(content)}\n\n".encode()
    await send({"type": "http.response.body", "body": body})


def place(scope: Scope) -> tuple[str, str]:
    """Return the method and the path of a request for one line of the log."""
    return one_line(str(scope.get("method", ""))[:10]), one_line(str(scope.get("path", ""))[:120])


def one_line(text: str) -> str:
    """Return a text without line breaks and other characters that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:1000])
