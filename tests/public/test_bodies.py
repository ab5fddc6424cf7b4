"""Bodies of requests: what is too large or too deep is refused while others are served."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers import local_http as http
from tests.public.serving import Watched, watched

pytestmark = pytest.mark.slow

MB = 2**20
LONGEST = 5.0
"""Seconds that the event loop may stand still: 24 MB of edits once held it for 5 to 38 s."""


def parts(size: int, part: bytes = b"x" * 65536) -> Iterator[bytes]:
    for _ in range(size // len(part)):
        yield part


def post(explorer: Watched, body: bytes | Iterator[bytes], path: str = "call/edit_tokens"):
    headers = {"content-type": "application/json"}
    return http.post(
        f"{explorer.address}gradio_api/{path}", content=body, headers=headers, timeout=120
    )


def test_large_and_deep_bodies_are_refused_and_hold_nobody_up(public: Watched) -> None:
    public.warm_up("code_detail")
    before = public.memory()
    waits: list[float] = []
    end = threading.Event()

    def look() -> None:
        with http.client(base_url=public.address, timeout=60) as client:
            while not end.is_set():
                begun = time.monotonic()
                assert client.get("/gradio_api/app_id").status_code == 200
                waits.append(time.monotonic() - begun)
                time.sleep(0.05)

    other = threading.Thread(target=look)
    other.start()
    edits = b"[" + b"[1,2,3]," * (3 * MB) + b"[1,2,3]]"  # 24 MB
    for body, words in (
        (b'{"data": [null, "a", ' + edits + b"]}", "at most 1 MB"),
        (b'{"data": ["' + b"x" * (60 * MB) + b'"]}', "at most 1 MB"),
        (parts(30 * MB), "at most 1 MB"),
        (b'{"data": [null, "a", ' + edits[: MB // 2] + b"[]]]}", "at most 100,000 values"),
        (b'{"data": ' + b"[" * 50_000, "levels deep"),
        (b'{"data": ' + b'{"a":' * 50_000, "levels deep"),
    ):
        answer = post(public, body)
        assert answer.status_code in (400, 413) and words in answer.json()["error"]
    # The largest that is allowed, of many values.
    for route in ("call/edit_tokens", "run/edit_tokens"):
        answer = post(public, b'{"data": [null, "tiny-regvq", [' + b"1," * 90_000 + b"1]]}", route)
        assert answer.status_code in (200, 400), answer.text[:200]
    end.set()
    other.join()
    # The client shares this process's time with what builds and sends the bodies.
    assert len(waits) > 3 and max(waits) < 4 * LONGEST
    assert public.counted()["longest"] < LONGEST
    assert public.memory() - before < 200


def test_uploads_are_limited_each_and_per_hour(tmp_path: Path, checkpoints: Path) -> None:
    limits = {"REGVQ_UPLOAD_MB": "2", "REGVQ_UPLOADS_PER_HOUR_MB": "8"}
    with watched(tmp_path, checkpoints, limits) as explorer:
        address = f"{explorer.address}gradio_api/upload"

        def upload(size: int, name: str = "a.png") -> httpx.Response:
            files = {"files": (name, bytes(size), "image/png")}
            return http.post(address, files=files, timeout=60)

        def stream(size: int, files: int = 1) -> httpx.Response:
            """Send an upload whose length is not declared."""
            head = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n'

            def content() -> Iterator[bytes]:
                for _ in range(files):
                    yield head
                    yield from parts(size)
                    yield b"\r\n"
                yield b"--x--\r\n"

            headers = {"content-type": "multipart/form-data; boundary=x"}
            return http.post(address, content=content(), headers=headers, timeout=60)

        assert upload(MB).status_code == 200
        for answer in (upload(3 * MB), stream(3 * MB), stream(MB, files=3)):
            assert answer.status_code == 413
            assert answer.json()["error"] == "The upload must have at most 2 MB."
        several = [("files", (f"{n}.bmp", bytes(MB), "image/bmp")) for n in range(4)]
        answer = http.post(address, files=several, timeout=60)  # each is small enough
        assert answer.status_code == 413 and "at most 2 MB" in answer.json()["error"]
        assert not list(explorer.uploads.rglob("*.bmp"))
        assert stream(MB).status_code == 200
        answers = [upload(int(1.5 * MB)) for _ in range(5)]
        assert [one.status_code for one in answers][-1] == 429
        assert "8 MB within an hour" in answers[-1].json()["error"]
        assert answers[-1].headers["retry-after"] == "3600"
        written = sum(file.stat().st_size for file in explorer.uploads.rglob("*.png"))
        assert written <= 8 * MB
        # Other requests of the same address are served.
        assert http.get(f"{explorer.address}config", timeout=60).status_code == 200
        assert "Traceback" not in explorer.logged()


@pytest.mark.parametrize("size", [70_000, 500_000])
def test_a_login_form_is_small(public: Watched, size: int) -> None:
    answer = http.post(f"{public.address}login", data={"username": "x" * size}, timeout=60)
    assert answer.status_code == 413 and "at most 64 kB" in answer.json()["error"]
