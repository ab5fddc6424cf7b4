"""Several figures of several methods in one chart: as rows, or as lines by a setting's value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .style import ink, make_figure, method_inks

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Column:
    """A column of ``plot_rows``."""

    title: str
    values: Sequence[float | None]
    shown: Callable[[float], str]
    zero: bool = False
    """True to start the scale at 0."""
    log: bool = False


def plot_rows(labels: Sequence[str], kinds: Sequence[int], columns: Sequence[Column]) -> Figure:
    """Return a chart with a row per method and a column per figure: a stem, a dot and its value.

    ``kinds`` are the numbers of the rows' colors.
    """
    rows, colors = list(range(len(labels))), method_inks(9)
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    share = 1 / len(columns)
    for number, column in enumerate(columns):
        axis = "" if number == 0 else str(number + 1)
        known = [(row, value) for row, value in zip(rows, column.values, strict=True)
                 if value is not None]  # fmt: skip
        values = [max(value, 1e-9) if column.log else value for _, value in known]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        turn = math.log10 if column.log else float
        first, last = turn(low), turn(high)
        start = 0.0 if column.zero else first - 0.15 * ((last - first) or abs(last) or 1.0)
        spread = (last - start) or 1.0
        for kind in sorted(set(kinds)):
            own = [(row, value) for row, value in known if kinds[row] == kind]
            color = colors[kind % len(colors)]
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "xaxis": f"x{axis}",
                    "x": [one for _, value in own for one in (start, turn(max(value, 1e-9))
                          if column.log else value, None)],
                    "y": [one for row, _ in own for one in (row, row, None)],
                    "line": {"color": color, "width": 3},
                    "hoverinfo": "skip",
                    "name": "stems",
                    "meta": {"table": False},
                }
            )  # fmt: skip
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers+text",
                    "name": column.title,
                    "xaxis": f"x{axis}",
                    "x": [turn(max(value, 1e-9)) if column.log else value for _, value in own],
                    "y": [row for row, _ in own],
                    "customdata": [[labels[row], value] for row, value in own],
                    "text": ["  " + column.shown(value) for _, value in own],
                    "textposition": "middle right",
                    "textfont": {"size": 11, "color": ink("ink")},
                    "marker": {"color": color, "size": 10},
                    "hovertemplate": "%{customdata[0]}: %{text}<extra></extra>",
                    "cliponaxis": False,
                }
            )
        layout[f"xaxis{axis}"] = {
            "domain": [number * share, (number + 0.68) * share],
            "range": [start, start + 1.04 * spread],
            "visible": True,
            "showgrid": False,
            "showticklabels": False,
            "side": "top",
            "title": {"text": f"<b>{column.title}</b>", "font": {"color": ink("ink")}},
        }
    return make_figure(
        traces,
        columns=("method", "value"),
        yaxis={
            "tickvals": rows,
            "ticktext": [f"{label}  " for label in labels],
            "range": [len(rows) - 0.4, -0.6],
            "showgrid": False,
            "tickfont": {"color": ink("ink"), "size": 12},
        },
        showlegend=False,
        margin={"t": 40, "b": 10, "r": 50},
        height=60 + 25 * len(rows),
        meta={"about": ", ".join(column.title for column in columns) + f" of {len(rows)} methods"},
        **layout,
    )


def plot_panels(
    axis: str,
    panels: Sequence[tuple[str, Mapping[str, Sequence[tuple[float, float]]]]],
    across: Callable[[float], str] = "{:g}".format,
    families: Mapping[str, str] | None = None,
) -> Figure:
    """Return line charts side by side, with one legend.

    axis: the name of the setting below them. panels: a title, and the (value, figure) pairs of each
    method by its label. across: the words of a value; values are chosen ones and evenly spaced.
    families: keys of METHODS by the methods' labels, for their colors.
    """
    names = list(dict.fromkeys(name for _, series in panels for name in series))
    colors = dict(zip(names, method_inks(len(names)), strict=True))
    colors |= {name: ink(key) for name, key in (families or {}).items()}
    share = 1 / len(panels)
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    for number, (title, series) in enumerate(panels):
        end = "" if number == 0 else str(number + 1)
        values = sorted({value for points in series.values() for value, _ in points})
        for name, points in series.items():
            known = sorted(points)
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": name,
                    "legendgroup": name,
                    "showlegend": number == 0 and len(names) > 1,
                    "xaxis": f"x{end}",
                    "yaxis": f"y{end}",
                    "x": [values.index(value) for value, _ in known],
                    "y": [figure for _, figure in known],
                    "line": {"color": colors[name], "width": 2.5},
                    "marker": {"size": 8},
                    "hovertemplate": f"{title} %{{y}}<extra>{name}</extra>",
                }
            )
        layout[f"xaxis{end}"] = {
            "domain": [number * share, (number + 0.8) * share],
            "anchor": f"y{end}",
            "tickvals": list(range(len(values))),
            "ticktext": [across(value) for value in values],
            "title": {"text": axis},
            "showgrid": False,
        }
        layout[f"yaxis{end}"] = {
            "anchor": f"x{end}",
            "title": {"text": f"<b>{title}</b>", "font": {"color": ink("ink")}},
        }
    about = f"{', '.join(title for title, _ in panels)} by {axis}"
    return make_figure(traces, height=300, meta={"about": about}, **layout)
