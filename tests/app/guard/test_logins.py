"""Passwords: compared in constant time, guessed slowly."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import Any

import pytest

from app import access
from app.guard.logins import ADDRESSES, FORGOTTEN, PATIENT, Guesses, LoginBrake


def test_who_is_admitted() -> None:
    admits = access.admission("ada:right,bob:älso:right")
    assert admits("ada", "right") and admits("bob", "älso:right")
    for name, password in (("ada", "wrong"), ("eve", "right"), ("", ""), ("ada", "älso:right")):
        assert not admits(name, password)
    assert not admits("\ud800", "\udfff" * 9)
    assert access.admission("") is None


def test_every_visitor_is_compared_whatever_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def note(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    admits = access.admission("ada:a,bob:bb,eve:ccc")
    monkeypatch.setattr(hmac, "compare_digest", note)
    counts = []
    for name, password in (("ada", "a"), ("nobody", "x" * 500), ("eve", "wrong")):
        compared.clear()
        admits(name, password)
        assert set(compared) == {(32, 32)}  # no length is shown either
        counts.append(len(compared))
    assert counts == [6, 6, 6]


def test_guesses_wait_longer_and_longer() -> None:
    now = [0.0]
    guesses = Guesses(lambda: now[0])
    made, waits = 0, []
    while now[0] < 3600:  # as fast as it is let
        wait = guesses.begin("a")
        if wait > PATIENT:
            now[0] += wait - PATIENT
            continue
        now[0] += wait
        made += 1
        waits.append(wait)
    assert waits[:3] == [0, 0, 0] and made < 20
    assert guesses.begin("b") == 0  # another address is not held up
    guesses.right("a")
    assert guesses.begin("a") == 0


def test_guesses_at_the_same_time_wait_for_one_another() -> None:
    guesses = Guesses(lambda: 0.0)
    waits = [guesses.begin("a") for _ in range(200)]
    assert sum(wait <= PATIENT for wait in waits) < 8


def test_a_guess_that_is_not_made_does_not_count() -> None:
    """Somebody who keeps trying is let in again after the wait, and others at the address, too."""
    now = [0.0]
    guesses = Guesses(lambda: now[0])
    while (wait := guesses.begin("a")) <= PATIENT:
        pass
    for _ in range(50):
        assert guesses.begin("a") == wait
    now[0] += wait
    assert guesses.begin("a") == 0


def test_old_guesses_are_forgotten() -> None:
    now = [0.0]
    guesses = Guesses(lambda: now[0])
    for _ in range(8):
        guesses.begin("a")
    now[0] = FORGOTTEN + 1
    assert guesses.begin("a") == 0
    for number in range(ADDRESSES + 5):
        guesses.begin(f"x{number}")
    assert len(guesses._seen) == ADDRESSES


def test_a_wrong_password_is_logged_without_it(caplog: pytest.LogCaptureFixture) -> None:
    status = 400

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    guesses = Guesses(lambda: 0.0)
    brake = LoginBrake(app, guesses=guesses)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/login",
        "headers": [],
        "client": ("1.2.3.4", 1),
    }
    with caplog.at_level(logging.INFO, "regvq.app"):
        for _ in range(2):
            asyncio.run(brake(scope, None, send))
        lines = [record.getMessage() for record in caplog.records]
        assert lines == [f"Wrong user name or password from 1.2.3.4 ({n} in a row)" for n in (1, 2)]
        for _ in range(9):
            guesses.begin("1.2.3.4")
        sent.clear()
        asyncio.run(brake(scope, None, send))
        assert sent[0]["status"] == 429 and b"Too many wrong passwords" in sent[1]["body"]
    other = {**scope, "client": ("5.6.7.8", 1)}
    status = 200
    asyncio.run(brake(other, None, send))
    assert guesses.in_a_row("5.6.7.8") == 0
