"""The page of somebody who has not logged in, without the list of endpoints.

Gradio writes the API with names of checkpoints into every page, that of the login, too, though
it asks for a login before it answers ``/gradio_api/info``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Send

_LIST = re.compile(rb"(window\.gradio_api_info = ).*?(;?</script>)", re.DOTALL)


def without_endpoints(send: Send) -> Send:
    """Return ``send`` with the list taken out of a page."""
    start: Message | None = None

    async def change(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start" and _is_page(message):
            start = message
            return
        if start is not None:
            body = _LIST.sub(rb"\1{}\2", message.get("body", b""))
            headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
            if not message.get("more_body", False):
                headers.append((b"content-length", str(len(body)).encode()))
            await send({**start, "headers": headers})
            start, message = None, {**message, "body": body}
        await send(message)

    return change


def _is_page(message: Message) -> bool:
    return dict(message["headers"]).get(b"content-type", b"").startswith(b"text/html")
