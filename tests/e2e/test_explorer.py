"""The real app with the shipped checkpoint in a real browser."""

from __future__ import annotations

import base64
import io
import itertools
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.services import checkpoints
from app.services.links import TABS
from app.shell import FIRST
from core.analysis.codes import paint_codes
from core.images import open_picture, to_tensor
from core.tokenizer import Tokenizer
from tests.e2e.harness import (
    ARTIFACTS,
    WIDTHS,
    choose,
    expect,
    marks,
    open_about,
    open_codebook,
    open_compare,
    open_explorer,
    open_generate,
    open_lab,
    open_map,
    open_masks,
    spot,
)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def name() -> str:
    """Return the checkpoint that a page opens with."""
    return checkpoints.names()[0]


@pytest.fixture(scope="module")
def tokenizer(name: str) -> Tokenizer:
    return Tokenizer.from_pretrained(checkpoints.bundle(name).path)


@pytest.fixture(scope="module")
def atlas(name: str) -> dict[str, np.ndarray]:
    return checkpoints.bundle(name).atlas


def picture_at(page: Any, selector: str) -> np.ndarray:
    """Return the pixels of an <img>, as the browser received them."""
    address = page.locator(selector).evaluate("image => image.src")
    if address.startswith("data:"):
        data = base64.b64decode(address.split(",", 1)[1])
    else:
        data = page.request.get(address).body()
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def figure(page: Any, panel: str, key: str) -> float:
    text = page.locator(f"{panel} [data-figure={key}] .rv-value").inner_text()
    return float(text.replace(",", ""))


def shows(page: Any, panel: str, key: str, wanted: float, within: float = 0.0) -> None:
    """Wait until a figure has a value; parts of a page are not drawn at one instant."""
    from playwright.sync_api import TimeoutError

    selector = f"{panel} [data-figure={key}] .rv-value"
    try:
        page.wait_for_function(
            """([selector, wanted, within]) => {
                const found = document.querySelector(selector);
                if (!found) return false;
                return Math.abs(Number(found.innerText.replaceAll(",", "")) - wanted) <= within;
            }""",
            arg=[selector, float(wanted), float(within)],
        )
    except TimeoutError as error:
        shown = page.locator(selector).all_inner_texts()
        raise AssertionError(f"{panel} shows {shown} as {key}, not {wanted}") from error


def upload(page: Any, path: Path) -> None:
    remove = page.locator("#picture button[aria-label='Clear'], #picture button[title='Clear']")
    if remove.count():
        remove.first.click()  # the answer must not come after that to the new picture
        page.wait_for_selector('.rv-stage:is([data-state="empty"], [data-state="problem"])')
    page.locator("#picture input[type=file]").set_input_files(path)


def size_of(path: Path) -> str:
    width, height = open_picture(path).size
    return f"{width} × {height} pixels"


def reconstruct(page: Any, path: Path) -> None:
    """Upload a picture and wait until it is shown with its figures."""
    upload(page, path)
    page.get_by_text(size_of(path), exact=True).wait_for()
    page.wait_for_selector('.rv-stage[data-state="ready"]')


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))


def test_the_first_screen_shows_a_reconstruction(app: str, visit: Any) -> None:
    page = visit().page
    open_explorer(page, app)
    original, shown = picture_at(page, ".rv-under"), picture_at(page, ".rv-over")
    assert original.shape == shown.shape and original.std() > 20
    assert 10 * math.log10(255**2 / error(original, shown)) > 15
    page.locator("#rv-sentence").get_by_text("learned codes, one for every").wait_for()
    assert page.locator(".rv-thumb img").count() >= 4


def test_an_uploaded_photograph(
    app: str, visit: Any, photograph: Path, tokenizer: Tokenizer
) -> None:
    page = visit().page
    open_explorer(page, app)
    reconstruct(page, photograph)
    original, shown = picture_at(page, ".rv-under"), picture_at(page, ".rv-over")
    np.testing.assert_array_equal(original, np.asarray(open_picture(photograph)))
    psnr = 10 * math.log10(255**2 / error(original, shown))
    assert psnr > 17  # really close to the photograph
    shows(page, "#figures", "psnr", psnr, within=0.006)
    ids = tokenizer.encode(to_tensor(open_picture(photograph))[None])
    shows(page, "#figures", "tokens", ids.numel())
    shows(page, "#figures", "codes_used", len(ids.unique()))
    # The token grid: as many flat squares as there are tokens, each in its code's color.
    grid = picture_at(page, ".rv-tokens")
    f = tokenizer.downsampling
    colors = checkpoints.bundle(checkpoints.names()[0]).atlas["mean_color"]
    np.testing.assert_array_equal(grid[::f, ::f], colors[ids[0].numpy()])


def test_a_picture_is_requested_once(app: str, visit: Any, photograph: Path) -> None:
    visitor = visit()
    page = visitor.page
    open_explorer(page, app)
    visitor.settle()
    asked: list[str] = []
    page.on("request", lambda sent: "/join" in sent.url and asked.append(sent.post_data or ""))
    reconstruct(page, photograph)
    visitor.settle()
    calls = Counter(re.findall(r'"fn_index":(\d+)', " ".join(asked)))
    assert calls and set(calls.values()) == {1}, calls


def test_the_slider_moves_the_boundary(app: str, visit: Any, photograph: Path) -> None:
    page = visit().page
    open_explorer(page, app)
    reconstruct(page, photograph)
    pictures = {name: picture_at(page, f".rv-{name}") for name in ("under", "over")}
    frame = page.locator(".rv-frame")
    box = frame.bounding_box()

    def nearer() -> str:
        """Return the picture that is shown from 30 % to 45 % of the width."""
        seen = Image.open(io.BytesIO(frame.screenshot())).convert("RGB")
        left, right = int(0.30 * seen.width), int(0.45 * seen.width)
        top, bottom = int(0.2 * seen.height), int(0.8 * seen.height)
        region = (slice(top, bottom), slice(left, right))
        drawn = {
            name: np.asarray(Image.fromarray(array).resize(seen.size, Image.Resampling.BILINEAR))
            for name, array in pictures.items()
        }
        return min(drawn, key=lambda name: error(np.asarray(seen)[region], drawn[name][region]))

    handle = page.locator(".rv-handle")
    middle = handle.bounding_box()["x"]
    assert nearer() == "under"
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.9 * box["height"], steps=8)
    page.mouse.up()
    moved = handle.bounding_box()["x"]
    assert moved - middle == pytest.approx(-0.3 * box["width"], abs=4)
    assert nearer() == "over"
    # With the keyboard as well.
    slider = page.get_by_role("slider", name="Boundary")
    slider.focus()
    page.keyboard.press("End")
    assert float(slider.input_value()) == 100
    assert nearer() == "under"
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    assert float(slider.input_value()) == 98


def test_the_other_layers_are_compared_with_the_original(app: str, visit: Any) -> None:
    page = visit().page
    open_explorer(page, app)
    for layer in ("Tokens", "Error", "JPEG", "Reconstruction"):
        before = page.locator(".rv-over").get_attribute("src")
        page.get_by_role("radiogroup", name="Compare").get_by_role("radio", name=layer).click()
        page.wait_for_function(
            "before => document.querySelector('.rv-over').getAttribute('src') !== before",
            arg=before,
        )
        assert page.locator(".rv-tag-right").inner_text().startswith(layer)
    assert np.array_equal(picture_at(page, ".rv-error").shape, picture_at(page, ".rv-under").shape)


def test_a_broken_picture_gets_a_sentence(
    app: str, visit: Any, photograph: Path, tmp_path: Path
) -> None:
    page = visit().page
    open_explorer(page, app)
    broken = tmp_path / "shopping.jpg"
    broken.write_text("milk, bread, eggs")
    upload(page, broken)
    page.wait_for_selector('.rv-stage[data-state="problem"]')
    assert page.locator(".rv-problem p").inner_text().startswith("shopping.jpg is not a picture")
    reconstruct(page, photograph)  # and the app keeps running


def test_a_code_is_selected_in_the_codebook(
    app: str, visit: Any, tokenizer: Tokenizer, atlas: dict[str, np.ndarray]
) -> None:
    page = visit().page
    open_explorer(page, app)
    open_codebook(page)
    counts = atlas["counts"]
    size = len(counts)
    shows(page, "#usage", "dead", int((counts == 0).sum()))
    share = counts[counts > 0] / counts.sum()
    perplexity = math.exp(-(share * np.log(share)).sum())
    shows(page, "#usage", "perplexity", perplexity, within=0.06)

    choose(page, "book-order", "By number")
    page.wait_for_selector('#codebook .rv-figure[data-order="number"]')
    square = page.locator("#codebook .rv-figure-plot")
    square.scroll_into_view_if_needed()
    side = math.ceil(math.sqrt(size))
    code = int(np.argsort(counts)[size // 2])  # neither rare nor common
    assert int(page.locator("#code .rv-code").get_attribute("data-code")) != code
    place = spot(page, "#codebook", code)
    square.hover(position=place)
    tip = page.locator("#codebook .rv-tip")
    tip.wait_for()
    assert f"Code {code}" in tip.inner_text() and f"{counts[code]:,} use" in tip.inner_text()
    square.click(position=place)
    page.wait_for_selector(f'.rv-code[data-code="{code}"][data-state="ready"]')
    shows(page, "#code", "uses", counts[code])
    share = 100 * counts[code] / counts.sum()
    shows(page, "#code", "share", share, within=0.06 * share)
    painted = paint_codes(tokenizer, [code])[0]
    np.testing.assert_array_equal(picture_at(page, "#code .rv-swatch"), atlas["paints"][code])
    # The bundle's tile was computed elsewhere, in a batch: a level may be rounded differently.
    np.testing.assert_allclose(picture_at(page, "#code .rv-swatch"), painted.astype(int), atol=1)
    # Its occurrences are those in the picture of the tab Reconstruct.
    picture = picture_at(page, ".rv-under")
    where = picture_at(page, "#code .rv-where img")
    ids = tokenizer.encode(to_tensor(Image.fromarray(picture))[None])[0].numpy()
    count = page.locator("#code .rv-count").inner_text()
    assert count.startswith(f"{(ids == code).sum():,} of {ids.size:,} tokens")
    f = tokenizer.downsampling
    lit = (ids == code).repeat(f, 0).repeat(f, 1)[: picture.shape[0], : picture.shape[1]]
    np.testing.assert_array_equal(where[lit], picture[lit])

    # A click on a nearest code selects it, and the codebook follows.
    codes = tokenizer.quantizer.codebook().numpy().astype(np.float64)
    apart = np.linalg.norm(codes - codes[code], axis=1)
    apart[code] = np.inf
    nearest = int(apart.argmin())
    page.locator(".rv-near button").first.click()
    page.wait_for_selector(f'.rv-code[data-code="{nearest}"]')
    page.wait_for_selector(f'#codebook .rv-figure[data-code="{nearest}"]')

    # With the keyboard: one cell further, and Enter.
    square.focus()
    page.keyboard.press("Escape")
    step = "ArrowLeft" if nearest % side == side - 1 or nearest == size - 1 else "ArrowRight"
    page.keyboard.press(step)
    page.keyboard.press("Enter")
    following = nearest + (1 if step == "ArrowRight" else -1)
    page.wait_for_selector(f'.rv-code[data-code="{following}"]')
    shows(page, "#code", "uses", counts[following])


def test_the_codebook_is_drawn_from_the_counts(
    app: str, visit: Any, atlas: dict[str, np.ndarray]
) -> None:
    page = visit().page
    open_explorer(page, app)
    open_codebook(page)
    choose(page, "book-order", "By use")
    page.wait_for_selector('#codebook .rv-figure[data-order="usage"]')
    light = page.evaluate(
        """async () => {
            const plot = document.querySelector("#codebook .rv-figure-plot");
            const {source, x, y, sizex, sizey} = plot.layout.images[0], picture = new Image();
            picture.src = source;
            await picture.decode();
            const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
            canvas.width = picture.width; canvas.height = picture.height;
            pen.drawImage(picture, 0, 0);
            const {codes} = document.querySelector("#codebook .rv-figure").dataset;
            const side = Math.ceil(Math.sqrt(codes)), found = [];
            for (let i = 0; i < side * side; i++) {
                const left = (i % side + .45 - x) / sizex * picture.width;
                const top = (y + Math.floor(i / side) + .45) / sizey * picture.height;
                const [r, g, b] = pen.getImageData(left, top, 1, 1).data;
                found.push(.2126 * r + .7152 * g + .0722 * b);
            }
            return found;
        }"""
    )
    alive = int((atlas["counts"] > 0).sum())
    # WebP changes a level a little.
    assert all(a >= b - 6 for a, b in itertools.pairwise(light[:alive]))
    assert light[0] > 4 * light[alive - 1] > 0
    assert {code: row[1] for code, row in marks(page, "#codebook").items()} == dict(
        enumerate(atlas["counts"])
    )


def test_the_codebook_zooms_selects_and_saves(
    app: str, visit: Any, atlas: dict[str, np.ndarray], tmp_path: Path
) -> None:
    page = visit(accept_downloads=True).page
    open_explorer(page, app)
    open_codebook(page)
    choose(page, "book-order", "By number")
    page.wait_for_selector('#codebook .rv-figure[data-order="number"]')
    chart, plot = page.locator("#codebook .rv-figure"), page.locator("#codebook .rv-figure-plot")
    # A box around the first three codes.
    plot.get_by_role("button", name="Box Select").click()
    first, third = spot(page, "#codebook", 0), spot(page, "#codebook", 2)
    box, cell = plot.bounding_box(), (third["x"] - first["x"]) / 2
    page.mouse.move(box["x"] + first["x"] - 0.4 * cell, box["y"] + first["y"] - 0.4 * cell)
    page.mouse.down()
    right, low = box["x"] + third["x"] + 0.4 * cell, box["y"] + third["y"] + 0.4 * cell
    page.mouse.move(right, low, steps=4)
    page.mouse.up()
    expect(chart).to_have_attribute("data-chosen", "3")
    expect(page.locator("#book-group .rv-many")).to_have_text("3 codes")
    shown = page.locator("#book-group .rv-group-tiles button")
    assert {int(one.get_attribute("data-code")) for one in shown.all()} == {0, 1, 2}
    with page.expect_download() as saved:
        page.locator("#book-group [data-list]").click()
    lines = Path(saved.value.path()).read_text().split()
    assert lines[0] == "code,uses" and len(lines) == 4
    assert {tuple(map(int, line.split(","))) for line in lines[1:]} == {
        (code, int(atlas["counts"][code])) for code in range(3)
    }
    plot.focus()
    page.keyboard.press("Escape")
    expect(chart).not_to_have_attribute("data-chosen", re.compile(""))
    # Zoomed in, the server sends the codes of the window.
    before = int(chart.get_attribute("data-inside"))
    plot.get_by_role("button", name="Zoom in").click()
    page.wait_for_function(
        "before => Number(document.querySelector('#codebook .rv-figure').dataset.inside) < before",
        arg=before,
    )
    for kind in ("csv", "png", "svg"):
        with page.expect_download() as saved:
            page.locator(f"#codebook [data-save={kind}]").click()
        file = Path(saved.value.path())
        assert saved.value.suggested_filename == f"codebook.{kind}"
        if kind == "csv":
            head, *rows = [line.split(",") for line in file.read_text().splitlines()]
            assert head[:2] == ["code", "uses"] and len(rows) == len(marks(page, "#codebook"))
            assert all(int(row[1]) == atlas["counts"][int(row[0])] for row in rows)
        elif kind == "png":
            assert Image.open(file).size[0] > 500
        else:
            assert "<svg" in file.read_text()


def test_the_codes_of_this_picture_are_counted(
    app: str, visit: Any, photograph: Path, tokenizer: Tokenizer
) -> None:
    page = visit().page
    open_explorer(page, app)
    reconstruct(page, photograph)
    open_codebook(page)
    page.get_by_role("radio", name="This picture").check(force=True)
    ids = tokenizer.encode(to_tensor(open_picture(photograph))[None])
    page.wait_for_function(
        "tokens => document.querySelector('#usage [data-figure=tokens] .rv-value').innerText"
        ".replace(',', '') === tokens",
        arg=str(ids.numel()),
    )
    shows(page, "#usage", "dead", tokenizer.codebook_size - len(ids.unique()))


def test_checkpoints_are_compared_on_one_picture(
    app: str, visit: Any, photograph: Path, tmp_path: Path
) -> None:
    visitor = visit()
    page = visitor.page
    open_explorer(page, app)
    reconstruct(page, photograph)
    page.evaluate(
        """() => {
            window.states = [];
            new MutationObserver((changes) => changes
                .filter(({ target }) => target.matches('.rv-compare'))
                .forEach(({ target }) => window.states.push(target.dataset.state))
            ).observe(document, { subtree: true, attributeFilter: ['data-state'] });
        }"""
    )
    open_compare(page)
    names = checkpoints.names()[: page.locator("[data-key] > .rv-lens").count() - 1]
    original = np.asarray(open_picture(photograph))
    np.testing.assert_array_equal(
        picture_at(page, '.rv-plate-card[data-key=""] .rv-lens img:first-child'), original
    )
    measured = {}
    for name in names:
        shown = picture_at(page, f'.rv-plate-card[data-key="{name}"] .rv-lens img:first-child')
        measured[name] = 10 * math.log10(255**2 / error(original, shown))
        text = page.locator(f'.rv-table tr[data-key="{name}"] [data-figure=psnr] span')
        assert float(text.inner_text()) == pytest.approx(measured[name], abs=0.006)

    # It is requested once, although the tab was opened and filled in; and frames stay filled.
    visitor.settle()
    states = page.evaluate("window.states")
    assert "empty" not in states and "partial" not in states[states.index("ready") :], states

    # Sorted by a column, the best first; the pictures follow.
    page.locator('.rv-table th button[data-key="psnr"]').click()
    page.wait_for_selector('.rv-table th[aria-sort="descending"] button[data-key="psnr"]')
    rows = page.locator(".rv-table tbody tr[data-key]")
    order = rows.evaluate_all("rows => rows.map(r => r.dataset.key)")
    assert order == sorted(names, key=lambda name: -measured[name])
    cards = page.locator(".rv-plate-card").evaluate_all("cards => cards.map(c => c.dataset.key)")
    assert cards == ["", *order]

    # Zoomed, all pictures show the same place.
    page.get_by_role("button", name="Zoom in").click()
    page.locator(".rv-lens").first.focus()
    page.keyboard.press("ArrowRight")
    views = page.locator(".rv-lens > img:first-child").evaluate_all(
        "images => images.map(i => getComputedStyle(i).transform)"
    )
    assert len({view.split(",")[0] for view in views}) == 1 and "matrix(1," not in views[0]

    with page.expect_download() as saved:
        page.get_by_role("button", name="Table, CSV").click()
    lines = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("checkpoint,quantizer,psnr") and len(lines) == 1 + len(names)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Table, JSON").click()
    table = json.loads(Path(saved.value.path()).read_text(encoding="utf-8"))
    assert [row["checkpoint"] for row in table["table"]] == order
    assert table["table"][0]["psnr"] == pytest.approx(measured[order[0]], abs=0.006)
    assert (table["height"], table["width"]) == original.shape[:2]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Pictures, PNG").click()
    sheet = Image.open(saved.value.path())
    assert sheet.width > original.shape[1] * min(4, len(names) + 1)


CUT = """() => [...document.querySelectorAll("input[type=number]")]
  .filter((field) => field.offsetParent && field.scrollWidth > field.clientWidth + 1)
  .map((field) => field.value + " in " + field.clientWidth + " pixels")"""
"""The number fields that are too narrow for their numbers."""
WIDER = """() => [...document.querySelectorAll(".tabitem *")].filter((node) => {
  const box = node.getBoundingClientRect();
  if (!box.width || box.right <= innerWidth + 1) return false;
  for (let up = node.parentElement; up; up = up.parentElement) {
    if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(up).overflowX))
      return false;
  }
  return true;
}).map((node) => node.tagName + "." + node.className)"""
"""The parts of a tab that reach beyond the window, where nothing around them scrolls."""


@pytest.mark.parametrize(
    ("device", "theme"),
    [
        ("desktop", "light"),
        ("phone", "dark"),
        pytest.param("desktop", "dark", marks=pytest.mark.long),
        pytest.param("phone", "light", marks=pytest.mark.long),
    ],
)
def test_every_tab_fits_the_screen(app: str, visit: Any, theme: str, device: str) -> None:
    """Check that every tab says what to do first and that nothing of it is wider than the window.

    It also takes screenshots that continuous integration keeps.
    """
    touch = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    width, height = WIDTHS[device]
    page = visit(width, height, **(touch if device == "phone" else {})).page
    open_explorer(page, app, theme)
    fill = {
        "Codebook": open_codebook,
        "Code map": open_map,
        "Mask ratio": open_masks,
        "Generate": open_generate,
        "Compare": open_compare,
        "Collapse lab": open_lab,
        "About": open_about,
    }
    for tab in ("Reconstruct", *fill):
        if tab in fill:
            fill[tab](page)
        key = next(key for key, title in TABS.items() if title == tab)
        assert page.locator(f"#tab-{key} .rv-lead").inner_text() == FIRST[key]
        assert page.evaluate(WIDER) == [], tab
        assert page.evaluate(CUT) == [], tab
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        name = f"{device}-{theme}-{tab.lower().replace(' ', '-')}.png"
        page.screenshot(path=ARTIFACTS / name)
    grounds = page.evaluate("getComputedStyle(document.querySelector('.gradio-container')).color")
    bright = sum(int(part) for part in grounds[4:-1].split(",")) / 3
    assert bright > 200 if theme == "dark" else bright < 60  # the text's color


def test_the_theme_is_switched_and_remembered(app: str, visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    open_explorer(page, app, "light")

    def wait_for_ground(test: str) -> None:
        page.wait_for_function(
            """test => {
                const color = getComputedStyle(document.body).backgroundColor;
                const [r, g, b] = color.match(/[0-9.]+/g).map(Number), mean = (r + g + b) / 3;
                return test === "light" ? mean > 200 : mean < 60;
            }""",
            arg=test,
        )

    wait_for_ground("light")
    page.get_by_role("button", name="Switch between light and dark").click()
    page.wait_for_function("document.body.classList.contains('dark')")
    wait_for_ground("dark")
    visitor.settle()  # Gradio's page reports an error when it is left while it waits
    page.goto(app)
    page.wait_for_selector('.rv-stage[data-state="ready"]')
    wait_for_ground("dark")


def test_the_card_of_the_checkpoint_is_shown(app: str, visit: Any, name: str) -> None:
    page = visit().page
    open_explorer(page, app)
    open_about(page)
    card = page.locator("#card")
    heading = card.locator("h1").first.inner_text()
    assert heading in checkpoints.bundle(name).card
