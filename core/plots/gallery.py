"""The maps of several tokenizers beside one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .code_map import COLUMNS, PLATE, CodeMap, mark_trace, picked_mark
from .coloring import legend_traces
from .style import ink, make_figure
from .windows import MOST_MARKS, dot_radius, draw_dots, image_of, whole_window

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def gallery_figure(
    maps: Mapping[str, tuple[str, CodeMap, np.ndarray | None]],
    picked: int | None = None,
    equal: bool = True,
) -> Figure:
    """Return several maps beside one another, two or more per row.

    maps: title, map and selection (bool (K,) or None) by name; the colors have one scale. picked: a
    code that is marked in each map. equal: False if the axes need no common unit.
    MOST_MARKS marks are divided among the maps.
    """
    columns = 1 if len(maps) == 1 else 2 if len(maps) in (2, 4) else 3
    rows = -(-len(maps) // columns)
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {}
    images, titles = [], []
    most = MOST_MARKS // max(1, len(maps))
    for number, (name, (title, shown, chosen)) in enumerate(maps.items()):
        axis = "" if number == 0 else str(number + 1)
        row, column = divmod(number, columns)
        left, top = column / columns, 1 - row / rows
        window, order = whole_window(shown.places, 700, fit=not equal), shown.order
        faint = None if chosen is None else ~chosen[order]
        radius = max(1.0, 0.7 * dot_radius(len(shown.places)))
        picture = draw_dots(
            window, shown.places[order], shown.coloring.colors[order], radius, faint
        )
        images.append({**image_of(window, picture), "xref": f"x{axis}", "yref": f"y{axis}"})
        marks = {**mark_trace(shown, order[-most:]), "xaxis": f"x{axis}", "yaxis": f"y{axis}"}
        marks |= {"name": name, "hoverinfo": "all", "hovertemplate":
                  "code %{customdata[0]}: %{customdata[1]:,} uses, %{customdata[2]:.2g} %"
                  "<extra></extra>"}  # fmt: skip
        traces.append(marks)
        if picked is not None and picked < len(shown.places):
            ring = picked_mark(shown.places[picked], picked)
            traces.append({**ring, "xaxis": f"x{axis}", "yaxis": f"y{axis}"})
        hidden = {"visible": False, "showgrid": False}
        wide, high = 1 / columns, 1 / rows
        layout[f"xaxis{axis}"] = {**hidden, "domain": [left + 0.01, left + wide - 0.01],
                                  "range": [window.left, window.right]}  # fmt: skip
        layout[f"yaxis{axis}"] = {**hidden, "domain": [top - high + 0.02, top - 0.18 * high],
                                  "range": [window.bottom, window.top], "anchor": f"x{axis}",
                                  **({"scaleanchor": f"x{axis}"} if equal else {})}  # fmt: skip
        titles.append(
            {"text": title, "name": name, "captureevents": True, "showarrow": False,
             "xref": "paper", "yref": "paper", "x": left + 0.01, "y": top, "xanchor": "left",
             "yanchor": "top", "align": "left", "font": {"size": 12, "color": ink("on-plate")}}
        )  # fmt: skip
    first = next(iter(maps.values()))[1].coloring
    return make_figure(
        [*traces, *legend_traces(first)],
        columns=COLUMNS,
        images=images,
        annotations=titles,
        plot_bgcolor=ink("plate"),
        paper_bgcolor=ink("plate"),
        margin={"l": 0, "r": 0, "t": 8, "b": 40},
        dragmode="pan",
        **PLATE,
        height=rows * (460 if columns < 3 else 360),
        meta={"gallery": True, "about": "Maps of " + ", ".join(maps)},
        **layout,
    )
