"""Runs beside one another: two figures, one figure per run, and sweeps of a setting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .style import METHODS, ink, make_figure, method_inks, plain_axis

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Figures:
    """A figure of runs, as an axis."""

    key: str
    label: str
    unit: str = ""
    better: int = 0
    """1: higher is better; -1: lower is."""
    log: bool = False
    form: str = ".4g"
    """The format of its values, as d3 and Python know it."""

    @property
    def title(self) -> str:
        """The name, the unit, and the better direction."""
        unit = f", {self.unit}" if self.unit else ""
        way = {1: " (higher is better)", -1: " (lower is better)"}.get(self.better, "")
        return f"{self.label}{unit}{way}"


FAMILIES = {
    "vq": "VQ",
    "gumbel": "Gumbel",
    "regvq": "Reg-VQ",
    "simvq": "SimVQ",
    "nsvq": "NSVQ",
    "diveq": "DiVeQ",
    "fixed": "FSQ, LFQ, IBQ, BSQ, FSP",
}
"""The families of quantizers; keys of METHODS."""
LINKED = "study"
"""The ``linked`` of these figures' ``layout.meta``: a page marks the run that is pointed at in one
of them in all that have the same."""
FIXED = "fsq", "lfq", "ibq", "bsq", "fsp"
"""Methods of the family "fixed"."""
_SYMBOLS = {
    "vq": "square",
    "diveq": "cross",
    "nsvq": "triangle-up",
    "simvq": "diamond",
    "fixed": "pentagon",
}


def family_of(method: str, external: bool = False) -> str:
    """Return the family of a method of the study; a key of FAMILIES."""
    for prefix in ("regvq", "simvq", "nsvq", "gumbel", "diveq"):
        if method.removeprefix("outside-").startswith(prefix):
            return prefix
    return "fixed" if method.startswith(FIXED) and not external else "vq"


@dataclass(frozen=True)
class Run:
    """A run with its figures."""

    name: str
    label: str
    family: str
    """A key of FAMILIES."""
    values: Mapping[str, float]
    external: bool = False
    """True for a library that runs beside ours: its mark is open."""
    method: str = ""
    """The name of its quantizer, which several runs can share."""


def plot_study(
    runs: Sequence[Run], x: Figures, y: Figures, others: Sequence[Figures] = ()
) -> Figure:
    """Return one figure of runs against another, a mark per run and a color per family.

    Runs without one of the figures are left out. A label is shown where it covers nothing in a
    chart of about 720 x 430 pixels; the others are shown when pointed at. others: figures that the
    figure's table has, too.
    """
    shown = [run for run in runs if x.key in run.values and y.key in run.values]
    labels = _placed(shown, x, y)
    traces = []
    for family, title in FAMILIES.items():
        own = [run for run in shown if run.family == family]
        if not own:
            continue
        traces.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "name": title,
                "x": [run.values[x.key] for run in own],
                "y": [run.values[y.key] for run in own],
                "customdata": [
                    [run.label, *(run.values.get(one.key) for one in others)] for run in own
                ],
                "text": [run.label if labels.get(run.name) else "" for run in own],
                "textposition": [labels.get(run.name) or "top center" for run in own],
                "textfont": {"size": 12, "color": ink("ink")},
                "marker": _mark(own, family),
                "meta": _named(own),
                "hovertemplate": "<b>%{customdata[0]}</b><br>"
                f"{x.label} %{{x:{x.form}}} {x.unit}<br>{y.label} %{{y:{y.form}}} {y.unit}"
                "<extra></extra>",
                "cliponaxis": False,
            }
        )
    words = {"text": "No run of this group has both figures.", "showarrow": False,
             "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}  # fmt: skip
    return make_figure(
        traces,
        columns=("run", *(one.label for one in others)),
        xaxis=_axis(x, [run.values[x.key] for run in shown]),
        yaxis=_axis(y, [run.values[y.key] for run in shown]),
        annotations=[] if shown else [words],
        height=460,
        meta={"about": f"{y.label} against {x.label}, {len(shown)} runs", "linked": LINKED},
    )


def plot_bars(runs: Sequence[Run], figure: Figures) -> Figure:
    """Return one figure of runs, a row per run, the best first."""
    shown = [run for run in runs if figure.key in run.values]
    shown.sort(key=lambda run: run.values[figure.key] * (-1 if figure.better > 0 else 1))
    values = [run.values[figure.key] for run in shown]
    rows = list(range(len(shown)))
    start = _start(values, figure)
    stems: dict[str, list[float | None]] = {"x": [], "y": []}
    for row, value in zip(rows, values, strict=True):
        stems["x"] += [start, value, None]
        stems["y"] += [row, row, None]
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False,
         "name": "stems", "meta": {"table": False},
         "line": {"color": ink("line"), "width": 2}, **stems},
    ]  # fmt: skip
    for family, title in FAMILIES.items():
        own = [row for row in rows if shown[row].family == family]
        if own:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": title,
                    "x": [values[row] for row in own],
                    "y": own,
                    "customdata": [[shown[row].label, shown[row].name] for row in own],
                    "marker": _mark([shown[row] for row in own], family),
                    "meta": _named([shown[row] for row in own]),
                    "hovertemplate": f"<b>%{{customdata[0]}}</b><br>%{{x:{figure.form}}} "
                    f"{figure.unit}<extra></extra>",
                    "cliponaxis": False,
                }
            )
    right = [
        f"{run.label}  <b>{value:{figure.form}}</b>"
        for run, value in zip(shown, values, strict=True)
    ]
    return make_figure(
        traces,
        columns=("run", "name"),
        # Without the better direction: "the best first" says it, and the axis of a phone is short.
        xaxis={**_axis(figure, values), "title": {"text": _short(figure)}},
        yaxis={
            "tickvals": rows,
            "ticktext": right,
            "range": [len(rows) - 0.4, -0.6],
            "showgrid": False,
        },
        showlegend=False,
        height=110 + 24 * max(3, len(rows)),
        meta={"about": f"{figure.label} of {len(rows)} runs, the best first", "linked": LINKED},
    )


def plot_sweep(
    title: str, axis: str, lines: Mapping[str, Sequence[tuple[float, Run]]], figure: Figures
) -> Figure:
    """Return a figure of runs by the value of a setting, a line per method.

    lines: (value, run) pairs by the method's label. axis: the setting's name.
    """
    traces, values = [], []
    for (label, points), spare in zip(lines.items(), method_inks(len(lines)), strict=True):
        known = sorted(
            ((value, run) for value, run in points if figure.key in run.values), key=lambda p: p[0]
        )
        if not known:
            continue
        family = known[0][1].family
        taken = sum(trace["meta"]["family"] == family for trace in traces)
        values += [value for value, _ in known]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": label,
                "x": [value for value, _ in known],
                "y": [run.values[figure.key] for _, run in known],
                "customdata": [[run.label, run.name] for _, run in known],
                "line": {"color": spare if taken else METHODS[family][0], "width": 2},
                "marker": {"size": 8, "symbol": _SYMBOLS.get(family, "circle")},
                "meta": {"family": family, **_named([run for _, run in known])},
                "hovertemplate": f"%{{customdata[0]}}: %{{y:{figure.form}}} {figure.unit} at %{{x}}"
                "<extra>%{fullData.name}</extra>",
            }
        )
    ticks = sorted(set(values))
    positive = [tick for tick in ticks if tick > 0]
    wide = bool(positive) and positive[-1] / positive[0] >= 8
    log, even = wide and ticks[0] > 0, wide and ticks[0] <= 0
    if even:  # no scale shows 0 and values of several magnitudes: one place each
        for trace in traces:
            trace["x"] = [f"{value:,g}" for value in trace["x"]]
    return make_figure(
        traces,
        title={"text": title},
        xaxis=plain_axis(
            axis, type="category", categoryarray=[f"{tick:,g}" for tick in ticks],
        ) if even else plain_axis(
            axis, type="log" if log else "linear", tickvals=ticks,
            ticktext=[f"{tick:,g}" for tick in ticks],
        ),
        yaxis=plain_axis(_short(figure)),
        showlegend=len(traces) > 1,
        margin={"t": 44},
        height=300,
        meta={"about": f"{title}: {figure.label} by {axis}", "linked": LINKED},
    )  # fmt: skip


def _short(figure: Figures) -> str:
    return figure.label + (f", {figure.unit}" if figure.unit else "")


def _named(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the names of a trace's runs and of their methods, by which a page marks a run in all
    charts at once."""
    return {"runs": [run.name for run in runs], "methods": [run.method for run in runs]}


def _axis(figure: Figures, values: Iterable[float]) -> dict[str, Any]:
    known = list(values)
    log = figure.log and bool(known) and min(known) > 0
    return plain_axis(figure.title, **({"type": "log", "dtick": "D2"} if log else {}))


def _start(values: Sequence[float], figure: Figures) -> float:
    """Return the start of the stems: a little below the smallest value."""
    if not values:
        return 0.0
    low, high = min(values), max(values)
    if figure.log and low > 0:
        return low / (high / low) ** 0.1 if high > low else low / 1.1
    return low - 0.1 * ((high - low) or abs(high) or 1.0)


def _mark(runs: Sequence[Run], family: str) -> dict[str, Any]:
    symbol = _SYMBOLS.get(family, "circle")
    return {
        "color": METHODS[family][0],
        "size": 12,
        "symbol": [f"{symbol}-open" if run.external else symbol for run in runs],
        "line": {"width": [2 if run.external else 0 for run in runs]},
    }


_PLACES = (("top right", 8, 10), ("top left", None, 10), ("top center", 0, 14),
           ("bottom center", 0, -14), ("bottom right", 8, -10))  # fmt: skip


def _placed(runs: Sequence[Run], x: Figures, y: Figures) -> dict[str, str]:
    """Return a text position for each run whose label covers no mark and no other label."""
    if not runs:
        return {}

    def scaled(figure: Figures, length: float) -> np.ndarray:
        values = np.array([run.values[figure.key] for run in runs], dtype=float)
        if figure.log and values.min() > 0:
            values = np.log(values)
        return 30 + (length - 60) * (values - values.min()) / max(float(np.ptp(values)), 1e-9)

    at = np.stack([scaled(x, 720), scaled(y, 430)], 1)
    taken = [(px - 8, py - 8, px + 8, py + 8) for px, py in at]
    found = {}
    for index, run in enumerate(runs):
        px, py = at[index]
        wide = 7.2 * len(run.label)
        for place, right, up in _PLACES:
            left = px - 8 - wide if right is None else px + right if right else px - wide / 2
            box = (left, py + up - 8, left + wide, py + up + 8)
            clear = all(
                other == index or box[2] < a or c < box[0] or box[3] < b or d < box[1]
                for other, (a, b, c, d) in enumerate(taken)
            )
            if clear and box[0] > 0 and box[2] < 720:
                taken.append(box)
                found[run.name] = place
                break
    return found
