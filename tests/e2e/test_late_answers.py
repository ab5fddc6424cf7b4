"""Late answers and new drawings undo nothing that the page shows, and lose no click."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.harness import choose, marks, open_codebook, open_explorer, open_map, spot

pytestmark = pytest.mark.browser

FIGURE = "#code-map .rv-figure"


def hold_first(page: Any, address: str, known: str) -> list[Any]:
    """Hold the page's next request to ``address`` that contains ``known``; return where it goes."""
    held: list[Any] = []

    def decide(route: Any) -> None:
        if held or known not in route.request.post_data:
            route.continue_()
        else:
            held.append(route)

    page.route(address, decide)
    return held


def release(one: Any, held: list[Any]) -> None:
    """Send the held request, and wait until the page has its answer and is quiet."""
    assert held
    held[0].continue_()
    one.settle()


def open_code_map(app: str, one: Any) -> Any:
    open_explorer(one.page, app)
    open_map(one.page)
    one.settle()
    return one.page


def test_the_last_choice_in_a_list_is_shown(app: str, visit: Any) -> None:
    one = visit()
    page = open_code_map(app, one)
    held = hold_first(page, "**/queue/join*", '"pca",3')
    choose(page, "map-axes", "3-D")  # Gradio's page sends two requests, side by side
    page.wait_for_selector(f'{FIGURE}[data-layout="pca3"]')
    choose(page, "map-axes", "2-D")
    page.wait_for_selector(f'{FIGURE}[data-layout="pca2"]')
    release(one, held)
    assert page.locator(FIGURE).get_attribute("data-layout") == "pca2"


def test_the_last_window_of_a_map_is_shown(app: str, visit: Any) -> None:
    one = visit()
    page = open_code_map(app, one)
    held = hold_first(page, "**/run/predict*", '"width"')
    square = page.locator(f"{FIGURE}-plot")
    with page.expect_request("**/run/predict*"):  # for the window, once it rests
        square.press("+")
    square.press("+")
    all_codes = int(page.locator(FIGURE).get_attribute("data-codes"))
    page.wait_for_function(
        f"Number(document.querySelector('{FIGURE}').dataset.inside) < {all_codes}"
    )
    drawn, inside = (
        page.locator(FIGURE).get_attribute(f"data-{name}") for name in ("drawn", "inside")
    )
    release(one, held)
    assert page.locator(FIGURE).get_attribute("data-inside") == inside
    assert page.locator(FIGURE).get_attribute("data-drawn") == drawn


def test_a_click_is_taken_while_a_chart_is_drawn_anew(app: str, visit: Any) -> None:
    """Plotly forgets what is under the pointer when it draws, and then tells of no click."""
    page = visit().page
    open_explorer(page, app)
    open_codebook(page)
    square = page.locator("#codebook .rv-figure-plot")
    square.scroll_into_view_if_needed()
    selected = int(page.locator("#code .rv-code").get_attribute("data-code"))
    code = next(code for code in list(marks(page, "#codebook"))[500:] if code != selected)
    place, box = spot(page, "#codebook", code), square.bounding_box()
    page.mouse.move(box["x"] + place["x"], box["y"] + place["y"])
    page.wait_for_function(
        "document.querySelector('#codebook .rv-figure-plot')._hoverdata !== undefined"
    )
    square.evaluate("plot => { plot._hoverdata = undefined; }")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector(f'#code .rv-code[data-code="{code}"][data-state="ready"]')


def test_the_same_answer_draws_a_chart_once(app: str, visit: Any) -> None:
    one = visit()
    page = open_code_map(app, one)
    drawn = int(page.locator(FIGURE).get_attribute("data-drawn"))
    choose(page, "map-axes", "3-D")  # two requests, side by side
    page.wait_for_selector(f'{FIGURE}[data-layout="pca3"]')
    one.settle()
    assert int(page.locator(FIGURE).get_attribute("data-drawn")) == drawn + 1
