"""Codes found by number, color, patch and class, and by a link that others open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.services import checkpoints
from core.analysis.code_search import codes_by_color
from core.images import open_picture, to_tensor
from core.tokenizer import Tokenizer
from tests.e2e.harness import PATIENCE, expect, go
from tests.e2e.harness import choose as choose_option

pytestmark = pytest.mark.browser

TWO_CLICKS = """() => {
    const entries = document.querySelectorAll("#code-map .legend .traces .legendtoggle");
    for (const one of [entries[0], entries[1]]) for (const kind of ["mousedown", "mouseup"])
        one.dispatchEvent(new MouseEvent(kind, { bubbles: true, detail: 1 }));
}"""


@pytest.mark.parametrize(
    ("tab", "chart", "card"),
    [
        ("codebook", "#codebook .rv-figure", "#code"),
        ("codemap", "#code-map .rv-figure", "#map-code"),
    ],
)
def test_a_code_has_a_link_of_its_own(
    app: str, visit: Any, tab: str, chart: str, card: str
) -> None:
    name = "photos-vq"
    page = visit().page
    page.set_default_timeout(PATIENCE)
    page.goto(f"{app}/?checkpoint={name}&code=77&tab={tab}")
    page.wait_for_selector(f'{card} .rv-code[data-code="77"]')
    page.wait_for_selector(f'{chart}[data-state="ready"][data-code="77"]')
    assert page.locator("#checkpoint input").input_value() == name
    expect(page.locator(f"#tab-{tab}")).to_be_visible()


def test_codes_are_found_by_number_color_patch_and_class(
    app: str, visit: Any, photograph: Path
) -> None:
    name = checkpoints.names()[0]
    tokenizer = Tokenizer.from_pretrained(checkpoints.bundle(name).path)
    page = visit().page
    page.set_default_timeout(PATIENCE)
    page.goto(f"{app}/?tab=codebook&code=5")
    page.wait_for_selector('#code .rv-code[data-code="5"]')
    search = page.locator("#find-code")
    words, found = search.locator(".rv-find-words"), search.locator(".rv-find-list button")

    def choose(way: str) -> None:
        search.get_by_role("radio", name=way).click()

    # By number: the code is selected at once; a wrong number gets a sentence, and nothing changes.
    number = search.locator("[name=code]")
    number.fill("9")
    number.press("Enter")
    page.wait_for_selector('#code .rv-code[data-code="9"]')
    number.fill("99999999")
    number.press("Enter")
    size = tokenizer.codebook_size
    expect(words).to_have_text(f"The code must be a number from 0 to {size - 1}, not '99999999'.")
    assert page.locator("#code .rv-code").get_attribute("data-code") == "9"

    # By color: the nearest ones, of which a click selects one.
    choose("Color")
    search.locator("[name=color]").fill("#2060c0")
    search.get_by_role("button", name="Find").click()
    expect(found).to_have_count(12)
    colors = checkpoints.bundle(name).atlas["mean_color"]
    wanted = codes_by_color(colors, (0x20, 0x60, 0xC0))[0].tolist()
    assert found.locator("b").all_inner_texts() == [str(code) for code in wanted]
    found.nth(2).click()
    page.wait_for_selector(f'#code .rv-code[data-code="{wanted[2]}"]')
    expect(found.nth(2)).to_have_attribute("aria-pressed", "true")

    # By a patch of one's own picture.
    choose("Patch")
    frame = search.locator(".rv-find-frame img")
    first = frame.get_attribute("src") or page.wait_for_selector(
        "#find-code .rv-find-frame img[src]"
    ).get_attribute("src")
    search.locator("input[type=file]").set_input_files(str(photograph))
    expect(frame).not_to_have_attribute("src", first)
    picture = open_picture(photograph)
    page.wait_for_function(
        "width => document.querySelector('#find-code .rv-find-frame img').naturalWidth === width",
        arg=picture.width,
    )
    ids = tokenizer.encode(to_tensor(picture)[None])[0].numpy()
    f, box = tokenizer.downsampling, frame.bounding_box()
    row, column = ids.shape[0] // 2, ids.shape[1] // 3
    scale = box["width"] / picture.width
    frame.click(position={"x": (column + 0.5) * f * scale, "y": (row + 0.5) * f * scale})
    page.wait_for_selector(f'#code .rv-code[data-code="{ids[row, column]}"]')
    expect(found).to_have_count(12)

    # By class: the codes of the sky in the drawn scenes.
    choose("Class")
    search.locator("select").select_option("sky")
    expect(words).to_contain_text("Codes that cover most of the class sky in 48 drawn scenes")
    shares = [float(text.split()[0]) for text in found.locator("span").all_inner_texts()]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0

    # The same on the map, on which the code that is found is marked.
    go(page, "Code map")
    page.wait_for_selector('#code-map .rv-figure[data-state="ready"]')
    other = page.locator("#find-map-code [name=code]")
    other.fill("33")
    other.press("Enter")
    page.wait_for_selector('#map-code .rv-code[data-code="33"]')
    page.wait_for_selector('#code-map .rv-figure[data-code="33"]')

    # A class of the legend: one click hides it, two show it alone, two again show all.
    choose_option(page, "map-color", "Class in drawn scenes")
    page.wait_for_selector('#code-map .rv-figure[data-color="class"]')
    entries = page.locator("#code-map .legend .traces")
    counts = [int(text.rsplit(" ", 1)[1].replace(",", "")) for text in entries.all_text_contents()]
    chart, inside = page.locator("#code-map .rv-figure"), sum(counts)
    none = int(chart.get_attribute("data-inside")) - inside  # in no scene
    entries.nth(0).locator(".legendtoggle").click()
    expect(chart).to_have_attribute("data-inside", str(inside - counts[0] + none))
    entries.nth(1).locator(".legendtoggle").dblclick()
    expect(chart).to_have_attribute("data-inside", str(counts[1] + none))
    entries.nth(1).locator(".legendtoggle").dblclick()
    expect(chart).to_have_attribute("data-inside", str(inside + none))
    # Clicks on two entries are no double click, however soon one follows the other.
    page.evaluate(TWO_CLICKS)
    left = inside - counts[0] - counts[1] + none
    expect(chart).to_have_attribute("data-inside", str(left))
