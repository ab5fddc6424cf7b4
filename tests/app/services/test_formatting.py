"""Numbers as text."""

from __future__ import annotations

from app.services.formatting import format_bytes, format_number


def test_bytes_as_text() -> None:
    assert [format_bytes(n) for n in (0, 812, 1000, 5400, 61_123, 491_000, 2_340_000)] == [
        "0 B",
        "812 B",
        "1.0 kB",
        "5.4 kB",
        "61.1 kB",
        "491 kB",
        "2.3 MB",
    ]


def test_numbers_as_text() -> None:
    assert format_number(1234.5678, 1) == "1,234.6" and format_number(None) == "–"
