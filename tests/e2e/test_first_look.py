"""The explorer at first sight: what is needed is on the first screen, and figures agree."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from app.services import checkpoints
from tests.e2e.harness import PATIENCE, WIDTHS, choose, go

pytestmark = pytest.mark.browser


def open_tab(one: Any, app: str, tab: str, **more: Any) -> Any:
    query = "&".join(f"{name}={value}" for name, value in {"tab": tab, **more}.items())
    one.page.set_default_timeout(PATIENCE)
    one.page.goto(f"{app}/?{query}")
    one.page.locator(f"#tab-{tab} .rv-lead").wait_for()
    one.settle()
    return one.page


def test_on_a_phone_the_codes_card_follows_its_map(app: str, visit: Any) -> None:
    page = open_tab(visit(*WIDTHS["phone"]), app, "codebook")
    for tab, chart, card in (
        ("Codebook", "#codebook .rv-figure-plot", "#code"),
        ("Code map", "#code-map .rv-figure-plot", "#map-code"),
    ):
        go(page, tab)
        page.wait_for_selector(f'{card} .rv-code[data-state="ready"]')
        above, below = page.locator(chart).bounding_box(), page.locator(card).bounding_box()
        assert 0 < below["y"] - above["y"] - above["height"] < 700, tab


def test_what_takes_longer_says_so(app: str, visit: Any) -> None:
    one = visit()
    page = open_tab(one, app, "reconstruct")
    page.wait_for_selector('.rv-stage[data-state="ready"]')
    held: list[Any] = []
    page.route("**/queue/join*", lambda route: held.append(route))
    page.locator("#examples .rv-thumb").nth(1).click()
    page.locator("#stage > .rv-place", has_text=re.compile(r", \d+ s$")).wait_for()
    page.unroute("**/queue/join*")  # which releases the held requests
    page.locator("#stage > .rv-place").wait_for(state="detached")


def test_the_button_that_generates_is_on_the_first_screen(app: str, visit: Any) -> None:
    page = open_tab(visit(), app, "generate")
    page.locator("#prompts .rv-chips button").first.wait_for()
    box = page.locator("#generate").bounding_box()
    assert box["y"] + box["height"] <= 900


def test_a_codes_rank_is_the_same_at_the_pointer_and_on_its_card(app: str, visit: Any) -> None:
    name = checkpoints.names()[0]
    counts = checkpoints.bundle(name).atlas["counts"]
    ranked = np.sort(counts)[::-1]
    place = int(np.flatnonzero((ranked[1:] == ranked[:-1]) & (ranked[1:] > 0))[0]) + 1
    side = int(np.ceil(np.sqrt(len(counts))))
    page = open_tab(visit(), app, "codebook", checkpoint=name)
    page.wait_for_selector('#codebook .rv-figure[data-state="ready"]')
    choose(page, "book-order", "By use")
    page.wait_for_selector('#codebook .rv-figure[data-order="usage"]')
    square = page.locator("#codebook .rv-figure-plot")
    square.press("Home")
    for key in ["ArrowDown"] * (place // side) + ["ArrowRight"] * (place % side):
        square.press(key)
    tip = page.locator("#codebook .rv-tip")
    code = tip.locator("b").inner_text().removeprefix("Code ")
    at_pointer = re.search(r"no\. ([\d,]+)", tip.locator("span").inner_text())[1]
    square.press("Enter")
    page.wait_for_selector(f'#code .rv-code[data-code="{code}"]')
    on_card = re.search(r"No\. ([\d,]+) of", page.locator("#code .rv-rank").inner_text())[1]
    assert at_pointer == on_card == f"{place:,}"  # the code before it has as many uses


def test_pca_says_how_much_it_explains(app: str, visit: Any) -> None:
    page = open_tab(visit(), app, "codemap")
    page.wait_for_selector('#code-map .rv-figure[data-state="ready"]')
    note = page.locator("#code-map .rv-figure-note")
    shares = []
    for axes in ("2", "3"):
        choose(page, "map-axes", f"{axes}-D")
        page.wait_for_selector(f'#code-map .rv-figure[data-layout="pca{axes}"]')
        found = re.fullmatch(
            rf"The {axes} axes explain ([\d.]+) % of the variance of the code vectors\.",
            note.inner_text(),
        )
        assert found is not None
        shares.append(float(found[1]))
    assert 0 < shares[0] < shares[1] <= 100


TWO_FINGERS = """
  (plot, [from, to]) => {
    const box = plot.getBoundingClientRect(), middle = box.top + box.height / 2;
    const at = (id, x) => new Touch({ identifier: id, target: plot, clientX: x, clientY: middle });
    const send = (kind, half) => {
      const center = box.left + box.width / 2;
      const touches = half ? [at(1, center - half), at(2, center + half)] : [];
      plot.dispatchEvent(new TouchEvent(kind, { touches, bubbles: true, cancelable: true }));
    };
    send("touchstart", from); send("touchmove", from); send("touchmove", to); send("touchend", 0);
  }
"""
"""Two fingers that move from a half distance to another one, in pixels."""


def test_two_fingers_zoom_a_map(app: str, visit: Any) -> None:
    page = open_tab(visit(390, 844, has_touch=True), app, "codemap")
    page.wait_for_selector('#code-map .rv-figure[data-state="ready"]')
    square = page.locator("#code-map .rv-figure-plot")
    span = "plot => plot._fullLayout.xaxis.range[1] - plot._fullLayout.xaxis.range[0]"
    inside = int(page.locator("#code-map .rv-figure").get_attribute("data-inside"))
    before = square.evaluate(span)
    square.evaluate(TWO_FINGERS, [20, 60])
    page.wait_for_function(
        "before => { const plot = document.querySelector('#code-map .rv-figure-plot');"
        " const [left, right] = plot._fullLayout.xaxis.range;"
        " return Math.abs((right - left) / before - 1 / 3) < 0.01; }",
        arg=before,
    )
    page.wait_for_function(
        "inside => Number(document.querySelector('#code-map .rv-figure').dataset.inside) < inside",
        arg=inside,
    )


def test_the_introduction_names_the_address_of_the_page(app: str, visit: Any) -> None:
    page = open_tab(visit(), app, "about")
    page.locator("#introduction", has_text=f'Client("{app}")').wait_for()
