"""Headers that tell a browser how little the page may do."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .settings import SettingError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

VARIABLE = "REGVQ_FRAME_ANCESTORS"
FRAMES = "'self' https://huggingface.co https://*.hf.space"
"""Pages that may show the explorer in a frame: its own, and those that show a Space."""
_SOURCE = re.compile(r"https?://[A-Za-z0-9.*:_-]+|'self'|\*")

PAGE = {
    "default-src": "'self'",
    # Gradio's page starts from inline scripts, and runs the scripts of gr.HTML components with
    # `new Function`.
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",  # inline styles of Gradio's and of our own components
    "img-src": "'self' data: blob:",  # tiles are data: addresses, uploads are shown as blob:
    "media-src": "'none'",
    "font-src": "'self'",
    "connect-src": "'self' data: blob:",  # a picture that is pasted or dropped has such an address
    "worker-src": "'none'",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
"""The content security policy of the page. Nothing is loaded from, or sent to, another host."""


def frame_ancestors(environment: Mapping[str, str] | None = None) -> str:
    """Return the pages that may show the explorer in a frame. Raises SettingError."""
    env = os.environ if environment is None else environment
    text = env.get(VARIABLE, "").replace(",", " ").split()
    if not text:
        return FRAMES
    if text == ["none"]:
        return "'none'"
    found = ["'self'" if one == "self" else one for one in text]
    if wrong := [one for one in found if not _SOURCE.fullmatch(one)]:
        raise SettingError(
            f'{VARIABLE} must be "none", or addresses such as https://example.org, separated by '
            f"spaces; {wrong[0][:60]!r} is neither."
        )
    return " ".join(found)


class SafeHeaders:
    """ASGI middleware that adds the headers to every answer."""

    def __init__(self, app: ASGIApp, frames: str = FRAMES) -> None:
        self._app = app
        page = {**PAGE, "frame-ancestors": frames}
        self._page = "; ".join(f"{name} {value}" for name, value in page.items())
        # A file that is opened by itself, such as an uploaded SVG, runs nothing.
        self._file = f"default-src 'none'; sandbox; frame-ancestors {frames}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._with(message.get("headers", ()))}
            await send(message)

        await self._app(scope, receive, add)

    def _with(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        given = {name.lower(): value for name, value in headers}
        is_page = given.get(b"content-type", b"").startswith(b"text/html")
        is_page = is_page and b"content-disposition" not in given
        added = {
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"same-origin",
            b"permissions-policy": b"camera=(), microphone=(), geolocation=(), payment=(), usb=()",
            b"content-security-policy": (self._page if is_page else self._file).encode(),
        }
        return [*headers, *((name, value) for name, value in added.items() if name not in given)]
