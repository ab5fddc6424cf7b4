"""What may wait: begun when nobody waits for an answer."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from app.services import idle
from app.services.idle import Attended, Attention
from app.tabs import generate_handlers


def test_calm_is_counted_from_the_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(idle.time, "monotonic", lambda: now[0])
    attention = Attention()
    attention.begin()
    attention.begin()
    now[0] += 5
    attention.end()
    assert attention.calm() == 0  # the other one still waits
    attention.end()
    now[0] += 2
    assert attention.calm() == 2


def test_waiting_goes_on_for_as_long_as_somebody_asks() -> None:
    attention = Attention()
    attention.begin()
    begun = time.monotonic()
    threading.Timer(0.3, attention.end).start()
    assert attention.wait(calm=0.2, longest=30)
    assert time.monotonic() - begun >= 0.5
    attention.begin()
    assert not attention.wait(calm=0.2, longest=0.1)  # at last it is done all the same


def test_requests_are_waited_for_and_the_heartbeat_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = Attention()
    monkeypatch.setattr(idle, "ATTENTION", attention)
    seen: dict[str, float] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        time.sleep(0.01)
        seen[scope["path"]] = attention.calm()
        if scope["path"] == "/fails":
            raise RuntimeError("refused")

    def ask(path: str) -> None:
        asyncio.run(Attended(app)({"type": "http", "path": path}, None, None))

    ask("/gradio_api/heartbeat/abc")
    ask("/gradio_api/queue/join")
    with pytest.raises(RuntimeError):
        ask("/fails")
    assert seen["/gradio_api/heartbeat/abc"] > 0
    assert seen["/gradio_api/queue/join"] == seen["/fails"] == 0
    time.sleep(0.01)
    assert attention.calm() > 0  # one that failed waits no more


def test_a_prior_is_loaded_when_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, loaded = Attention(), threading.Event()
    monkeypatch.setattr(idle, "ATTENTION", attention)
    monkeypatch.setattr(idle, "CALM", 0.05)
    monkeypatch.setattr(generate_handlers, "load", lambda painter: loaded.set())
    attention.begin()
    generate_handlers.meanwhile("some prior")
    assert not loaded.wait(0.2)
    attention.end()
    assert loaded.wait(10)
