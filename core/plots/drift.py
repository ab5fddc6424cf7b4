"""The change of a codebook over training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..analysis.history import CodebookHistory, history_of
from ..bundles.bundle import Bundle, find_bundle
from .style import ink, make_figure, plain_axis

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def plot_drift(source: Bundle | CodebookHistory | str | Path, code: int | None = None) -> Figure:
    """Return the codes in use and the distances that codes move, by training step.

    Above, the codes in use and the perplexity as shares of the codebook in percent; below, the
    distance that codes moved since the previous save, in percent of the root mean square length of
    the codes: median and 90th percentile, and that of ``code``. source: a bundle or its history.
    Raises ValueError for a bundle without a history.
    """
    if isinstance(source, CodebookHistory):
        history = source
    else:
        bundle = source if isinstance(source, Bundle) else find_bundle(source)
        found = history_of(bundle.atlas)
        if found is None:
            raise ValueError(f"{bundle.path} stores no history of its codebook.")
        history = found
    steps, size = history.steps.tolist(), history.counts.shape[1]
    share = "%{y:.3g} %<extra>%{fullData.name}</extra>"

    def line(name: str, values: Any, color: str, axis: str = "y", **more: Any) -> dict[str, Any]:
        dash = {"dash": "dash"} if more.pop("dashed", False) else {}
        return {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": steps,
            "y": values,
            "yaxis": axis,
            "line": {"color": ink(color), "width": 2, **dash},
            "marker": {"size": 5},
            "hovertemplate": share,
            **more,
        }

    traces = [
        line("codes used", 100 * history.used / size, "accent"),
        line("perplexity", 100 * history.perplexity / size, "warm"),
        line("distance moved, median", 100 * history.median, "ink-soft", "y2"),
        line("distance moved, 90th percentile", 100 * history.far, "ink-soft", "y2", dashed=True),
    ]
    if code is not None and 0 <= code < size:
        tokens = history.counts.sum(axis=1).clip(1)
        uses = 100 * history.counts[:, code] / tokens
        text = [f"{one:.2g} % of the tokens" for one in uses]
        traces.append(
            line(
                f"distance moved, code {code}", 100 * history.moved[:, code], "ink", "y2",
                text=text, hovertemplate="%{y:.3g} %, %{text}<extra>%{fullData.name}</extra>",
            )
        )  # fmt: skip
    return make_figure(
        traces,
        hovermode="x unified",
        xaxis=plain_axis("step", anchor="y2", hoverformat=",d"),
        yaxis=plain_axis("of all codes, %", domain=[0.56, 1], rangemode="tozero"),
        yaxis2=plain_axis("moved, %", domain=[0, 0.44], rangemode="tozero", anchor="x"),
        height=330,
        meta={"about": f"Change over {len(steps)} saves: {history.used[0]:,} codes used in the "
              f"first, {history.used[-1]:,} in the last"},
    )  # fmt: skip
