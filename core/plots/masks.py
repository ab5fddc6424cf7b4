"""The cost of Reg-VQ's stochastic mask at every ratio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .style import ink, make_figure, plain_axis, rule

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from ..analysis.mask_sweep import Point


def plot_mask_sweep(points: Sequence[Point], at: float | None = None) -> Figure:
    """Return PSNR in dB (above) and the changed tokens in percent (below) by mask ratio.

    points: those of ``regvq.analysis.mask_sweep.mask_sweep``, sorted by ratio; an infinite PSNR,
    of an exact picture, is left out. at: a ratio that is marked.
    """
    ratios = [point.ratio for point in points]
    changed = [100 * point.changed for point in points]
    exact = [point.psnr if math.isfinite(point.psnr) else None for point in points]

    def line(name: str, values: list[Any], color: str, axis: str, unit: str) -> dict[str, Any]:
        return {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": ratios,
            "y": values,
            "yaxis": axis,
            "line": {"color": ink(color), "width": 2},
            "marker": {"size": 5},
            "hovertemplate": f"%{{y:{unit}}}<extra></extra>",
        }

    shapes = []
    if at is not None:
        shapes = [
            rule(x0=at, x1=at, y0=0, y1=1, xref="x", yref=f"{axis} domain") for axis in ("y", "y2")
        ]
    return make_figure(
        [
            line("PSNR, dB", exact, "accent", "y", ".2f"),
            line("Changed tokens, %", changed, "warm", "y2", ".0f"),
        ],
        showlegend=False,
        hovermode="x",
        xaxis=plain_axis("mask ratio", anchor="y2", range=[-0.02, 1.02], hoverformat=".2f"),
        yaxis=plain_axis("PSNR, dB", domain=[0.56, 1]),
        yaxis2=plain_axis("changed tokens, %", domain=[0, 0.44], range=[-4, 104], anchor="x"),
        shapes=shapes,
        height=340,
        meta={"about": f"PSNR and share of changed tokens at {len(points)} mask ratios"},
    )
