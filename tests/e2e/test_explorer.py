"""The real app with the shipped checkpoint in a real browser."""

from __future__ import annotations

import base64
import io
import itertools
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.services import checkpoints
from core.analysis.codes import paint_codes
from core.images import open_picture, to_tensor
from core.tokenizer import Tokenizer
from tests.e2e.harness import (
    ARTIFACTS,
    WIDTHS,
    open_about,
    open_codebook,
    open_compare,
    open_explorer,
    open_generate,
    open_lab,
    open_map,
    open_masks,
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


def upload(page: Any, path: Path) -> None:
    remove = page.locator("#picture button[aria-label='Clear'], #picture button[title='Clear']")
    if remove.count():
        remove.first.click()
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
    assert "learned codes, one for every" in page.locator("#rv-sentence").inner_text()
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
    assert figure(page, "#figures", "psnr") == pytest.approx(psnr, abs=0.006)
    ids = tokenizer.encode(to_tensor(open_picture(photograph))[None])
    assert figure(page, "#figures", "tokens") == ids.numel()
    assert figure(page, "#figures", "codes_used") == len(ids.unique())
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
    assert figure(page, "#usage", "dead") == int((counts == 0).sum())
    share = counts[counts > 0] / counts.sum()
    perplexity = math.exp(-(share * np.log(share)).sum())
    assert figure(page, "#usage", "perplexity") == pytest.approx(perplexity, abs=0.06)

    page.get_by_role("radio", name="By number").click()
    square = page.locator(".rv-square")
    square.scroll_into_view_if_needed()
    side = math.ceil(math.sqrt(size))
    unit = square.bounding_box()["width"] / side
    code = int(np.argsort(counts)[size // 2])  # neither rare nor common
    assert int(page.locator("#code .rv-code").get_attribute("data-code")) != code
    place = {"x": (code % side + 0.5) * unit, "y": (code // side + 0.5) * unit}
    square.hover(position=place)
    tip = page.locator("#codebook .rv-tip")
    assert f"Code {code}" in tip.inner_text() and f"{counts[code]:,} use" in tip.inner_text()
    square.click(position=place)
    page.wait_for_selector(f'.rv-code[data-code="{code}"][data-state="ready"]')
    assert figure(page, "#code", "uses") == counts[code]
    assert figure(page, "#code", "share") == pytest.approx(
        100 * counts[code] / counts.sum(), rel=0.06
    )
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
    assert page.locator(".rv-codebook").get_attribute("data-code") == str(nearest)

    # With the keyboard: one cell further, and Enter.
    square.focus()
    step = "ArrowLeft" if nearest % side == side - 1 or nearest == size - 1 else "ArrowRight"
    page.keyboard.press(step)
    page.keyboard.press("Enter")
    following = nearest + (1 if step == "ArrowRight" else -1)
    page.wait_for_selector(f'.rv-code[data-code="{following}"]')
    assert figure(page, "#code", "uses") == counts[following]


def test_the_codebook_is_drawn_from_the_counts(
    app: str, visit: Any, atlas: dict[str, np.ndarray]
) -> None:
    page = visit().page
    open_explorer(page, app)
    open_codebook(page)
    page.get_by_role("radio", name="By use").click()
    light = page.evaluate(
        """() => {
            const canvas = document.querySelector('.rv-cells'), pen = canvas.getContext('2d');
            const side = Math.ceil(Math.sqrt(document.querySelector('.rv-codebook').dataset.codes));
            const unit = canvas.width / side, found = [];
            for (let i = 0; i < side * side; i++) {
                const x = (i % side + .4) * unit, y = (Math.floor(i / side) + .4) * unit;
                const [r, g, b] = pen.getImageData(x, y, 1, 1).data;
                found.push(.2126 * r + .7152 * g + .0722 * b);
            }
            return found;
        }"""
    )
    alive = int((atlas["counts"] > 0).sum())
    assert all(a >= b - 1e-6 for a, b in itertools.pairwise(light[:alive]))
    assert light[0] > 4 * light[alive - 1] > 0


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
    assert figure(page, "#usage", "dead") == tokenizer.codebook_size - len(ids.unique())


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
        page.get_by_role("button", name="Pictures, PNG").click()
    sheet = Image.open(saved.value.path())
    assert sheet.width > original.shape[1] * min(4, len(names) + 1)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_every_tab_fits_the_screen(app: str, visit: Any, theme: str, device: str) -> None:
    """Check the width of every tab, and take a screenshot that continuous integration keeps."""
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

    def ground() -> float:
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in color[4:-1].split(",")[:3]) / 3

    assert ground() > 200
    page.get_by_role("button", name="Switch between light and dark").click()
    page.wait_for_function("document.body.classList.contains('dark')")
    assert ground() < 60
    visitor.settle()  # Gradio's page reports an error when it is left while it waits
    page.goto(app)
    page.wait_for_selector('.rv-stage[data-state="ready"]')
    assert ground() < 60


def test_the_card_of_the_checkpoint_is_shown(app: str, visit: Any, name: str) -> None:
    page = visit().page
    open_explorer(page, app)
    open_about(page)
    card = page.locator("#card")
    heading = card.locator("h1").first.inner_text()
    assert heading in checkpoints.bundle(name).card
