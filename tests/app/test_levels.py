"""Tokenizers with several ids per position in the explorer: the choice of level, and refusals."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import torch

from app import shell
from app.services import checkpoints, code_details, mask_draws, priors, reconstruction
from app.services.code_map import map_data, other_checkpoints
from app.services.comparison import compare_on, row_figures
from app.services.errors import UserError
from app.services.uploads import open_picture
from app.tabs import codebook, reconstruct, reconstruct_token
from app.tabs.shared_inputs import level_update
from app.ui.figures import reconstruction_figures
from app.ui.following_choice import FollowingChoice
from core.images import open_picture as read
from core.images import to_pixels, to_tensor
from core.priors import MaskedConfig
from core.quantizers import LevelsConfig, RegVQConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.app.conftest import NETWORK

CODES = 20
LEVELS = {
    "residual": LevelsConfig(residual=3),
    "beam": LevelsConfig(residual=3, beam=4, shared=True),
    "product": LevelsConfig(groups=2),
}


def made(levels: LevelsConfig, quantizer: RegVQConfig | VQConfig) -> Tokenizer:
    torch.manual_seed(1)
    tokenizer = Tokenizer(TokenizerConfig(NETWORK, quantizer, levels=levels)).eval()
    spread = float(tokenizer.latents(torch.rand(4, 3, 64, 64) * 2 - 1).std())
    for parameter in tokenizer.quantizer.parameters():
        torch.nn.init.normal_(parameter, 0, spread)
    return tokenizer.requires_grad_(False)


@pytest.fixture(scope="module", autouse=True)
def home(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Let the app see tokenizers with levels, one without, and a prior over levels."""
    root = tmp_path_factory.mktemp("levels")
    for name, levels in LEVELS.items():
        kind = RegVQConfig(size=CODES) if name == "residual" else VQConfig(size=CODES)
        made(levels, kind).save_pretrained(root / name, half=False)
    shutil.copytree(bundles / "tiny-vq", root / "tiny-vq")
    config = MaskedConfig(CODES, (4, 4), 16, 1, 2, levels=3)
    about = {"name": "residual", "fingerprint": "sha256:0"}
    config.build().save_pretrained(root / "deep", tokenizer=about)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGVQ_CHECKPOINTS", str(root))
        yield root


def loaded(home: Path, name: str) -> Tokenizer:
    return Tokenizer.from_pretrained(home / name)


@pytest.mark.parametrize("name", LEVELS)
def test_a_picture_is_decoded_up_to_the_level(home: Path, photograph: Path, name: str) -> None:
    """Tokens are those of the level; bytes and bits count all levels up to it."""
    tokenizer = loaded(home, name)
    images = to_tensor(read(photograph))[None]
    ids = tokenizer.encode(images)
    for level in range(1, tokenizer.levels + 1):
        request = reconstruction.parse_request(str(photograph), f"{name}#{level}")
        found, _ = reconstruction.run(request)
        assert np.array_equal(request.ids, ids[0, level - 1].numpy())
        expected = to_pixels(tokenizer.decode(ids[:, :level])[..., :75, :101])[0]
        shown = to_pixels(to_tensor(read(found.decoded))[None])[0]
        assert np.abs(shown.astype(int) - expected).max() <= 1  # rounded in another batch
        assert found.figures["level"] == level
        assert found.figures["tokens"] == level * ids[0, 0].numel()
        assert found.figures["bytes_tokens"] == -(-level * ids[0, 0].numel() * np.log2(CODES) // 8)
        used = sum(len(ids[0, n].unique()) for n in range(level))
        assert found.figures["codes_used"] == used
    last = reconstruction.parse_request(str(photograph), name)
    assert last.handle.level == tokenizer.levels
    assert last.handle.name == name


def test_the_note_names_the_levels_that_are_decoded(photograph: Path) -> None:
    notes = [
        reconstruction.first_view(reconstruction.parse_request(str(photograph), f"residual#{n}"))
        for n in (1, 3)
    ]
    assert "Decoded from level 1 of 3." in notes[0]["note"]
    assert "Decoded from levels 1 to 3 of 3; the tokens are those of level 3." in notes[1]["note"]


def test_drawn_tokens_are_those_of_the_level(home: Path, photograph: Path) -> None:
    plain = reconstruction.parse_request(str(photograph), "residual#2").ids
    drawn = reconstruction.parse_request(str(photograph), "residual#2", 1.0, 3).ids
    assert (plain != drawn).any()
    assert 0 <= drawn.min() <= drawn.max() < CODES


@pytest.mark.parametrize("name", LEVELS)
def test_usage_code_and_map_are_those_of_the_level(home: Path, photograph: Path, name: str) -> None:
    tokenizer = loaded(home, name)
    ids = tokenizer.encode(to_tensor(read(photograph))[None])[0]
    for level in (1, tokenizer.levels):
        counts, figures = code_details.codebook_usage(f"{name}#{level}", "picture", str(photograph))
        assert counts.tolist() == torch.bincount(ids[level - 1].flatten(), minlength=CODES).tolist()
        assert figures["total"] == CODES
        scenes, words = code_details.counts_on(
            checkpoints.open_tokenizer(f"{name}#{level}"), "bundle"
        )
        assert scenes.sum() > 0 and "drawn scenes" in words
        card = code_details.code_card(f"{name}#{level}", 3, str(photograph), "picture")
        codes = tokenizer.quantizer.level_codebooks()[level - 1]
        near = (codes - codes[3]).norm(dim=1).argsort()[1 : 1 + len(card["nearest"])]
        assert card["nearest"] == near.tolist()
        assert card["uses"] == counts[3]
        shown, _ = map_data(f"{name}#{level}", "pca", "class", 2, 15, None)
        assert shown.places.shape == (CODES, 2)


def test_endpoints_take_a_level_last(photograph: Path) -> None:
    _, _, _, figures = reconstruct.reconstruct(str(photograph), "residual", level=2)
    assert figures["level"] == 2
    panel = reconstruction_figures(figures)
    assert "of 40 codes" in panel and "13 × 10, 2 per 8 × 8 pixels" in panel
    _, usage = codebook.codebook_usage("residual", "picture", str(photograph), 1)
    _, other = codebook.codebook_usage("residual#1", "picture", str(photograph))
    assert usage["counts"] == other["counts"]


def test_the_choice_of_level_is_shown_only_where_there_are_several() -> None:
    several = level_update("residual")
    assert several["visible"] and several["value"] == "residual#3"
    assert several["choices"] == [(f"{n} of 3", f"residual#{n}") for n in (1, 2, 3)]
    assert level_update("residual", "residual#2")["value"] == "residual#2"
    assert level_update("product", "residual#2")["value"] == "product#2"
    one = level_update("tiny-vq", "residual#2")
    assert not one["visible"] and one["value"] == "tiny-vq"
    assert level_update(None)["value"] is None
    assert shell.open_page("?checkpoint=residual")["level"]["value"] == "residual#3"
    assert "20 learned codes at each of 3 levels, one for every 8" in shell.header("residual")


def test_a_link_carries_the_level(warned: list[str]) -> None:
    def query(level: str | None) -> str:
        return shell.copy_link("Codebook", level, None, 5, 0.0, 0, None, None, 0)["query"]

    assert query("residual#2") == "tab=codebook&checkpoint=residual&level=2&code=5"
    opened = shell.open_page("?" + query("residual#2"))
    assert opened["checkpoint"]["value"] == "residual"
    assert (opened["level"]["value"], opened["level"]["visible"]) == ("residual#2", True)
    # The last level is chosen without a word, and a checkpoint with one level has no other.
    assert query("residual#3") == "tab=codebook&checkpoint=residual&code=5"
    assert query("tiny-vq") == "tab=codebook&checkpoint=tiny-vq&code=5"
    assert query(None) == "tab=codebook&code=5"
    for name, wrong in (("residual", 4), ("tiny-vq", 2), ("residual", "one")):
        opened = shell.open_page(f"?checkpoint={name}&level={wrong}")
        assert opened["level"]["value"] == level_update(name)["value"]
    assert ["The level of the link is ignored." in one for one in warned] == [True] * 3
    assert "from 1 to 3, not '4'" in warned[0]


def test_compare_counts_all_levels(home: Path, photograph: Path) -> None:
    handle = checkpoints.open_tokenizer("residual")
    found = row_figures(compare_on(handle, open_picture(str(photograph))))
    assert found["tokens"] == 3 * 10 * 13
    assert found["codebook_size"] == 3 * CODES
    assert found["bits_per_pixel"] == pytest.approx(3 * 130 * np.log2(CODES) / (75 * 101))


def test_a_map_of_a_level_has_no_map_of_its_own_checkpoint_beside_it() -> None:
    assert "residual" not in other_checkpoints("residual#2", [])[0]


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (
            lambda p: checkpoints.open_tokenizer("residual#4"),
            "has 3 levels, so there is no level 4",
        ),
        (
            lambda p: checkpoints.open_tokenizer("tiny-vq#2"),
            "has one level, so there is no level 2",
        ),
        (lambda p: checkpoints.open_tokenizer("nothing#1"), "no checkpoint called 'nothing'"),
        (lambda p: checkpoints.at_level("residual", 1.5), "level must be a whole number"),
        (lambda p: mask_draws.stochastic_tokenizer("residual#1"), "that of a single codebook"),
        (lambda p: priors.open_prior("deep", "complete"), "draws 3 ids per position"),
        (lambda p: priors.open_prior(None, "complete"), "draws 3 ids per position"),
    ],
)
def test_what_levels_do_not_have_is_refused_in_a_sentence(photograph, work, words: str) -> None:
    with pytest.raises(UserError, match=words):
        work(photograph)


def test_single_tokens_of_levels_are_refused(photograph: Path) -> None:
    with pytest.raises(gr.Error, match="single tokens of several levels cannot be looked at"):
        reconstruct_token.edit_tokens(str(photograph), "residual", [[0, 0, 1]])


def test_a_call_with_the_level_of_the_checkpoint_before_is_no_error() -> None:
    """The page may send it before it knows the choices of the next checkpoint."""
    level = FollowingChoice([("1 of 1", "tiny-vq")], value="tiny-vq")
    assert level.preprocess("residual#3") == "residual#3" and level.preprocess(None) is None
    with pytest.raises(gr.Error, match="not in the list"):
        gr.Dropdown(["tiny-vq"]).preprocess("residual#3")
    app = shell.build_app()
    kinds = {block.elem_id: type(block) for block in app.blocks.values() if block.elem_id}
    assert kinds["level"] is kinds["shown-channels"] is FollowingChoice
