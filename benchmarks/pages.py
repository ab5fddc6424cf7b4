"""Tables in Markdown, made of rows of figures, and the parts of a page that a command writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def table(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]], decimals: int = 1) -> str:
    """Return rows as a table: ``columns`` are headings by key.

    A key may end with the number of its decimals: ``"ms.2"``. A row without a value has an empty
    cell; words are printed as they are.
    """
    keys = [_key(key, decimals) for key in columns]
    found = list(rows)
    right = [any(isinstance(row.get(key), (int, float)) for row in found) for key, _ in keys]
    lines = [
        f"| {' | '.join(columns.values())} |",
        "|" + "|".join("---:" if number else "---" for number in right) + "|",
    ]
    for row in found:
        cells = (number(row.get(key), places) for key, places in keys)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def number(value: Any, decimals: int = 1) -> str:
    """Return a number with thousands separated; integers have no decimals, None is empty."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.{decimals}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _key(key: str, decimals: int) -> tuple[str, int]:
    name, dot, places = key.rpartition(".")
    return (name, int(places)) if dot and places.isdigit() else (key, decimals)


def begin(name: str) -> str:
    """Return the line before the measured part ``name`` of a page."""
    return f"<!-- measured: {name} -->"


END = "<!-- end of what was measured -->"
MISSING = "Not measured yet: `python benchmarks/run.py --only {}`."
"""The text of a part of which there are no figures."""


def replaced(page: str, name: str, text: str) -> str:
    """Return a page with the measured part ``name`` replaced. Raises ValueError without one."""
    pattern = re.compile(f"({re.escape(begin(name))}\n).*?({re.escape(END)})", re.DOTALL)
    result, count = pattern.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"the page has {count} parts {begin(name)} … {END}, and not one")
    return result


def part(page: str, name: str) -> str:
    """Return the measured part ``name`` of a page."""
    return page.partition(f"{begin(name)}\n")[2].partition(END)[0].strip()


def write(page: Path, parts: Mapping[str, str]) -> None:
    """Replace the measured parts of a page; all other lines stay as they are."""
    text = page.read_text(encoding="utf-8")
    for name, measured in parts.items():
        text = replaced(text, name, measured)
    page.write_text(text, encoding="utf-8")
