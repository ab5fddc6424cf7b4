"""The study's charts under Compare, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import study_results
from tests.e2e.harness import open_compare, open_explorer

pytestmark = pytest.mark.browser


def drawn_runs(page: Any) -> dict[str, list[float]]:
    """Return the marks of the scatter chart by their labels, as Plotly has them."""
    return page.evaluate(
        """() => Object.fromEntries(document.querySelector("#study .rv-figure-plot").data
          .flatMap((one) => one.customdata.map((row, i) => [row[0], [one.x[i], one.y[i]]])))"""
    )


def test_charts_are_drawn_when_they_become_visible(app: str, visit: Any) -> None:
    # So low that the charts are below it while the place of the pictures above is still empty.
    page = visit(width=1440, height=200).page
    open_explorer(page, app)
    open_compare(page)
    charts = page.locator("#study .rv-figure")
    assert charts.bounding_box()["y"] > 200 + 300  # the window, and the margin of the charts
    assert charts.get_attribute("data-state") == "busy"  # the pictures above have precedence
    charts.scroll_into_view_if_needed()
    page.wait_for_selector("#study .rv-figure[data-state=ready]")

    view = study_results.study_view()
    main = study_results.runs_of(view, "main")
    x, y = study_results.first_axes(view)
    assert drawn_runs(page) == {
        run.label: [run.values[x], run.values[y]] for run in main if {x, y} <= run.values.keys()
    }
    # The table is made when it is opened: one row per run, one column per figure and axis.
    rows = page.locator("#study .rv-figure-table tbody tr")
    assert rows.count() == 0
    page.locator("#study").get_by_role("button", name="Table").click()
    assert rows.count() == len(drawn_runs(page))
    assert len(rows.first.locator("th, td").all()) == 2 + len(view["axes"]) + 2
    # Another axis redraws the charts; the arrow keys read them out.
    before = charts.get_attribute("data-drawn")
    page.locator("#study-x input").click()
    page.get_by_role("option", name="PSNR", exact=True).click()
    page.wait_for_function(
        "before => document.querySelector('#study .rv-figure').dataset.drawn !== before", arg=before
    )
    assert drawn_runs(page) == {
        run.label: [run.values["psnr"], run.values[y]]
        for run in main
        if {"psnr", y} <= run.values.keys()
    }
    page.locator("#study .rv-figure-plot").focus()
    page.keyboard.press("ArrowRight")
    said = page.locator("#study .rv-figure-said").inner_text()
    assert any(run.label in said for run in main)
