"""Code map, Mask ratio, single tokens and the lab in a real browser, on the shipped checkpoint."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.services import checkpoints
from app.services.mask_draws import NotStochastic
from core.analysis.real_patches import unpack_patches
from core.analysis.token_edits import edited
from core.images import open_picture, to_pixels, to_tensor
from core.tokenizer import Tokenizer
from tests.e2e.harness import (
    WIDTHS,
    choose,
    expect,
    go,
    marks,
    open_codebook,
    open_explorer,
    open_lab,
    open_map,
    open_masks,
    spot,
)
from tests.e2e.test_explorer import figure, picture_at, reconstruct, shows

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained(checkpoints.bundle(checkpoints.names()[0]).path)


@pytest.mark.parametrize("size", WIDTHS)
def test_codes_are_selected_on_the_map(app: str, visit: Any, size: str) -> None:
    width, height = WIDTHS[size]
    visitor = visit(width, height)
    page = visitor.page
    open_explorer(page, app, "dark" if size == "phone" else "light")
    open_map(page)
    chart, plot = page.locator("#code-map .rv-figure"), page.locator("#code-map .rv-figure-plot")
    atlas = checkpoints.bundle(checkpoints.names()[0]).atlas
    counts, having = atlas["counts"], np.diff(unpack_patches(atlas)[1])
    assert chart.get_attribute("data-codes") == str(len(counts))
    assert {code: row[1] for code, row in marks(page, "#code-map").items()} == dict(
        enumerate(counts)
    )
    # With the keyboard from the selected code to the next one on the right, and Enter.
    first = chart.get_attribute("data-code")
    plot.focus()
    page.keyboard.press("ArrowRight")
    there = int(chart.get_attribute("data-hovered"))
    assert there != int(first)
    tip = page.locator("#code-map .rv-tip").inner_text()
    assert f"Code {there}" in tip and (f"{counts[there]:,} use" in tip or "dead" in tip)
    page.wait_for_selector(f'#code-map .rv-figure[data-tile="{there}"]')
    page.keyboard.press("Enter")
    page.wait_for_selector(f'#map-code .rv-code[data-code="{there}"]')
    shows(page, "#map-code", "uses", counts[there])
    expect(page.locator("#map-code .rv-real img")).to_have_count(int(having[there]))
    # A click on a code that lies apart.
    far = int(max(marks(page, "#code-map"), key=lambda code: pca_distance(atlas, code)))
    plot.click(position=spot(page, "#code-map", far))
    page.wait_for_selector(f'#map-code .rv-code[data-code="{far}"]')
    # A lasso around everything selects every code, Escape clears the selection.
    plot.get_by_role("button", name="Lasso Select").click()
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    left, top = box["x"] + 2, box["y"] + 34
    right, bottom = box["x"] + box["width"] - 4, box["y"] + box["height"] - 62
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    expect(chart).to_have_attribute("data-chosen", str(len(counts)))
    group = page.locator("#map-group")
    expect(group.locator(".rv-many")).to_have_text(f"{len(counts):,} codes")
    # Their real patches, if the bundle stores them; the radio group reacts to keys.
    group.get_by_role("radio", name="Decoded tile").focus()
    page.keyboard.press("ArrowRight")
    group.get_by_text(f"{(having == 0).sum()} codes do not occur").wait_for()
    expect(group.locator(".rv-group-tiles button")).to_have_count(min(240, (having > 0).sum()))
    most = having * (counts + 1)
    top_code = int(np.argsort(-np.where(having > 0, counts, -1), kind="stable")[0])
    assert most[top_code] > 0
    assert int(group.locator("button[data-code]").first.get_attribute("data-code")) == top_code
    group.get_by_role("button", name="Selected codes after these").click()
    expect(group.locator(".rv-group")).to_have_attribute("data-page", "1")
    plot.focus()
    page.keyboard.press("Escape")
    expect(chart).not_to_have_attribute("data-chosen", re.compile(""))
    if size == "phone":
        assert page.evaluate("document.body.scrollWidth") <= width
        return
    # The wheel zooms in the focused map: the server sends the window's codes.
    plot.get_by_role("button", name="Pan").click()
    plot.hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
    for _ in range(10):  # Plotly zooms by a tenth per turn
        page.mouse.wheel(0, -100)
    page.wait_for_function(
        "all => Number(document.querySelector('#code-map .rv-figure').dataset.inside) < all",
        arg=len(counts),
    )
    # The bundle stores its UMAP.
    choose(page, "map-layout", "UMAP, 15 neighbors")
    page.wait_for_selector('#code-map .rv-figure[data-layout="umap2-15"]')
    # A code that is selected here is also selected in the codebook.
    open_codebook(page)
    page.wait_for_selector(f'#code .rv-code[data-code="{far}"]')


def pca_distance(atlas: dict[str, np.ndarray], code: int) -> float:
    """Return the distance of a code to its nearest neighbor on the map by PCA."""
    apart = np.linalg.norm(atlas["pca"] - atlas["pca"][code], axis=1)
    return float(np.partition(apart, 1)[1])


def test_the_mask_follows_its_slider(app: str, visit: Any) -> None:
    page = visit().page
    open_explorer(page, app)
    open_masks(page)
    tokens = int(
        page.locator("#mask-figures [data-figure=drawn] .rv-note")
        .inner_text()
        .split()[1]
        .replace(",", "")
    )
    shows(page, "#mask-figures", "drawn", tokens - math.floor(tokens * 0.6 + 1e-9))
    box = page.locator("#mask-share input[type=number]")
    box.fill("1")
    box.press("Enter")
    page.wait_for_selector(f'.rv-masks[data-drawn="{tokens}"]')
    shows(page, "#mask-figures", "drawn", tokens)
    assert 0 < figure(page, "#mask-figures", "changed") <= tokens
    page.wait_for_function(
        "Number(document.querySelector('#mask-curve .rv-figure').dataset.points) >= 10"
    )
    # A token is marked in all four views.
    face = page.locator("[data-view=entropy] canvas")
    face.hover(position={"x": 40, "y": 40})
    expect(page.locator(".rv-quad .rv-cursor:visible")).to_have_count(4)
    assert "bits" in page.locator(".rv-token-tip").inner_text()


def test_a_checkpoint_without_a_posterior_says_so(app: str, visit: Any) -> None:
    names = checkpoints.names()
    opened = ((name, checkpoints.open_tokenizer(name).tokenizer) for name in names)
    plain = next((name for name, found in opened if not found.quantizer.is_stochastic), None)
    if plain is None:
        pytest.skip("every shipped checkpoint is stochastic")
    page = visit().page
    open_explorer(page, app)
    open_masks(page)
    page.locator("#checkpoint input").click()
    page.get_by_role("option", name=plain, exact=True).click()
    page.wait_for_selector('.rv-masks[data-state="refused"]')
    words = page.locator(".rv-refused p").inner_text()
    assert words == str(NotStochastic(checkpoints.open_tokenizer(plain)))
    page.locator(".rv-offer").click()
    page.wait_for_selector('.rv-masks[data-state="ready"]')


def test_the_code_of_a_token_is_replaced(
    app: str, visit: Any, photograph: Path, tokenizer: Tokenizer
) -> None:
    page = visit().page
    open_explorer(page, app)
    reconstruct(page, photograph)
    image = to_tensor(open_picture(photograph))
    ids, f = tokenizer.encode(image[None])[0].numpy(), tokenizer.downsampling
    row, column = 7, 5
    box = page.locator(".rv-frame").bounding_box()
    unit = box["width"] / image.shape[2] * f
    position = {"x": (column + 0.5) * unit, "y": (row + 0.5) * unit}
    page.locator(".rv-frame").hover(position=position)
    assert f"Code {ids[row, column]}" in page.locator(".rv-stage .rv-tip").inner_text()
    page.locator(".rv-frame").click(position=position)
    page.wait_for_selector(f'.rv-token[data-code="{ids[row, column]}"]')
    runner = page.locator(".rv-runners button").nth(3)
    code = int(runner.get_attribute("data-put"))
    runner.click()
    page.wait_for_selector(f'.rv-token[data-code="{code}"][data-edited="1"]')
    page.wait_for_selector('.rv-stage[data-edited="1"]')
    changed = edited(ids, [(row, column, code)], tokenizer.codebook_size)
    whole = tokenizer.decode(torch.from_numpy(changed)[None])
    expected = to_pixels(whole[..., : image.shape[1], : image.shape[2]])[0]
    np.testing.assert_allclose(picture_at(page, ".rv-over"), expected.astype(int), atol=1)
    page.get_by_role("button", name="Undo all").click()
    page.wait_for_selector('.rv-stage[data-edited="0"]')


def set_slider(page: Any, where: str, value: str) -> None:
    box = page.locator(f"{where} input[type=number]")
    box.fill(value)
    box.press("Enter")


def test_quantizers_train_in_the_lab(app: str, visit: Any) -> None:
    page = visit().page
    open_explorer(page, app)
    open_lab(page)
    page.wait_for_function("Number(document.querySelector('.rv-lab').dataset.step) > 10")
    assert page.locator(".rv-run").count() == 6
    page.get_by_role("button", name="Pause").click()
    # An answer may come after the pause; then nothing moves.
    page.wait_for_selector('.rv-lab[data-playing="false"][data-waiting="0"]')
    step = int(page.locator(".rv-lab").get_attribute("data-step"))
    assert f"Paused at step {step}" in page.locator(".rv-lab-status").inner_text()
    # A setting that is changed meanwhile is not a restart: training continues.
    set_slider(page, "#lab-prior", "0.5")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function(
        "before => Number(document.querySelector('.rv-lab').dataset.step) > before", arg=step
    )
    page.get_by_role("button", name="Reset", exact=True).click()
    page.wait_for_function(
        "before => Number(document.querySelector('.rv-lab').dataset.step) < before", arg=step
    )


def test_tiny_tokenizers_train_in_the_lab(app: str, visit: Any, photograph: Path) -> None:
    page = visit(width=390, height=844).page
    open_explorer(page, app)
    go(page, "Collapse lab")
    page.locator("#lab-kind").get_by_text("Small pictures").click()
    page.wait_for_selector('.rv-lab[data-kind=pictures]:not([data-step="0"])')
    plates = page.locator(".rv-sheet canvas")
    assert plates.count() == 6
    curve = page.locator("#lab-psnr .rv-figure")
    curve.scroll_into_view_if_needed()
    page.wait_for_selector("#lab-psnr .rv-figure[data-traces='6']")
    assert page.evaluate("document.body.scrollWidth") <= 390
    # With the keyboard from code to code.
    codes = page.locator(".rv-grid canvas").first
    codes.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".rv-watch").first.inner_text().startswith("Code 1: ")
    # The user's own picture, one instead of six.
    page.locator("#lab-source").get_by_text("Your picture").click()
    page.wait_for_selector("#lab-picture")
    page.locator("#lab-picture input[type=file]").set_input_files(photograph)
    page.wait_for_function(
        "() => !document.querySelector('.rv-lab').hasAttribute('data-several')"
        " && Number(document.querySelector('.rv-lab').dataset.step) > 0"
    )
