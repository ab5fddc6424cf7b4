"""Charts as SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from train.equal_budget.charts import Column, Panel, dots, lines


def test_points_are_placed_in_order_of_their_figures():
    chart = ElementTree.fromstring(
        dots(["a<b", "c"], [0, 1], [Column("x", [1.0, 3.0], "{:.1f}".format, zero=True)])
    )
    name = "{http://www.w3.org/2000/svg}"
    left, right = (float(c.get("cx")) for c in chart.iter(f"{name}circle"))
    start = float(next(chart.iter(f"{name}line")).get("x1"))
    assert (right - start) == pytest.approx(3 * (left - start), rel=0.01)
    assert "a<b" in [t.text for t in chart.iter(f"{name}text")]
    series = {"m": [(0.0, 5.0), (0.4, 1.0), (1.0, 3.0)]}
    shown = ElementTree.fromstring(
        lines([Panel("p", "axis", series, "{:.0f}".format, "{:g}".format)])
    )
    heights = [float(c.get("cy")) for c in shown.iter(f"{name}circle")]
    assert heights[0] < heights[2] < heights[1]  # SVG counts downwards
