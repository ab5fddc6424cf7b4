"""Uploads that cost more than their bytes: many small files, and one that never ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from gradio.route_utils import GradioMultiPartParser
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from app.guard.answers import Refusal
from app.guard.quota import Quota
from app.guard.settings import MEGABYTE, Limits
from app.guard.uploads import LEAST, PARTS, receive_upload

HEAD = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'


def upload(
    files: int, quota: Quota, folder: Any, limits: Limits | None = None, stalls: bool = False
) -> int:
    """Let Gradio's parser read an upload of empty files; return how many it has made.

    One that stalls has sent all but its last line.
    """
    body = b"\r\n".join([HEAD] * files) + (b"" if stalls else b"\r\n--x--\r\n")
    sent = False
    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": headers}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        parser = GradioMultiPartParser(
            request.headers, request.stream(), max_file_size=MEGABYTE, upload_dir=folder
        )
        try:
            await parser.parse()
            answer = PlainTextResponse("[]")
        except Exception as error:
            answer = PlainTextResponse(getattr(error, "message", str(error)), 400)
        await answer(scope, receive, send)

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": body, "more_body": stalls}

    async def send(message: Any) -> None:
        pass

    asyncio.run(receive_upload(app, scope, receive, send, limits or Limits(), quota, "a"))
    return len(list(folder.iterdir()))


def test_an_upload_of_many_files_is_refused_before_one_is_made(tmp_path: Any) -> None:
    """A thousand files in 100 kB held the event loop for 2.4 s."""
    with pytest.raises(Refusal, match=f"at most {PARTS} files") as caught:
        upload(1000, Quota(100 * MEGABYTE), tmp_path)
    assert caught.value.status == 400
    assert not list(tmp_path.iterdir())
    assert upload(PARTS, Quota(100 * MEGABYTE), tmp_path) == PARTS


def test_small_files_count_more_than_their_bytes(tmp_path: Any) -> None:
    quota = Quota(10 * LEAST)
    for _ in range(10):
        upload(1, quota, tmp_path)
    assert quota.left("a") == 0
    with pytest.raises(Refusal) as caught:
        upload(1, quota, tmp_path)
    assert caught.value.status == 429 and len(list(tmp_path.iterdir())) == 10


def test_an_upload_that_stalls_ends_with_a_sentence(tmp_path: Any) -> None:
    with pytest.raises(Refusal, match=r"did not arrive within 0\.1 s") as caught:
        upload(2, Quota(MEGABYTE), tmp_path, Limits(upload_seconds=0.1), stalls=True)
    assert caught.value.status == 408
    assert not [file for file in tmp_path.iterdir() if file.stat().st_size]


def test_uploads_at_the_same_time_share_one_quota() -> None:
    """Each of them began when nothing was used yet."""
    quota, stored = Quota(10 * MEGABYTE), []
    piece = b"-" * (MEGABYTE // 4)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        try:
            while more:
                message = await receive()
                size, more = size + len(message["body"]), message["more_body"]
        except Exception as error:  # as Gradio's parser does, which deletes its file
            await PlainTextResponse(str(error), 400)(scope, receive, send)
            return
        stored.append(size)
        await PlainTextResponse("[]")(scope, receive, send)

    async def one() -> None:
        left = 16  # 4 MB in 16 pieces

        async def receive() -> dict[str, Any]:
            nonlocal left
            await asyncio.sleep(0)  # the others go on
            left -= 1
            return {"type": "http.request", "body": piece, "more_body": left > 0}

        async def send(message: Any) -> None:
            pass

        scope = {"type": "http", "method": "POST", "path": "/gradio_api/upload", "headers": []}
        await receive_upload(app, scope, receive, send, Limits(), quota, "a")

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(one() for _ in range(20)), return_exceptions=True)

    answers = asyncio.run(all_at_once())
    assert {each.status for each in answers if each} == {429}
    assert sum(stored) <= 10 * MEGABYTE
    assert quota.left("a") <= 0 and quota.left("b") == 10 * MEGABYTE


def test_small_pieces_take_no_memory_each() -> None:
    now = 0.0
    quota = Quota(1000, lambda: now)
    for _ in range(100):
        quota.add("a", 3)
    assert quota.left("a") == 700 and len(quota._recent("a")) == 1
    now = 1800.0
    quota.add("a", 100)
    assert quota.left("a") == 600
    now = 3601.0
    assert quota.left("a") == 900
    now = 5401.0
    assert quota.left("a") == 1000
