"""The study's charts under Compare, in a real browser."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from app.services import study_results
from tests.e2e.harness import expect, open_compare, open_explorer

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


def test_a_run_is_marked_in_all_charts_and_tables(app: str, visit: Any) -> None:
    """By the pointer, by the arrow keys, and from a table; of another group by its method."""
    page = visit().page
    open_explorer(page, app)
    open_compare(page)
    study, bars = page.locator("#study .rv-figure"), page.locator("#study-bars .rv-figure")
    sweep = page.locator("#study-mask .rv-figure")
    for one in (sweep, study, bars):
        one.scroll_into_view_if_needed()
        expect(one).to_have_attribute("data-state", "ready")
    view = study_results.study_view()
    main = study_results.runs_of(view, "main")
    run = next(one for one in main if one.name == "regvq")
    masks = [name for line in sweep_of(view, "mask")["lines"] for _, name in line["points"]]
    study.get_by_role("button", name="Table").click()
    study.locator(".rv-figure-plot").hover(position=place_of(page, "#study", run.name))
    expect(bars).to_have_attribute("data-marked", run.name)
    expect(sweep).to_have_attribute("data-marked", " ".join(masks))  # those of the same method
    assert len(sweep.locator(".rv-figure-runs i").all()) == len(masks) > 1
    expect(study.locator("tr.rv-marked")).to_contain_text(run.label)
    # The ring is at the run's mark in the other chart.
    ring = bars.locator(".rv-figure-runs i").bounding_box()
    frame, there = (
        bars.locator(".rv-figure-frame").bounding_box(),
        place_of(page, "#study-bars", run.name),
    )
    assert abs(ring["x"] + ring["width"] / 2 - frame["x"] - there["x"]) < 1.5
    assert abs(ring["y"] + ring["height"] / 2 - frame["y"] - there["y"]) < 1.5
    page.mouse.move(5, 5)
    expect(bars).to_have_attribute("data-marked", "")
    # On an axis of values beside one another, too.
    nsvq = next(one for one in main if one.name == "nsvq")
    study.locator(".rv-figure-plot").hover(position=place_of(page, "#study", nsvq.name))
    alpha = page.locator("#study-alpha .rv-figure")
    expect(alpha).not_to_have_attribute("data-marked", "")
    rings, plate = (
        alpha.locator(".rv-figure-runs i").all(),
        alpha.locator(".nsewdrag").bounding_box(),
    )
    found = sorted((one.bounding_box()["x"] + 11 - plate["x"]) / plate["width"] for one in rings)
    steps = [right - left for left, right in pairwise(found)]
    assert len(steps) == 3 and max(steps) - min(steps) < 0.02 and min(steps) > 0.2
    # The arrow keys in a chart, and Escape.
    study.locator(".rv-figure-plot").focus()
    page.keyboard.press("ArrowRight")
    said = study.locator(".rv-figure-said").inner_text()
    named = {one.name for one in main if f"run {one.label}," in said}
    assert len(named) == 1
    expect(bars).to_have_attribute("data-marked", named.pop())
    page.keyboard.press("Escape")
    expect(bars).to_have_attribute("data-marked", "")
    # The arrow keys in the table.
    study.locator(".rv-figure-table").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    second = study.locator(".rv-figure-table tbody tr").nth(1)
    expect(second).to_have_class("rv-marked")
    expect(bars).to_have_attribute("data-marked", second.get_attribute("data-run"))


def sweep_of(view: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in view["sweeps"] if one["name"] == name)


def place_of(page: Any, chart: str, run: str) -> dict[str, float]:
    """Return the place of a run's mark in the plot of a chart, in pixels."""
    return page.evaluate(
        """([chart, run]) => {
          const plot = document.querySelector(chart + " .rv-figure-plot");
          const one = plot.data.find((trace) => trace.meta?.runs?.includes(run));
          const i = one.meta.runs.indexOf(run), {xaxis: x, yaxis: y} = plot._fullLayout;
          return {x: x._offset + x.d2p(one.x[i]), y: y._offset + y.d2p(one.y[i])};
        }""",
        [chart, run],
    )
