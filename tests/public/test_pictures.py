"""Pictures that cost more than they weigh, sent to a running explorer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import local_http as http
from tests.helpers.picture_bombs import BOMBS, many_scans
from tests.public.serving import Watched

pytestmark = pytest.mark.slow

WAIT = 8.0
"""Seconds that another visitor may wait: 0.3 s on an idle machine, 10 to 34 s before."""


def reconstruct(explorer: Watched, name: str, data: bytes) -> tuple[int, str]:
    """Upload a picture and reconstruct it; return the status and the text of the answer."""
    files = {"files": (name, data, "application/octet-stream")}
    address = f"{explorer.address}gradio_api"
    (path,) = http.post(f"{address}/upload", files=files, timeout=60).json()
    picture: dict[str, Any] = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [picture, "tiny-regvq", 0, 0]}
    answer = http.post(f"{address}/call/reconstruct", json=body, timeout=120)
    event = answer.json()["event_id"]
    stream = http.get(f"{address}/call/reconstruct/{event}", timeout=120)
    return stream.status_code, stream.text


def test_bombs_are_refused_in_a_sentence_and_others_are_served(
    public: Watched, photograph: Path
) -> None:
    good = photograph.read_bytes()
    public.warm_up("code_detail")
    with ThreadPoolExecutor(2) as pool:  # both processes that read pictures begin
        list(pool.map(lambda n: reconstruct(public, f"warm-{n}.png", good + bytes(50 + n)), (0, 1)))
    waits: list[float] = []
    end = threading.Event()

    def other() -> None:
        number = 0
        while not end.is_set():
            number += 1
            begun = time.monotonic()
            status, text = reconstruct(public, "good.png", good + bytes(number))
            assert status == 200 and "event: complete" in text
            waits.append(time.monotonic() - begun)

    visitor = threading.Thread(target=other)
    visitor.start()
    for name, (make, words) in BOMBS.items():
        _, text = reconstruct(public, name, make())
        if words:
            assert "event: error" in text and words in text and name in text, text
    slow = many_scans(39, 4000)  # within the bounds, and slow
    for copy in range(2):
        _, text = reconstruct(public, f"slow-{copy}.jpg", slow + bytes(copy))
        assert "event: complete" in text or "to decode" in text
    end.set()
    visitor.join()
    assert len(waits) > 3 and max(waits) < WAIT
    assert public.counted()["longest"] < 5
