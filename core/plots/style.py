"""The look of all charts: one palette, one template, for light and dark.

A figure is built in the light colors. ``in_dark`` replaces each by its dark pair, and the page of
the explorer does the same in the browser, so that a figure is computed and sent once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PALETTE: dict[str, tuple[str, str]] = {
    "ground": ("#f6f4ee", "#0f1216"),
    "surface": ("#fffefb", "#171b21"),
    "sunken": ("#eeebe2", "#12161b"),
    "line": ("#dcd7ca", "#2b323b"),
    "ink": ("#1b1e22", "#eceae4"),
    "ink-soft": ("#555a62", "#a5adb8"),
    "accent": ("#0b6a70", "#5cc9cb"),
    "accent-soft": ("#dceceb", "#15343a"),
    "on-accent": ("#ffffff", "#06262a"),
    "warm": ("#a8480e", "#f0a35e"),
    "plate": ("#14171c", "#0b0d10"),
    "on-plate": ("#d9d6ce", "#d9d6ce"),
}
"""Color name: (light, dark). Text has a contrast of at least 4.5 (WCAG AA) to its background."""

METHODS: dict[str, tuple[str, str]] = {
    "vq": ("#5d636c", "#b0b8c3"),
    "ema": ("#6b6700", "#d6cf5e"),
    "gumbel": ("#a3327a", "#ee8fc6"),
    "regvq": ("#0b6a70", "#5cc9cb"),
    "regvq-noprior": ("#2463a8", "#86b8f2"),
    "regvq-nomask": ("#43700f", "#a5d06f"),
    "simvq": ("#6a3fa0", "#c3a2f2"),
    "nsvq": ("#a8480e", "#f0a35e"),
    "fixed": ("#9b2335", "#ff9aa8"),
    "diveq": ("#3c4fc2", "#a9b4ff"),
    "fsp": ("#74492a", "#d9b391"),
}
"""The colors of quantizers, (light, dark): a method has the same color in every chart."""

_CLEAR = "rgba(0,0,0,0)"
_NOT_SWAPPED = ("on-accent", "on-plate")
"""White stays white on pictures."""


def dark_pairs() -> dict[str, str]:
    """Return the dark color of each light color that a figure can have."""
    named = {name: pair for name, pair in PALETTE.items() if name not in _NOT_SWAPPED}
    return dict([*named.values(), *METHODS.values()])


def ink(name: str) -> str:
    """Return the light color of a name of PALETTE or METHODS."""
    return (PALETTE.get(name) or METHODS[name])[0]


def method_inks(count: int) -> list[str]:
    """Return colors for ``count`` series that have none of their own; they repeat after nine."""
    order = ("regvq", "nsvq", "simvq", "ema", "regvq-noprior", "gumbel", "regvq-nomask", "fixed")
    known = [METHODS[name][0] for name in (*order, "vq")]
    return [known[i % len(known)] for i in range(count)]


@lru_cache(maxsize=1)
def _template() -> Any:
    import plotly.graph_objects as go

    axis = {
        "gridcolor": ink("line"),
        "linecolor": ink("line"),
        "zeroline": False,
        "automargin": True,
        "tickfont": {"color": ink("ink-soft"), "size": 11},
        "title": {"font": {"color": ink("ink-soft"), "size": 12}, "standoff": 8},
    }
    space = {
        "gridcolor": ink("line"),
        "showbackground": False,
        "zeroline": False,
        "showspikes": False,
        "tickfont": {"color": ink("ink-soft"), "size": 10},
    }
    hover = {"color": ink("ink"), "size": 13}
    return go.layout.Template(
        layout={
            "font": {
                "family": "ui-sans-serif, system-ui, -apple-system, Segoe UI, sans-serif",
                "color": ink("ink"),
                "size": 12,
            },
            "paper_bgcolor": _CLEAR,
            "plot_bgcolor": _CLEAR,
            "colorway": method_inks(9),
            "hovermode": "closest",
            "hoverlabel": {
                "bgcolor": ink("surface"),
                "bordercolor": ink("line"),
                "font": hover,
                "align": "left",
            },
            "legend": {
                "font": {"color": ink("ink-soft"), "size": 12},
                "orientation": "h",
                "x": 0,
                "y": -0.2,
                "yanchor": "top",
            },
            "margin": {"l": 48, "r": 16, "t": 12, "b": 40},
            "modebar": {
                "bgcolor": _CLEAR,
                "color": ink("ink-soft"),
                "activecolor": ink("accent"),
            },
            "title": {"font": {"size": 14, "color": ink("ink")}, "x": 0, "xref": "paper"},
            "xaxis": axis,
            "yaxis": axis,
            "scene": {"xaxis": space, "yaxis": space, "zaxis": space},
        }
    )


def make_figure(traces: Sequence[Any], *, columns: Sequence[str] = (), **layout: Any) -> Figure:
    """Return a figure of traces in the template.

    columns: the names of the columns of the traces' ``customdata``; the figure's table has them.
    Without it, the table has the coordinates. Raises ImportError, with the remedy, without Plotly.
    """
    from ..extras import missing_extra

    if problem := missing_extra("A chart", "plots", "plotly"):
        raise ImportError(problem)
    import plotly.graph_objects as go

    meta = {**layout.pop("meta", {}), **({"columns": list(columns)} if columns else {})}
    if meta:
        layout["meta"] = meta
    return go.Figure(list(traces), {"template": _template(), **layout})


def figure_json(figure: Figure) -> dict[str, Any]:
    """Return a figure as JSON values, its number arrays as base64: what plotly.js draws."""
    return json.loads(str(figure.to_json()))


def in_dark(figure: Figure) -> Figure:
    """Return the same figure in the colors of a dark page."""
    import plotly.graph_objects as go

    pairs = dark_pairs()

    def swap(value: Any) -> Any:
        if isinstance(value, str):
            return pairs.get(value, value)
        if isinstance(value, dict):
            return {name: swap(one) for name, one in value.items()}
        if isinstance(value, list):
            return [swap(one) for one in value]
        return value

    return go.Figure(swap(figure_json(figure)))


def plain_axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Return the settings of an axis with a title."""
    return {"title": {"text": title}, **more}


def note(text: str, **more: Any) -> dict[str, Any]:
    """Return an annotation without an arrow, in the soft ink."""
    font = {"size": 11, "color": more.pop("color", ink("ink-soft"))}
    return {"text": text, "showarrow": False, "font": font, **more}


def rule(color: str = "ink-soft", **place: Any) -> dict[str, Any]:
    """Return a thin dashed line as a shape of the layout."""
    return {"type": "line", "line": {"color": ink(color), "width": 1, "dash": "dot"}, **place}
