"""An imported f16 tokenizer with 16,384 codes in every tab, in a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.analysis.codes import paint_codes
from core.images import open_picture, to_tensor
from core.importing.bundle import import_tokenizer
from core.tokenizer import Tokenizer
from tests.e2e.harness import (
    ARTIFACTS,
    WIDTHS,
    go,
    marks,
    open_about,
    open_codebook,
    open_compare,
    open_explorer,
    open_generate,
    open_lab,
    open_map,
    running_app,
    spot,
)
from tests.e2e.harness import choose as choose_option
from tests.e2e.test_explorer import error, picture_at, reconstruct, shows

pytestmark = pytest.mark.browser

NAME = "vq-f16-16k"
CODES = 16_384


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundle of a VQModel of diffusers with small widths, without an atlas."""
    from diffusers import VQModel

    torch.manual_seed(0)
    source = tmp_path_factory.mktemp("models") / NAME
    model = VQModel(
        block_out_channels=(32,) * 5, down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5, latent_channels=8, num_vq_embeddings=CODES,
    )  # fmt: skip
    model.quantize.embedding.weight.data.normal_()
    model.save_pretrained(source)
    out = tmp_path_factory.mktemp("bundles") / NAME
    import_tokenizer(source, out)
    return out


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def settings(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    cache = tmp_path_factory.mktemp("cache")
    return {"REGVQ_CHECKPOINTS": str(folder), "REGVQ_CACHE": str(cache)}


@pytest.fixture(scope="module")
def app(
    chromium: str, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield the address of an explorer of its own, which has never seen this tokenizer."""
    with running_app(tmp_path_factory.mktemp("app") / "app.log", settings=settings) as address:
        yield address


def choose(page: Any, box: str) -> None:
    """Choose the checkpoint in a dropdown."""
    page.locator(f"{box} input").click()
    page.locator(f"{box} input").fill(NAME)
    page.get_by_role("option", name=NAME).click()


def open_checkpoint(page: Any, app: str) -> None:
    open_explorer(page, app)
    choose(page, "#checkpoint")
    page.get_by_text(f"of {CODES:,} codes", exact=True).wait_for()
    page.wait_for_selector('.rv-stage[data-state="ready"]')


def painted(page: Any, selector: str = "#codebook .rv-figure") -> int:
    return int(page.locator(selector).get_attribute("data-painted"))


def swatch(page: Any, card: str) -> np.ndarray:
    return picture_at(page, f"{card} .rv-swatch")


def test_the_rest_is_painted_in_quiet_moments_and_asked_for_calmly(app: str, visit: Any) -> None:
    visitor = visit()
    page = visitor.page
    open_checkpoint(page, app)
    open_codebook(page)
    visitor.settle()
    before, asked, since = painted(page), len(visitor.requests), time.monotonic()
    if before == CODES:  # so few quiet moments were enough; no page had asked for all
        return
    note = page.locator("#codebook .rv-figure-note").inner_text()
    assert f"of {CODES:,} codes painted" in note and "while nobody waits" in note
    page.wait_for_function(
        f"Number(document.querySelector('#codebook .rv-figure').dataset.painted) > {before}"
    )
    page.wait_for_function(
        "note => document.querySelector('#codebook .rv-figure-note').innerText !== note", arg=note
    )
    # One question every eight seconds or less often, each of at most four requests; the machine's
    # speed decides how long it took.
    questions = 2 + (time.monotonic() - since) / 8
    assert len(visitor.requests) - asked <= 4 * questions


@pytest.mark.parametrize("size", ["desktop", pytest.param("phone", marks=pytest.mark.long)])
def test_every_tab_opens(
    app: str, visit: Any, photograph: Path, tokenizer: Tokenizer, size: str
) -> None:
    width, height = WIDTHS[size]
    page = visit(width, height).page
    open_checkpoint(page, app)

    reconstruct(page, photograph)
    page.get_by_text(f"{CODES:,} learned codes, one for every 16 × 16 pixels").wait_for()
    image = to_tensor(open_picture(photograph))
    ids = tokenizer.encode(image[None])[0].numpy()
    shows(page, "#figures", "tokens", ids.size)
    shows(page, "#figures", "codes_used", len(np.unique(ids)))
    shown = picture_at(page, ".rv-over")
    pixels = tokenizer.reconstruct(image[None])[0].permute(1, 2, 0).numpy()
    assert error(shown, (pixels + 1) * 127.5) < 1

    open_codebook(page)
    book = page.locator("#codebook .rv-figure")
    assert book.get_attribute("data-codes") == str(CODES)
    page.locator("#usage").get_by_text(f"of {CODES:,} codes used").first.wait_for()
    code = int(page.locator("#code .rv-code").get_attribute("data-code"))
    np.testing.assert_array_equal(swatch(page, "#code"), paint_codes(tokenizer, [code], side=3)[0])
    near = page.locator("#code .rv-near img")
    assert near.count() == 8 and near.first.evaluate("image => image.naturalWidth") == 16
    page.locator("#code").get_by_role("radio", name="By what they paint").click()
    page.locator("#code .rv-near-kind").get_by_text("painted").wait_for()

    # At most 4,096 codes answer to the pointer; zoomed in, those of the window, with their tiles.
    assert len(marks(page, "#codebook")) == 4096 and f"of these {CODES:,}" in book.inner_text()
    choose_option(page, "book-order", "By number")
    choose_option(page, "book-view", "Decoded tile")
    page.wait_for_selector('#codebook .rv-figure[data-view="tiles"][data-order="number"]')
    plot = page.locator("#codebook .rv-figure-plot")
    for _ in range(4):
        before = int(book.get_attribute("data-inside"))
        plot.get_by_role("button", name="Zoom in").click()
        page.wait_for_function(
            "before => document.querySelector('#codebook .rv-figure').dataset.inside < before",
            arg=before,
        )
    assert set(marks(page, "#codebook")) < set(range(CODES))
    page.screenshot(path=ARTIFACTS / f"large-codebook-{size}.png", full_page=True)
    middle = CODES // 2 + 64  # in the middle of 128 x 128 codes
    plot.click(position=spot(page, "#codebook", middle))
    page.wait_for_selector(f'#code .rv-code[data-code="{middle}"]')
    np.testing.assert_array_equal(
        swatch(page, "#code"), paint_codes(tokenizer, [middle], side=3)[0]
    )

    open_map(page)
    cloud = page.locator("#code-map .rv-figure")
    assert cloud.get_attribute("data-codes") == str(CODES)
    assert cloud.get_attribute("data-layout") == "pca2"
    page.locator("#code-map .rv-figure-plot").focus()
    page.keyboard.press("ArrowRight")
    hovered = int(cloud.get_attribute("data-hovered"))
    assert f"Code {hovered}" in page.locator("#code-map .rv-tip").inner_text()
    page.wait_for_selector(
        f'#code-map .rv-figure[data-tile="{hovered}"]'
    )  # painted when pointed at
    page.keyboard.press("Enter")
    page.wait_for_selector(f'#map-code .rv-code[data-code="{hovered}"]')
    page.screenshot(path=ARTIFACTS / f"large-map-{size}.png", full_page=True)

    go(page, "Mask ratio")
    page.wait_for_selector('.rv-masks[data-state="refused"]')
    assert f"{NAME} always takes the best code" in page.locator(".rv-refused p").inner_text()
    open_generate(page)
    open_compare(page)
    choose(page, "#compare-checkpoints")
    page.locator(".rv-compare").get_by_text(NAME).first.wait_for()
    page.wait_for_selector('.rv-compare[data-state="ready"]')
    open_lab(page)
    open_about(page)
    assert "VQModel" in page.locator("#card").inner_text()


@pytest.mark.long  # tests/app/services/test_code_atlas.py has a restart, too
def test_a_second_start_knows_what_the_first_one_painted(
    app: str,
    visit: Any,
    chrome: Any,
    settings: dict[str, str],
    tmp_path: Path,
) -> None:
    page = visit().page
    open_checkpoint(page, app)
    open_codebook(page)
    before = painted(page)
    assert before > 0
    with running_app(tmp_path / "app.log", settings=settings) as address:
        context = chrome.new_context()
        page = context.new_page()
        open_checkpoint(page, address)
        open_codebook(page)
        assert painted(page) >= before
        context.close()
