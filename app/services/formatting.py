"""Numbers as text."""

from __future__ import annotations

KB = 1000.0


def format_bytes(count: float) -> str:
    """Return a number of bytes as text: "812 B", "3.8 kB", "1.2 MB" (powers of 1000)."""
    if count < KB:
        return f"{count:.0f} B"
    if count < KB**2:
        return f"{count / KB:.1f} kB" if count < 100 * KB else f"{count / KB:.0f} kB"
    return f"{count / KB**2:.1f} MB"


def format_number(value: float | None, digits: int = 0) -> str:
    """Return a number with thousands separators; a dash for None."""
    return "–" if value is None else f"{value:,.{digits}f}"
