"""The sessions of the Collapse lab."""

from __future__ import annotations

from dataclasses import replace

from app.services import lab_sessions
from app.services.lab_sessions import LabSession, LabSpec, parse_settings


def test_no_client_makes_a_session_grow() -> None:
    """Each change of a setting is a mark in every later chart."""
    settings = parse_settings(0.01, 0.1, 0.5, 1.0, 0.1)
    session = LabSession(LabSpec("points", "moons", 8, ("VQ",), 0), settings, None)
    session.apply_settings(replace(settings, rate=0.02))
    assert session.changes == []  # nothing is trained yet
    session.advance(until=1)
    for number in range(300):
        session.apply_settings(replace(settings, rate=0.01 + number / 1e4))
    assert len(session.changes) == lab_sessions.MOST_CHANGES
    assert session.changes[0] == (1, "rate 0.01") and session.changes[1] == (1, "rate 0.0101")
    assert session.settings.rate == 0.01 + 299 / 1e4  # which takes effect all the same
