"""Code map, Mask ratio, single tokens and the lab in a real browser, on the shipped checkpoint."""

from __future__ import annotations

import math
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
from tests.e2e.harness import go, open_codebook, open_explorer, open_lab, open_map, open_masks
from tests.e2e.test_explorer import figure, picture_at, reconstruct

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained(checkpoints.bundle(checkpoints.names()[0]).path)


def test_codes_are_selected_on_the_map(app: str, visit: Any) -> None:
    page = visit().page
    open_explorer(page, app)
    open_map(page)
    cloud, plate = page.locator(".rv-codemap"), page.locator(".rv-cloud")
    atlas = checkpoints.bundle(checkpoints.names()[0]).atlas
    counts, having = atlas["counts"], np.diff(unpack_patches(atlas)[1])
    assert cloud.get_attribute("data-codes") == str(len(counts))
    # With the keyboard from the selected code to the next one on the right, and Enter.
    first = cloud.get_attribute("data-code")
    plate.focus()
    page.keyboard.press("ArrowRight")
    there = int(cloud.get_attribute("data-hovered"))
    assert there != int(first)
    tip = page.locator(".rv-cloud .rv-tip").inner_text()
    assert f"Code {there}" in tip and (f"{counts[there]:,} use" in tip or "dead" in tip)
    page.keyboard.press("Enter")
    page.wait_for_selector(f'#map-code .rv-code[data-code="{there}"]')
    assert figure(page, "#map-code", "uses") == counts[there]
    assert page.locator("#map-code .rv-real img").count() == having[there]
    # A lasso around everything selects every code, Escape clears the selection.
    page.get_by_role("radio", name="Lasso").click()
    box = plate.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    for x, y in ((1, 0), (1, 1), (0, 1)):
        page.mouse.move(
            box["x"] + 2 + x * (box["width"] - 4), box["y"] + 2 + y * (box["height"] - 4), steps=4
        )
    page.mouse.up()
    assert cloud.get_attribute("data-chosen") == str(len(counts))
    assert page.locator(".rv-many").inner_text() == f"{len(counts):,} codes"
    # Their real patches, if the bundle stores them; the radio group reacts to keys.
    page.locator(".rv-group").get_by_role("radio", name="Decoded tile").focus()
    page.keyboard.press("ArrowRight")
    note = page.locator(".rv-group-note")
    note.get_by_text(f"{(having == 0).sum()} codes do not occur").wait_for()
    assert cloud.get_attribute("data-shown") == str(min(480, (having > 0).sum()))
    plate.focus()
    page.keyboard.press("Escape")
    assert cloud.get_attribute("data-chosen") is None
    # The bundle stores its UMAP.
    page.get_by_role("radio", name="UMAP").click()
    page.wait_for_selector('.rv-codemap[data-layout="umap2-15"]')
    # A code that is selected here is also selected in the codebook.
    open_codebook(page)
    page.wait_for_selector(f'#code .rv-code[data-code="{there}"]')


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
    assert figure(page, "#mask-figures", "drawn") == tokens - math.floor(tokens * 0.6 + 1e-9)
    box = page.locator("#mask-share input[type=number]")
    box.fill("1")
    box.press("Enter")
    page.wait_for_selector(f'.rv-masks[data-drawn="{tokens}"]')
    assert figure(page, "#mask-figures", "drawn") == tokens
    assert 0 < figure(page, "#mask-figures", "changed") <= tokens
    page.wait_for_function("Number(document.querySelector('.rv-sweep').dataset.points) >= 5")
    # A token is marked in all four views.
    face = page.locator("[data-view=entropy] canvas")
    face.hover(position={"x": 40, "y": 40})
    assert page.locator(".rv-quad .rv-cursor:visible").count() == 4
    assert "bits" in page.locator(".rv-token-tip").inner_text()


def test_a_checkpoint_without_a_posterior_says_so(app: str, visit: Any) -> None:
    plain = [name for name in checkpoints.names() if "regvq" not in name]
    if not plain:
        pytest.skip("every shipped checkpoint is stochastic")
    page = visit().page
    open_explorer(page, app)
    open_masks(page)
    page.locator("#checkpoint input").click()
    page.get_by_role("option", name=plain[0], exact=True).click()
    page.wait_for_selector('.rv-masks[data-state="refused"]')
    words = page.locator(".rv-refused p").inner_text()
    assert words == str(NotStochastic(checkpoints.open_tokenizer(plain[0])))
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


def lab_step(page: Any) -> int:
    return int(page.locator(".rv-lab").get_attribute("data-step") or -1)


def stopped_step(page: Any) -> int:
    """Return the step at which the lab has stopped; an answer may come after the pause."""
    for _ in range(20):
        before = lab_step(page)
        page.wait_for_timeout(1500)
        if lab_step(page) == before:
            return before
    raise AssertionError("the lab continues although it is paused")


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
    page.wait_for_selector('.rv-lab[data-playing="false"]')
    step = stopped_step(page)
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
    assert plates.count() == 6 and page.locator("[data-curve=psnr]").is_visible()
    words = page.locator("[data-curve=psnr]").get_attribute("aria-label")
    assert "Reg-VQ" in words and page.evaluate("document.body.scrollWidth") <= 390
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
