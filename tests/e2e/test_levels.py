"""The choice of level of a tokenizer with several ids per position, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from core.networks.autoencoder import NetworkConfig
from core.quantizers import LevelsConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.e2e.harness import choose, expect, go, open_codebook, running_app

pytestmark = pytest.mark.browser

NAME = "two-levels"


@pytest.fixture(scope="module")
def app(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the explorer with a small tokenizer of two levels beside the shipped ones."""
    torch.manual_seed(0)
    network = NetworkConfig(widths=(8, 8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    config = TokenizerConfig(network, VQConfig(size=36), levels=LevelsConfig(residual=2))
    tokenizer = Tokenizer(config).eval()
    for parameter in tokenizer.quantizer.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    folder = tmp_path_factory.mktemp("levels")
    tokenizer.save_pretrained(folder / NAME)
    settings = {"REGVQ_CHECKPOINTS": str(folder)}
    with running_app(folder / "app.log", settings=settings) as address:
        yield address


def test_a_level_is_chosen_and_shown(visit: Any, app: str) -> None:
    """The choice appears with the checkpoint, each tab follows it, and it leaves with it."""
    page = visit().page
    page.goto(f"{app}/?checkpoint={NAME}")
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
