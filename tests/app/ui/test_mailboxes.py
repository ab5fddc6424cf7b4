"""Answers that nobody fetches: forgotten before they fill the memory."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from gradio.server_messages import ProcessCompletedMessage

from app.ui import mailboxes
from app.ui.mailboxes import READ, Mailbox, Mailboxes, weight


def answer(size: int) -> ProcessCompletedMessage:
    return ProcessCompletedMessage(output={"data": ["x" * size]}, success=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(mailboxes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def boxes() -> Mailboxes:
    queue: Any = SimpleNamespace(pending_event_ids_session={})
    return Mailboxes(queue, most=1000, sessions=4)


def open_box(boxes: Mailboxes, session: str) -> Mailbox:
    boxes[session] = asyncio.Queue()  # as Gradio does
    boxes._queue.pending_event_ids_session[session] = {"a call"}
    return boxes[session]


def test_answers_that_nobody_reads_are_bounded(boxes: Mailboxes, clock: list[float]) -> None:
    for number in range(50):
        clock[0] += READ
        open_box(boxes, f"{number}").put_nowait(answer(400))
        assert sum(box.size for box in boxes.values()) <= 1000
    assert list(boxes) == ["48", "49"]
    assert set(boxes._queue.pending_event_ids_session) == {"48", "49"}
    for _ in range(10):  # of one session, and at once
        boxes["49"].put_nowait(answer(400))
        if "49" in boxes:
            assert boxes["49"].size <= 2000
    assert "49" not in boxes
    boxes["49"].put_nowait(answer(400))  # goes nowhere, and raises nothing


def test_whoever_waits_for_an_answer_stays(boxes: Mailboxes, clock: list[float]) -> None:
    async def act() -> None:
        box = open_box(boxes, "reader")
        reading = asyncio.create_task(box.get())
        await asyncio.sleep(0)
        for number in range(50):
            clock[0] += READ
            open_box(boxes, f"{number}").put_nowait(answer(400))
        assert boxes["reader"] is box and len(boxes) == 3
        box.put_nowait(answer(30))
        assert (await reading).output["data"] == ["x" * 30] and box.size == 0

    asyncio.run(act())


def test_a_flood_of_sessions_is_bounded(boxes: Mailboxes, clock: list[float]) -> None:
    for number in range(50):
        open_box(boxes, f"{number}")
    assert len(boxes) == 8  # all are new


def test_the_weight_of_an_answer() -> None:
    assert weight(answer(10)) == 14
    assert weight(SimpleNamespace(output=None)) == weight(SimpleNamespace()) == 0
    assert weight(SimpleNamespace(output={"data": ["\ud800"]})) == 0
