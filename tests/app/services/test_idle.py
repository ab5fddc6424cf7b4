"""Work that waits until no request is running."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from app.services import idle, priors
from app.services.idle import CountRequests, RequestMonitor


def test_idle_time_is_counted_from_the_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(idle.time, "monotonic", lambda: now[0])
    monitor = RequestMonitor()
    monitor.begin()
    monitor.begin()
    now[0] += 5
    monitor.end()
    assert monitor.idle_seconds() == 0  # the other one is still running
    monitor.end()
    now[0] += 2
    assert monitor.idle_seconds() == 2


class Clock:
    """A clock that moves only when somebody sleeps; ``later`` are things that happen meanwhile."""

    def __init__(self) -> None:
        self.now = 100.0
        self.later: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        end = self.now + seconds
        for when, act in sorted(self.later, key=lambda pair: pair[0]):
            if when <= end:
                self.now = when
                self.later.remove((when, act))
                act()
        self.now = end


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(idle, "time", moved)
    return moved


def test_waiting_continues_while_requests_are_running(clock: Clock) -> None:
    monitor = RequestMonitor()
    monitor.begin()
    clock.later.append((100.3, monitor.end))
    assert monitor.wait(quiet=0.2, longest=30)
    assert clock.now == pytest.approx(100.5)  # 0.2 seconds after the last answer
    monitor.begin()
    assert not monitor.wait(quiet=0.2, longest=0.1)  # after the longest wait the work starts anyway
    assert clock.now == pytest.approx(100.6)
    assert not monitor.wait(quiet=0.2, longest=5)
    assert clock.now == pytest.approx(105.6)
    monitor.end()
    clock.now += 0.2
    assert monitor.wait(quiet=0.2, longest=0) and clock.now == pytest.approx(105.8)


def test_requests_are_counted_and_the_heartbeat_is_not(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monitor = RequestMonitor()
    monkeypatch.setattr(idle, "REQUESTS", monitor)
    seen: dict[str, float] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock.now += 1
        seen[scope["path"]] = monitor.idle_seconds()
        if scope["path"] == "/fails":
            raise RuntimeError("refused")

    def ask(path: str) -> None:
        asyncio.run(CountRequests(app)({"type": "http", "path": path}, None, None))

    ask("/gradio_api/heartbeat/abc")
    ask("/gradio_api/queue/join")
    with pytest.raises(RuntimeError):
        ask("/fails")
    assert seen["/gradio_api/heartbeat/abc"] > 0
    assert seen["/gradio_api/queue/join"] == seen["/fails"] == 0
    clock.now += 1
    assert monitor.idle_seconds() == 1  # a failed request is over


def test_a_prior_is_preloaded_when_the_server_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor, loaded = RequestMonitor(), threading.Event()
    monkeypatch.setattr(idle, "REQUESTS", monitor)
    monkeypatch.setattr(idle, "QUIET", 0.05)
    monkeypatch.setattr(priors, "load_text_prior", lambda handle: loaded.set())
    monitor.begin()
    priors.preload_prior(type("Handle", (), {"name": "some prior"})())
    assert not loaded.wait(0.2)
    monitor.end()
    assert loaded.wait(60)


def test_work_that_waits_is_not_added_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A visitor can ask a thousand times while the server is busy: one thread waits."""
    monitor, done, began, finish = RequestMonitor(), [], threading.Event(), threading.Event()
    monkeypatch.setattr(idle, "REQUESTS", monitor)
    monkeypatch.setattr(idle, "QUIET", 0.05)

    def act() -> None:
        began.set()
        assert finish.wait(60)
        done.append(1)

    def threads() -> int:
        return sum(thread.name == "work" for thread in threading.enumerate())

    monitor.begin()
    for _ in range(50):
        idle.run_when_idle(act, "work")
    assert threads() == 1
    monitor.end()
    assert began.wait(60)
    idle.run_when_idle(act, "work")  # while it runs, neither
    assert threads() == 1
    finish.set()
    while threads():
        time.sleep(0.01)
    assert done == [1]
    idle.run_when_idle(act, "work")  # once it is over, again
    while len(done) < 2:
        time.sleep(0.01)
