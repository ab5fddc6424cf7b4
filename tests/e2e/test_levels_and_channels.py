"""Tokenizers with several ids per position, and of five channels, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.arrays import array_to_tensor
from core.images import to_pixels
from core.metrics.psnr_ssim import psnr
from core.networks.autoencoder import NetworkConfig
from core.quantizers import LevelsConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.e2e.harness import PATIENCE, choose, expect, go, open_codebook, running_app
from tests.e2e.test_explorer import picture_at, shows

pytestmark = pytest.mark.browser

NAME, DEEP = "two-levels", "five-channels"
NETWORK = NetworkConfig(widths=(8, 8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
MADE = {
    NAME: TokenizerConfig(NETWORK, VQConfig(size=36), levels=LevelsConfig(residual=2)),
    DEEP: TokenizerConfig(NETWORK, VQConfig(size=36), channels=5, perceptual_channels=(3, 2, 1)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small tokenizer of two levels and one of five channels."""
    found = tmp_path_factory.mktemp("tokenizers")
    for name, config in MADE.items():
        torch.manual_seed(0)
        tokenizer = Tokenizer(config).eval()
        for parameter in tokenizer.quantizer.parameters():
            torch.nn.init.normal_(parameter, 0, 0.3)
        tokenizer.save_pretrained(found / name)
    return found


@pytest.fixture(scope="module")
def app(chromium: str, folder: Path) -> Iterator[str]:
    """Run the explorer with these tokenizers beside the shipped ones."""
    settings = {"REGVQ_CHECKPOINTS": str(folder)}
    with running_app(folder / "app.log", settings=settings) as address:
        yield address


def opened(visitor: Any, address: str) -> Any:
    visitor.page.set_default_timeout(PATIENCE)
    visitor.page.goto(address)
    return visitor.page


def test_a_level_is_chosen_and_shown(visit: Any, app: str) -> None:
    """The choice appears with the checkpoint, each tab follows it, and it leaves with it."""
    page = opened(visit(), f"{app}/?checkpoint={NAME}")
    page.wait_for_selector('.rv-stage[data-state="ready"]')
    stage, level = page.locator("#stage"), page.locator("#level input")
    expect(stage).to_contain_text("Decoded from levels 1 to 2 of 2")
    expect(level).to_have_value("2 of 2")
    choose(page, "level", "1 of 2")
    expect(stage).to_contain_text("Decoded from level 1 of 2.")
    open_codebook(page)
    expect(page.locator("#usage")).to_contain_text("of 36 codes used")
    go(page, "Mask ratio")
    expect(page.locator("#tab-masks")).to_contain_text("two-levels has 2 ids per position")
    choose(page, "checkpoint", "photos-vq")
    expect(page.locator("#level")).to_have_count(0)
    go(page, "Reconstruct")
    expect(stage).not_to_contain_text("Decoded from level")


def test_a_copied_link_opens_at_its_level(visit: Any, app: str) -> None:
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    page = opened(visitor, f"{app}/?checkpoint={NAME}&level=1")
    expect(page.locator("#level input")).to_have_value("1 of 2")
    expect(page.locator("#stage")).to_contain_text("Decoded from level 1 of 2.")
    page.get_by_role("button", name="Copy a link to this view").click()
    page.get_by_text("Link copied").wait_for()
    address = page.evaluate("navigator.clipboard.readText()")
    assert f"?tab=reconstruct&checkpoint={NAME}&level=1&example=" in address


def upload(page: Any, file: Path) -> None:
    """Choose a file for the button that takes arrays and TIFFs."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a .npy array or a TIFF").click()
    chooser.value.set_files(file)


def test_pictures_of_five_channels(visit: Any, app: str, folder: Path, tmp_path: Path) -> None:
    """The shown channels are chosen; arrays and 16-bit TIFFs keep theirs; a bad one is refused."""
    y, x = np.mgrid[:44, :52] / 44
    waves = [np.sin(5 * x * k + 2) * np.cos(3 * y + k) * 0.45 + 0.5 for k in range(1, 6)]
    array = np.rint(np.stack(waves, axis=2) * 65535).astype(np.uint16)
    np.save(tmp_path / "field.npy", array)
    part = np.ascontiguousarray(array[:, 4:])
    first, *more = (Image.fromarray(np.ascontiguousarray(part[:, :, k])) for k in range(5))
    first.save(tmp_path / "part.tif", save_all=True, append_images=more)
    np.save(tmp_path / "bad.npy", np.full((8, 8, 5), np.nan, np.float32))
    tokenizer = Tokenizer.from_pretrained(folder / DEEP)
    image = array_to_tensor(array)[None]
    decoded = tokenizer.reconstruct(image)

    page = opened(visit(), f"{app}/?checkpoint={DEEP}")
    stage, shown = page.locator("#stage"), page.locator("#shown-channels input")
    expect(shown).to_have_value("Channels 3, 2, 1 as color")
    expect(stage).to_contain_text("The example repeats its colors")

    upload(page, tmp_path / "field.npy")
    expect(page.locator(".rv-size")).to_have_text("52 × 44 pixels")
    shows(page, "#figures", "psnr", float(psnr(image, decoded)), within=0.006)
    expect(stage).to_contain_text("Of 5 channels, channels 3, 2, 1 as color: PSNR, SSIM and")
    np.testing.assert_array_equal(picture_at(page, ".rv-under"), to_pixels(image[:, [2, 1, 0]])[0])
    choose(page, "shown-channels", "Channel 5, gray")
    expect(stage).to_contain_text("Of 5 channels, channel 5 as gray")
    page.wait_for_selector('.rv-stage[data-state="ready"]')
    gray = to_pixels(decoded[:, [4, 4, 4]])[0].astype(int)
    np.testing.assert_allclose(picture_at(page, ".rv-over"), gray, atol=1)

    upload(page, tmp_path / "part.tif")
    expect(page.locator(".rv-size")).to_have_text("48 × 44 pixels")
    image = array_to_tensor(part)[None]
    value = float(psnr(image, tokenizer.reconstruct(image)))
    shows(page, "#figures", "psnr", value, within=0.006)
    np.testing.assert_array_equal(picture_at(page, ".rv-under"), to_pixels(image[:, [4, 4, 4]])[0])

    upload(page, tmp_path / "bad.npy")
    expect(page.locator(".toast-message-text")).to_have_text(
        "bad.npy holds NaN or infinite values; replace them."
    )
    shows(page, "#figures", "psnr", value, within=0.006)  # the picture before stays
    # Nothing was counted in drawn scenes, which have three channels.
    open_codebook(page)
    expect(page.locator("#usage")).to_contain_text("no pictures: five-channels takes pictures of 5")
