"""Errors that nothing else caught: one line in the log and one sentence for the visitor."""

from __future__ import annotations

import json
import logging
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answers import one_line, place, send_json

if TYPE_CHECKING:
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("regvq.app")

VARIABLE = "REGVQ_TRACEBACKS"
UNEXPECTED = "Something went wrong in the server, which has noted it in its log; try other values."
_PHRASES = {
    "Not found": "There is nothing at this address.",
    "Not Found": "There is nothing at this address.",
    "Method Not Allowed": "This address does not take requests of this method.",
    "Forbidden": "This file is not served.",
    "Upload not found": "This upload is not known.",
}
_CALLS = ("/gradio_api/run/", "/gradio_api/api/")
_APP = Path(__file__).resolve().parents[1]


def log_failure(where: str, error: BaseException) -> None:
    """Write one line about an unexpected error: its kind, its text, and the line that raised it.

    With REGVQ_TRACEBACKS=1 the whole stack trace follows, for whoever looks for the bug.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_APP)]
    last = (ours or frames or [None])[-1]
    line = f"{Path(last.filename).name}:{last.lineno}" if last else "?"
    text = one_line(" ".join(str(error).split())[:300])
    whole = os.environ.get(VARIABLE) == "1"
    log.error(
        "%s failed at %s (%s): %s",
        where, line, type(error).__name__, text,
        exc_info=error if whole else None,
    )  # fmt: skip


def handlers() -> dict[Any, Any]:
    """Return FastAPI's exception handlers that answer with a sentence."""
    from fastapi.exception_handlers import http_exception_handler
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse

    def misunderstood(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0] if error.errors() else {}
        where = ".".join(str(part) for part in first.get("loc", ()) if part != "body")
        sentence = f"The request is not understood ({where[:60]}: {first.get('msg', '')[:120]})."
        log.warning("Refused %s %s (422): %s", *place(request.scope), one_line(sentence))
        return JSONResponse({"detail": sentence, "error": sentence}, 422)

    async def refused(request: Request, error: HTTPException) -> Response:
        sentence = _PHRASES.get(error.detail) if isinstance(error.detail, str) else None
        log.warning("Refused %s %s (%d)", *place(request.scope), error.status_code)
        if sentence is None:
            return await http_exception_handler(request, error)
        content = {"detail": sentence, "error": sentence}
        return JSONResponse(content, error.status_code, dict(error.headers or {}))

    return {RequestValidationError: misunderstood, HTTPException: refused}


class Sentences:
    """ASGI middleware that turns an exception into a sentence, and never lets one through.

    Gradio answers 500 to a direct call whenever its handler refuses a value; that is the visitor's
    error and becomes 400.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = ended = False

        async def watch(message: Message) -> None:
            nonlocal started, ended
            started = started or message["type"] == "http.response.start"
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        sender = _of_a_call(watch) if scope["path"].startswith(_CALLS) else _in_json(watch)
        try:
            await self._app(scope, receive, sender)
        except Exception as error:
            log_failure("{} {}".format(*place(scope)), error)
            if not started:
                await send_json(send, 500, {"detail": UNEXPECTED, "error": UNEXPECTED})
            elif not ended:  # a stream has sent its error already
                await send({"type": "http.response.body", "body": b""})


def _of_a_call(send: Send) -> Send:
    """Return ``send`` with the status 400 instead of 500 for an error of the visitor."""
    held: Message | None = None

    async def change(message: Message) -> None:
        nonlocal held
        if message["type"] == "http.response.start" and message["status"] == 500:
            held = message
            return
        if held is not None:
            try:
                unexpected = json.loads(message.get("body", b"")).get("error") == UNEXPECTED
            except (ValueError, AttributeError):
                unexpected = True
            await send({**held, "status": 500 if unexpected else 400})
            held = None
        await send(message)

    return change


def _in_json(send: Send) -> Send:
    """Return ``send`` with a refusal in plain text, which is no sentence, in the usual form."""
    status = 0

    async def change(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"")
            if message["status"] >= 400 and kind.startswith(b"text/plain"):
                status = message["status"]
                return
        elif status:
            words = message.get("body", b"").decode(errors="replace")[:200]
            sentence = _PHRASES.get(words, "The request is not understood.")
            await send_json(send, status, {"detail": sentence, "error": sentence})
            status = 0
            return
        await send(message)

    return change
