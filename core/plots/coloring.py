"""Colors of codes, and the legends that explain them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..analysis.rendering import ramp
from .style import ink

FLOOR = 0.16
"""Position on the color scale of a code that is used least: clearly above a dark background."""
DEAD = 104, 112, 124
"""The color of a code without uses."""


@dataclass(frozen=True)
class Coloring:
    """The colors of codes, and what a legend says of them."""

    colors: np.ndarray
    """uint8 (K, 3)"""
    title: str = ""
    low: float = 0.0
    high: float = 0.0
    """The values at the ends of the color scale; without a scale both are 0."""
    log: bool = False
    classes: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    """The color of each class, if codes are colored by class."""
    members: np.ndarray | None = None
    """The number of each code's class in ``classes``, int (K,), -1 for codes without one."""
    hidden: frozenset[str] = frozenset()
    """The classes whose codes are not shown."""

    def visible(self) -> np.ndarray:
        """Return True for each code that is shown, bool (K,)."""
        if self.members is None or not self.hidden:
            return np.ones(len(self.colors), dtype=bool)
        off = [number for number, name in enumerate(self.classes) if name in self.hidden]
        return ~np.isin(self.members, off)


def by_usage(counts: np.ndarray) -> Coloring:
    """Return the coloring by uses (K,), on a logarithmic scale; dead codes are gray.

    The scale starts above the rarest hundredth of the codes, so that a single rare code does not
    take the contrast from all others.
    """
    alive = np.sort(counts[counts > 0])
    low = float(max(1, alive[int(0.01 * len(alive))])) if len(alive) else 1.0
    high = float(max(alive[-1] if len(alive) else 1, low + 1))
    level = np.log(np.maximum(counts, 1) / low) / np.log(high / low)
    colors = ramp(FLOOR + (1 - FLOOR) * np.clip(level, 0, 1))
    colors[counts == 0] = DEAD
    return Coloring(colors, "uses", low, high, log=True)


def by_norm(lengths: np.ndarray) -> Coloring:
    """Return the coloring by the lengths (K,) of the code vectors."""
    low, high = float(lengths.min()), float(lengths.max())
    level = (lengths - low) / max(high - low, 1e-9)
    return Coloring(ramp(FLOOR + (1 - FLOOR) * level), "length of the vector", low, high)


def by_shares(counts: Sequence[np.ndarray]) -> list[Coloring]:
    """Return the colorings of several codebooks by uses, in one logarithmic scale.

    The counts (K,) of each may be on another number of tokens, so uses are relative to even use.
    """
    shares = [one * len(one) / max(1, int(one.sum())) for one in counts]
    alive = np.sort(np.concatenate([one[one > 0] for one in shares]))
    low = float(alive[int(0.01 * len(alive))]) if len(alive) else 0.1
    high = max(float(alive[-1]) if len(alive) else 1.0, 1.01 * low)
    found = []
    for share in shares:
        level = np.log(np.maximum(share, 1e-12) / low) / np.log(high / low)
        colors = ramp(FLOOR + (1 - FLOOR) * np.clip(level, 0, 1))
        colors[share == 0] = DEAD
        found.append(Coloring(colors, "times the share under even use", low, high, log=True))
    return found


def by_norms(lengths: Sequence[np.ndarray]) -> list[Coloring]:
    """Return the colorings of several codebooks by the lengths (K,) of their vectors, in one
    scale."""
    low, high = min(float(one.min()) for one in lengths), max(float(one.max()) for one in lengths)
    return [
        Coloring(
            ramp(FLOOR + (1 - FLOOR) * (one - low) / max(high - low, 1e-9)),
            "length of the vector", low, high,
        )
        for one in lengths
    ]  # fmt: skip


def color_scale() -> list[list[Any]]:
    """Return the color scale of uses and norms, dark to light, as Plotly takes it."""
    places = np.linspace(0, 1, 12)
    colors = ramp(FLOOR + (1 - FLOOR) * places).tolist()
    return [
        [float(place), f"rgb({','.join(map(str, color))})"]
        for place, color in zip(places, colors, strict=True)
    ]


def legend_traces(coloring: Coloring) -> list[dict[str, Any]]:
    """Return traces without points that bring the color bar, or an entry per class."""
    empty = {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "hoverinfo": "skip",
             "meta": {"table": False}}  # fmt: skip
    if coloring.classes:
        return [
            {**empty, "name": name, "showlegend": True,
             "visible": "legendonly" if name in coloring.hidden else True,
             "marker": {"size": 10, "color": f"rgb({','.join(map(str, color))})"}}
            for name, color in coloring.classes.items()
        ]  # fmt: skip
    if coloring.high <= coloring.low:
        return []
    return [{**empty, "showlegend": False, "name": coloring.title, "marker": _scale(coloring)}]


def _scale(coloring: Coloring) -> dict[str, Any]:
    turn = np.log10 if coloring.log else np.asarray
    low, high = float(turn(coloring.low)), float(turn(coloring.high))
    bar: dict[str, Any] = {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": -0.01,
        "yanchor": "top",
        "len": 0.5,
        "thickness": 10,
        "outlinewidth": 0,
        "tickfont": {"size": 11, "color": ink("on-plate")},
        "title": {
            "text": f"{coloring.title}\u2002",  # a space to the bar
            "side": "right",
            "font": {"size": 12, "color": ink("on-plate")},
        },
    }
    if coloring.log:
        ticks = np.geomspace(coloring.low, coloring.high, 4)
        if coloring.low >= 1:
            ticks = np.unique(np.rint(ticks))
        words = [f"{one:,.0f}" if one >= 10 else f"{one:.2g}" for one in ticks]
        bar |= {"tickvals": np.log10(ticks).tolist(), "ticktext": words}
    return {
        "color": [low],
        "cmin": low,
        "cmax": high,
        "colorscale": color_scale(),
        "showscale": True,
        "colorbar": bar,
    }
