"""Charts of the study's report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from regvq.plots import plot_panels, plot_rows
from regvq.plots.rows import Column
from regvq.plots.study import family_of
from regvq.plots.style import PALETTE

from .tables import KINDS, Row, ordered, point


def charts(found: dict[str, Any], groups: Iterable[str]) -> dict[str, Any]:
    """Return the charts of the groups' tables and of all sweeps with at least two runs, by name.

    They have a light ground: GitHub shows them on light and on dark pages.
    """
    drawn = {}
    for group in groups:
        rows = ordered(row for row in found["runs"] if row["group"] == group)
        if len(rows) > 1:
            drawn[group] = _dot_chart(rows)
    by_name = {row["name"]: row for row in found["runs"]}
    for sweep in found["sweeps"]:
        longest = max(map(len, sweep["series"].values()), default=0)
        if longest > 1:
            drawn[sweep["name"]] = _line_chart(sweep, by_name)
    for chart in drawn.values():
        chart.update_layout(paper_bgcolor=PALETTE["surface"][0])
    return drawn


def _dot_chart(rows: list[Row]) -> Any:
    def column(title: str, key: str, form: str, **scale: bool) -> Column:
        return Column(title, [row[key] for row in rows], form.format, **scale)

    return plot_rows(
        [row["label"] for row in rows],
        [KINDS.index(row["kind"]) for row in rows],
        [
            column("codes used", "utilization", "{:.0%}", zero=True),
            column("perplexity", "perplexity", "{:,.0f}", log=True),
            column("PSNR, dB", "psnr", "{:.2f}"),
            column("SqueezeNet-FD, lower is better", "fd", "{:,.0f}"),
        ],
    )


def _line_chart(sweep: dict[str, Any], by_name: dict[str, Row]) -> Any:
    def panel(title: str, key: str) -> tuple[str, dict[str, list[tuple[float, float]]]]:
        return title, {
            (by_name[method]["label"] if method in by_name else method): [
                (value, by_name[name][key]) for value, name in points
            ]
            for method, points in sweep["series"].items()
        }

    figures = [panel("PSNR, dB", "psnr"), panel("SqueezeNet-FD", "fd")]
    figures.append(panel("codes used", "utilization"))
    families = {
        (by_name[method]["label"] if method in by_name else method): family_of(method)
        for method in sweep["series"]
    }
    return plot_panels(sweep["axis"], figures, lambda value: point(sweep["name"], value), families)
