"""Charts of the study as small static SVG, without a plotting library.

Colors have a medium lightness on a transparent background, so that they are readable on GitHub's
light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

INK, FAINT = "#7d8894", "#7d889455"
COLORS = ("#3f8fd8", "#e0832a", "#2fa57a", "#b667c9", "#d0505f", "#8c8f2c")
FONT = "font-family='system-ui,-apple-system,Segoe UI,Helvetica,Arial,sans-serif'"


@dataclass(frozen=True)
class Column:
    """The values of one figure in a dot chart."""

    title: str
    values: Sequence[float | None]
    shown: Callable[[float], str]
    zero: bool = False
    """True to start the scale at 0."""
    logarithmic: bool = False


@dataclass(frozen=True)
class Panel:
    """One small line chart."""

    title: str
    axis: str
    series: dict[str, list[tuple[float, float]]]
    shown: Callable[[float], str]
    across: Callable[[float], str]


def dots(labels: Sequence[str], kinds: Sequence[int], columns: Sequence[Column]) -> str:
    """Return a chart with a row per method and a column per figure: a dot and its value.

    ``kinds`` are the numbers of the rows' colors.
    """
    row, top, left = 24, 40, 8 + 6.7 * max(map(len, labels))
    breadth, gap = 150, 62
    width = left + len(columns) * (breadth + gap) + 8
    height = top + row * len(labels) + 8
    parts = []
    for index, label in enumerate(labels):
        y = top + row * (index + 0.5)
        parts.append(_text(left - 12, y + 4, label, anchor="end"))
    for number, column in enumerate(columns):
        x0 = left + number * (breadth + gap)
        parts.append(_text(x0, 20, column.title, weight=600))
        scale = _scale([v for v in column.values if v is not None], column)
        for index, value in enumerate(column.values):
            y = top + row * (index + 0.5)
            if value is None:
                continue
            x, color = x0 + breadth * scale(value), COLORS[kinds[index] % len(COLORS)]
            parts.append(_line(x0, y, x, y, color, 3))
            parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5' fill='{color}'/>")
            parts.append(_text(x + 10, y + 4, column.shown(value), size=11))
    return _svg(width, height, parts)


def _scale(values: Sequence[float], column: Column) -> Callable[[float], float]:
    turn = math.log if column.logarithmic else float
    turned = [turn(max(v, 1e-9)) if column.logarithmic else turn(v) for v in values] or [0.0]
    low, high = min(turned), max(turned)
    if column.zero:
        low = 0.0
    else:  # the smallest value still has a short line
        low -= 0.15 * ((high - low) or abs(high) or 1.0)
    reach = (high - low) or 1.0
    if column.logarithmic:
        return lambda v: (math.log(max(v, 1e-9)) - low) / reach
    return lambda v: (v - low) / reach


def lines(panels: Sequence[Panel]) -> str:
    """Return line charts side by side, with one legend."""
    breadth, depth, left, top, gap = 220, 150, 58, 34, 74
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    parts: list[str] = []
    for number, panel in enumerate(panels):
        x0 = left + number * (breadth + gap)
        parts += _panel(panel, colors, x0, top, breadth, depth)
    width = left + len(panels) * (breadth + gap) - gap + 40
    height = top + depth + 44
    if len(names) > 1:
        x = left
        for name in names:
            parts.append(f"<circle cx='{x}' cy='{height + 6}' r='5' fill='{colors[name]}'/>")
            parts.append(_text(x + 10, height + 10, name))
            x += 34 + 7 * len(name)
        height += 22
    return _svg(width, height, parts)


def _panel(
    panel: Panel, colors: dict[str, str], x0: float, y0: float, breadth: float, depth: float
) -> list[str]:
    points = [point for series in panel.series.values() for point in series]
    ticks = sorted({x for x, _ in points})  # evenly spaced: chosen values, not a scale
    ys = [y for _, y in points]
    pad = 0.08 * ((max(ys) - min(ys)) or abs(max(ys)) or 1.0)
    low, high = min(ys) - pad, max(ys) + pad

    def place(x: float, y: float) -> tuple[float, float]:
        across = ticks.index(x) / max(1, len(ticks) - 1)
        return x0 + breadth * across, y0 + depth * (high - y) / (high - low)

    parts = [_text(x0, y0 - 14, panel.title, weight=600)]
    for share in (0.0, 0.5, 1.0):
        value = low + pad + share * (high - low - 2 * pad)
        y = place(ticks[0], value)[1]
        parts.append(_line(x0, y, x0 + breadth, y, FAINT))
        parts.append(_text(x0 - 8, y + 4, panel.shown(value), anchor="end", size=11))
    for tick in ticks:
        x = place(tick, low)[0]
        parts.append(_text(x, y0 + depth + 16, panel.across(tick), anchor="middle", size=11))
    parts.append(_text(x0 + breadth / 2, y0 + depth + 34, panel.axis, anchor="middle", size=11))
    for name, series in panel.series.items():
        placed = [place(x, y) for x, y in sorted(series)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        color = colors[name]
        parts.append(
            f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='2.5' "
            "stroke-linejoin='round' stroke-linecap='round'/>"
        )
        parts += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='{color}'/>" for x, y in placed]
    return parts


def _line(x0: float, y0: float, x1: float, y1: float, color: str, width: float = 1) -> str:
    return (
        f"<line x1='{x0:.1f}' y1='{y0:.1f}' x2='{x1:.1f}' y2='{y1:.1f}' stroke='{color}' "
        f"stroke-width='{width}' stroke-linecap='round'/>"
    )


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: int = 400
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}' "
        f"font-weight='{weight}' fill='{INK}'>{escape(text)}</text>"
    )


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}' "
        f"viewBox='0 0 {width:.0f} {height:.0f}' {FONT}>\n{body}\n</svg>\n"
    )
