"""The study's charts under Compare, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import study_results
from tests.e2e.conftest import Visit
from tests.e2e.harness import open_compare, open_explorer

pytestmark = pytest.mark.browser


def test_charts_are_drawn_when_they_become_visible(app: str, chrome: Any) -> None:
    visit = Visit(chrome, viewport={"width": 1440, "height": 480})
    page = visit.page
    open_explorer(page, app)
    open_compare(page)
    charts = page.locator(".rv-study")
    assert charts.get_attribute("data-state") == "busy"  # the pictures above have precedence
    charts.scroll_into_view_if_needed()
    page.wait_for_selector(".rv-study[data-state=ready]")

    known = study_results.study_view()
    part = [run for run in known["runs"] if run["group"] == charts.get_attribute("data-part")]
    x, y = (charts.get_attribute(f"data-{axis}") for axis in "xy")
    both = [run["name"] for run in part if x in run["values"] and y in run["values"]]
    drawn = page.locator(".rv-plot .rv-point").evaluate_all(
        "all => all.map((one) => one.dataset.run)"
    )
    assert both and drawn == both
    # The table is made when it is opened: one row per run, one column per figure.
    rows = page.locator(".rv-study-table tbody tr")
    assert rows.count() == 0
    page.get_by_text("Show as a table").click()
    rows.first.wait_for()  # the browser reports the opening with a short delay
    assert rows.count() == len(part)
    assert rows.first.locator("td").count() == len(known["axes"])
    visit.context.close()
    assert visit.errors == []
