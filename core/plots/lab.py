"""The curves of quantizers that train side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .style import METHODS, make_figure, method_inks, note, plain_axis, rule

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LAB_METHODS = {
    "VQ": "vq",
    "EMA": "ema",
    "Gumbel": "gumbel",
    "Reg-VQ": "regvq",
    "Reg-VQ without prior": "regvq-noprior",
    "Reg-VQ without mask": "regvq-nomask",
    "SimVQ": "simvq",
    "NSVQ": "nsvq",
    "BSQ": "fixed",
    "DiVeQ": "diveq",
    "FSP": "fsp",
}
"""The quantizers of the lab and their keys in METHODS."""


def plot_lab(
    steps: Sequence[int],
    curves: Mapping[str, Sequence[float | None]],
    title: str,
    *,
    span: tuple[float, float] | None = None,
    changes: Sequence[tuple[int, str]] = (),
) -> Figure:
    """Return a figure of several quantizers by training step, one curve per quantizer.

    steps: the steps of the values. curves: a quantizer's values by its name. title: the figure's
    name and unit. span: the range of the vertical axis. changes: (step, words) of the settings that
    were changed during training, which are marked.
    """
    others = iter(method_inks(len(curves)))
    traces: list[dict[str, Any]] = []
    for name, values in curves.items():
        key = LAB_METHODS.get(name)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": list(steps),
                "y": list(values),
                "line": {"color": METHODS[key][0] if key else next(others), "width": 2},
                "hovertemplate": "%{y:.4g}<extra>%{fullData.name}</extra>",
            }
        )
    axis: dict[str, Any] = {"range": list(span)} if span else {}
    return make_figure(
        traces,
        hovermode="x unified",
        xaxis=plain_axis("step", range=[0, max(60, steps[-1] if len(steps) else 0)]),
        yaxis=plain_axis(title, **axis),
        shapes=[rule(x0=step, x1=step, y0=0, y1=1, yref="y domain") for step, _ in changes],
        annotations=[
            note(words, x=step, y=1, yref="y domain", xanchor="left", yanchor="bottom")
            for step, words in changes
        ],
        height=320,
        meta={"about": f"{title} of {len(traces)} quantizers by step"},
    )
