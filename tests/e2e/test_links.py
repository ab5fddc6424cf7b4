"""Links that are copied and opened, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import checkpoints
from tests.e2e.harness import PATIENCE, expect, open_explorer, open_map

pytestmark = pytest.mark.browser


def open_link(page: Any, app: str, query: str) -> None:
    page.set_default_timeout(PATIENCE)
    page.goto(f"{app}/?{query}")


def test_a_copied_link_opens_where_it_was_copied(app: str, visit: Any) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"]).page
    open_explorer(page, app)
    page.locator(".rv-thumb").nth(2).click()
    open_map(page)
    plate = page.locator("#code-map .rv-figure-plot")
    plate.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    code = page.locator("#code-map .rv-figure").get_attribute("data-hovered")
    page.wait_for_selector(f'#map-code .rv-code[data-code="{code}"]')
    page.get_by_role("button", name="Copy a link to this view").click()
    page.get_by_text("Link copied").wait_for()
    address = page.evaluate("navigator.clipboard.readText()")
    assert address == page.locator(".rv-share-note input").input_value()
    assert f"tab=codemap&checkpoint={checkpoints.names()[0]}&example=" in address
    assert address.endswith(f"&code={code}")
    # It opens with the same tab, code and picture.
    where = page.locator("#map-code .rv-where img").get_attribute("src")
    other = visit().page
    open_link(other, app, address.split("?", 1)[1])
    other.wait_for_selector(f'#map-code .rv-code[data-code="{code}"]')
    expect(other.get_by_role("tab", name="Code map")).to_have_attribute("aria-selected", "true")
    expect(other.locator("#map-code .rv-where img")).to_have_attribute("src", where)


def test_a_bad_link_opens_the_app_with_a_message(app: str, visit: Any) -> None:
    page = visit().page
    open_link(page, app, "tab=codebook&checkpoint=../../etc&code=99999999&ratio=<b>")
    # The message comes with the page, before any model has run.
    page.get_by_text("There is no checkpoint called '../../etc'").wait_for()
    page.wait_for_selector('#codebook .rv-figure[data-state="ready"]')
    page.wait_for_selector('#code .rv-code[data-state="ready"]')
