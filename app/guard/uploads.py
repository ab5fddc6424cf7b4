"""Uploads: limits per file, per address and hour, and no file left of one that failed."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from typing import TYPE_CHECKING

from .answers import Refusal
from .bodies import counted, declared_length, drain, within
from .quota import Quota
from .settings import MEGABYTE, Limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The parser writes a line of its own about what is refused here anyway.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

UPLOAD = re.compile(r"/gradio_api/upload/?")
STALE = 900.0
"""Seconds after which a file that was never finished is deleted."""
PARTS = 16
"""Files and fields of one upload; the page and its clients send one file at a time."""
LEAST = 65_536
"""Bytes that a file counts at least: an empty one costs a folder and the time to write it."""
_PART = re.compile(rb"content-disposition", re.IGNORECASE)


async def receive_upload(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    limits: Limits,
    quota: Quota,
    address: str,
) -> None:
    """Let ``app`` receive an upload. Raises Refusal if it is too large, too slow, or not
    understood."""
    left = quota.left(address)
    most = limits.upload + limits.form
    if left <= 0 or (declared_length(scope) or 0) > min(most, left):
        await drain(receive)
        raise _refusal(left, most, limits)
    size, parts, status, answer, over = 0, 0, 200, b"", False
    late: Refusal | None = None
    timed = within(receive, limits.upload_seconds, "upload")

    async def receive_in_time() -> Message:
        nonlocal late
        try:
            return await timed()
        except Refusal as refusal:
            late = refusal
            raise _parser_error()("The upload takes too long.") from None

    def count(more: bytes) -> None:
        nonlocal size, parts, over
        size += len(more)
        parts += len(_PART.findall(more))
        quota.add(address, len(more))
        # Other uploads of the address, received at the same time, count, too.
        over = size > most or quota.left(address) < 0
        if over:
            raise _parser_error()("The upload exceeds the maximum allowed size.")
        if parts > PARTS:  # the parser would make all files at once, in the event loop
            raise _parser_error()(f"An upload holds at most {PARTS} files.")

    async def hold_errors(message: Message) -> None:
        nonlocal status, answer
        if message["type"] == "http.response.start":
            status = message["status"]
        if status < 400:
            await send(message)
        elif message["type"] == "http.response.body":
            answer += message.get("body", b"")

    try:
        await app(scope, counted(receive_in_time, count), hold_errors)
    except Exception as error:
        raise Refusal(400, "The upload is not understood.") from error
    finally:
        quota.add(address, parts * LEAST - size)
        _delete_stale()
    if late:
        raise late
    if over:
        await drain(receive)
        raise _refusal(most if size > most else 0, most, limits)
    if status == 413:
        raise _refusal(left, most, limits)
    if status >= 400:
        words = answer.decode(errors="replace")[:200]
        raise Refusal(status if status < 500 else 400, _sentence(words))


def _refusal(left: int, most: int, limits: Limits) -> Refusal:
    if left < most:
        return Refusal(
            429,
            f"Your uploads exceed {limits.uploads_per_hour / MEGABYTE:g} MB within an hour; "
            "try again later.",
            {"retry-after": "3600"},
        )
    return Refusal(413, f"The upload must have at most {limits.upload / MEGABYTE:g} MB.")


def _sentence(words: str) -> str:
    detail = re.search(r'"detail":"([^"]+)"', words)
    found = (detail[1] if detail else words).strip()
    if not found or found[0] in "{[<":
        return "The upload is not understood."
    return found if found.endswith(".") else f"{found}."


def _parser_error() -> type[Exception]:
    """Return the exception at which Gradio's parser closes its files."""
    from starlette.formparsers import MultiPartException

    return MultiPartException


def _delete_stale() -> None:
    """Delete files of uploads that failed: Gradio writes them beside the folders of finished ones
    and leaves them there."""
    from gradio.utils import get_upload_folder

    before = time.time() - STALE
    with contextlib.suppress(OSError), os.scandir(get_upload_folder()) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < before:
                    os.unlink(entry.path)
