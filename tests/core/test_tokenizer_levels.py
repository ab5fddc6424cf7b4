"""Tokenizers with several ids per position: encoding, decoding, bundles and figures."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from core import Tokenizer, TokenizerConfig
from core.analysis.atlas import build_atlas
from core.analysis.counts import count_classes, count_codes
from core.analysis.diagnose_levels import diagnose_levels
from core.analysis.level_view import LevelView
from core.analysis.mask_sweep import mask_sweep
from core.analysis.real_patches import gather_patches
from core.cards.tokenizer import model_card
from core.errors import CheckpointError
from core.exporting.programs import export_programs
from core.exporting.vqmodel import vqmodel_config
from core.metrics.codebook_usage import usage_of, usage_of_levels
from core.metrics.reconstruction import evaluate_tokenizer
from core.metrics.robustness import robustness
from core.networks.autoencoder import NetworkConfig
from core.networks.vqgan import VQGANConfig
from core.plots import plot_usage
from core.quantizers import LevelsConfig, RegVQConfig, VQConfig
from core.quantizers.usage import UsageWindow, count_ids
from tests.helpers.bundle_edits import config_of, write_config

NETWORK = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
VQ = VQConfig(size=16)
BOTH = LevelsConfig(residual=2, groups=2)
LEVELS = {
    "residual": LevelsConfig(residual=3),
    "shared": LevelsConfig(residual=3, shared=True, dropout=0.5, beam=2),
    "product": LevelsConfig(groups=2),
    "both": BOTH,
}


def make(levels: LevelsConfig, quantizer=VQ) -> Tokenizer:
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerConfig(NETWORK, quantizer, levels=levels)).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in tokenizer.quantizer.parameters():
            parameter.normal_(0, 0.3, generator=draw)
    return tokenizer


def pictures(count: int = 2, height: int = 22, width: int = 24) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    return torch.rand(count, 3, height, width, generator=draw) * 2 - 1


@pytest.mark.parametrize("kind", LEVELS)
def test_ids_have_an_axis_of_levels_and_decode_as_the_reconstruction(kind: str) -> None:
    tokenizer = make(LEVELS[kind])
    images = pictures()
    ids = tokenizer.encode(images)
    assert ids.shape == (2, LEVELS[kind].count, 6, 6)
    assert ids.dtype == torch.int64
    assert torch.equal(tokenizer.decode(ids)[..., :22, :24], tokenizer.reconstruct(images))
    assert torch.equal(tokenizer.decode(tokenizer.latents(images)), tokenizer.decode(ids))


@pytest.mark.parametrize("kind", LEVELS)
def test_the_first_levels_decode_alone(kind: str) -> None:
    tokenizer = make(LEVELS[kind])
    ids = tokenizer.encode(pictures())
    for count in range(1, LEVELS[kind].count + 1):
        alone = sum(tokenizer.quantizer.embed_level(ids[:, level], level) for level in range(count))
        expected = tokenizer.decode_latents(alone)
        torch.testing.assert_close(tokenizer.decode(ids[:, :count]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", LEVELS)
def test_a_bundle_restores_levels_and_weights(tmp_path, kind: str) -> None:
    tokenizer = make(LEVELS[kind])
    tokenizer.save_pretrained(tmp_path / "b", half=False)
    loaded = Tokenizer.from_pretrained(tmp_path / "b")
    assert loaded.config == tokenizer.config
    assert torch.equal(loaded.encode(pictures()), tokenizer.encode(pictures()))
    assert loaded.fingerprint == tokenizer.fingerprint
    # Weights of other levels do not fit: none is left out or made up.
    config = config_of(tmp_path / "b")
    config["tokenizer"]["levels"] |= {"residual": 4, "shared": False}
    write_config(tmp_path / "b", config)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        Tokenizer.from_pretrained(tmp_path / "b")
    config["tokenizer"]["levels"]["depth"] = 3
    write_config(tmp_path / "b", config)
    with pytest.raises(CheckpointError, match="unknown setting depth"):
        Tokenizer.from_pretrained(tmp_path / "b")


def test_levels_of_pictures_of_four_channels(tmp_path) -> None:
    config = TokenizerConfig(NETWORK, VQ, channels=4, perceptual_channels=(4, 2, 1), levels=BOTH)
    assert TokenizerConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    torch.manual_seed(0)
    tokenizer = Tokenizer(config).eval()
    images = torch.rand(2, 4, 16, 24) * 2 - 1
    ids = tokenizer.encode(images)
    assert ids.shape == (2, 4, 4, 6) and tokenizer.decode(ids).shape == images.shape
    view = LevelView(tokenizer, 2)
    assert torch.equal(view.encode(images), ids[:, 2])
    assert (view.channels, view.projection) == (4, (3, 1, 0))
    assert torch.equal(view.visible(images), images[:, [3, 1, 0]])
    figures = evaluate_tokenizer(tokenizer, images)
    assert figures["levels"] == 4 and figures["channels"] == 4


def test_one_level_is_described_as_before() -> None:
    """A config without levels is that of older bundles, and its fingerprint, too."""
    one = make(LevelsConfig())
    assert set(one.config.to_dict()) == {"network", "quantizer"}
    assert TokenizerConfig.from_dict(json.loads(json.dumps(one.config.to_dict()))) == one.config
    assert one.levels == 1
    assert one.encode(pictures()).shape == (2, 6, 6)


def test_levels_are_part_of_the_fingerprint() -> None:
    """Two beams have the same weights and other ids."""
    greedy = make(LevelsConfig(residual=2))
    wide = make(LevelsConfig(residual=2, beam=4))
    wide.load_state_dict(greedy.state_dict())
    assert greedy.fingerprint != wide.fingerprint


def test_usage_of_levels_is_that_of_each_level() -> None:
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 5, (4, 2, 3, 3), generator=draw)
    ids[:, 1].clamp_(max=1)
    counts = count_ids(ids, 6, 2)
    assert counts.shape == (2, 6)
    for level in range(2):
        assert (
            counts[level].tolist() == torch.bincount(ids[:, level].flatten(), minlength=6).tolist()
        )
    first, second, both = usage_of(counts[0]), usage_of(counts[1]), usage_of_levels(counts)
    assert (both.used, both.total, both.dead) == (7, 12, 5)
    assert both.tokens == ids.numel()
    assert both.perplexity == pytest.approx(math.sqrt(first.perplexity * second.perplexity))
    assert usage_of_levels(counts[0]) == first
    assert usage_of_levels(torch.stack([counts[0], counts[0] * 0])).perplexity == first.perplexity
    assert usage_of_levels(counts * 0).perplexity == 0
    ids[0, 1] = -1  # a dropped level
    assert count_ids(ids, 6, 2)[1].sum() == 27


def test_a_window_counts_levels_and_is_restored() -> None:
    window, ids = UsageWindow(4, 2, levels=2), torch.tensor([[[[0, 1]], [[3, 3]]]])
    assert window.per_step().shape == (0, 2, 4)
    for _ in range(3):
        window.add(ids)
    assert window.counts().tolist() == [[2, 2, 0, 0], [0, 0, 0, 4]]
    again = UsageWindow(4, 2, levels=2)
    again.restore(window.per_step())
    assert torch.equal(again.counts(), window.counts())


@pytest.mark.parametrize("kind", ["residual", "both"])
def test_figures_count_the_bits_of_all_levels(kind: str) -> None:
    levels = LEVELS[kind].count
    tokenizer = make(LEVELS[kind])
    counts = torch.zeros(levels, 16, dtype=torch.int64)
    found = evaluate_tokenizer(tokenizer, pictures(), code_counts=counts)
    assert found["tokens"] == 2 * levels * 6 * 6
    assert found["levels"] == levels
    assert found["codebook_size"] == 16
    assert found["bits_per_token"] == 4
    assert found["bits_per_position"] == 4 * levels
    assert found["bits_per_pixel"] == pytest.approx(4 * levels * 36 / (22 * 24))
    assert found["bytes"] == 4 * levels * 36 / 8
    ids = tokenizer.encode(pictures())
    for level, row in enumerate(found["per_level"]):
        expected = usage_of(torch.bincount(ids[:, level].flatten(), minlength=16))
        assert row == {
            "codes_used": expected.used,
            "utilization": expected.utilization,
            "perplexity": expected.perplexity,
        }
        assert counts[level].sum() == 72
    assert found["codes_used"] == sum(row["codes_used"] for row in found["per_level"])


def test_the_card_states_levels_and_bits() -> None:
    tokenizer = make(BOTH)
    metrics = evaluate_tokenizer(tokenizer, pictures())
    metrics["data"] = {"name": "folder"}
    card = model_card("tiny", tokenizer.config, {}, metrics)
    assert "16 codes of 2 dimensions, 4 codes per 4x4 pixels" in card
    assert (
        "**Levels:** 2 residual levels in each of 2 groups of channels: 4 ids per position of 4.00 "
        "bits each, 16.00 bits per position" in card
    )
    assert f"{metrics['codes_used']} of 4 x 16 codes used over 288 tokens" in card
    last = metrics["per_level"][3]
    row = (
        f"| 4 | {last['codes_used']} of 16 | {last['utilization']:.1%} | {last['perplexity']:.1f} |"
    )
    assert row in card
    assert "ids = tokenizer.encode(images)  # int64 (1, 4, h, w)" in card
    one = make(LevelsConfig())
    card = model_card("tiny", one.config, {}, evaluate_tokenizer(one, pictures()) | {"data": {}})
    assert "Levels" not in card
    assert "| level |" not in card


def test_each_level_is_diagnosed_on_what_it_quantizes() -> None:
    tokenizer = make(BOTH)
    z = tokenizer.latents(pictures(8))
    ids = tokenizer.encode(pictures(8))
    with torch.no_grad():
        tokenizer.quantizer.quantizers[1].quantizers[1].codes[1:] = 50.0  # only code 0 is in reach
    found = diagnose_levels(tokenizer.quantizer, z)
    assert [each.latents for each in found] == [8 * 36] * 4
    assert [each.dim for each in found] == [2] * 4
    assert [each.used for each in found[:3]] == [len(ids[:, n].unique()) for n in range(3)]
    assert found[3].used == 1
    assert "The codebook has collapsed" in found[3].findings[0]


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda t, _: count_codes(t, pictures()), "a count of codes needs a single codebook"),
        (lambda t, _: plot_usage(t, pictures()), "a count of codes needs a single codebook"),
        (
            lambda t, _: count_classes(t, [], 3),
            "a count of classes by code needs a single codebook",
        ),
        (lambda t, _: build_atlas(t, pictures(), source="x"), "an atlas needs a single codebook"),
        (lambda t, _: gather_patches(t, pictures(), source="x"), "needs a single codebook"),
        (lambda t, _: next(mask_sweep(t, pictures()[0], [0.5])), "the mask sweep needs a single"),
        (lambda t, _: robustness(t, pictures(), neighbors=2), "this tokenizer has 4 levels"),
        (lambda t, _: t.log_posterior(pictures()), "no posterior over the combinations"),
        (lambda t, _: t.quantizer.codebook(), "a codebook for each of their 4 levels"),
        (lambda t, _: t.quantizer.initialize_codes(None), "cannot be set to centers of latents"),
        (lambda t, p: export_programs(t, p / "x", "onnx"), "an export to onnx needs a single"),
        (lambda t, _: t.decode(torch.zeros(1, 5, 2, 2).long()), r"n from 1 to 4 .*\(1, 5, 2, 2\)"),
        (lambda t, _: t.decode(torch.zeros(1, 2, 2).long()), r"n from 1 to 4 .*\(1, 2, 2\)"),
        (lambda t, _: t.decode(torch.full((1, 4, 2, 2), 16)), "from 0 to 15, got 16 to 16"),
    ],
)
def test_what_needs_one_codebook_refuses_in_a_sentence(tmp_path, work, words: str) -> None:
    with pytest.raises((ValueError, CheckpointError), match=words):
        work(make(BOTH, RegVQConfig(size=16)), tmp_path)


def test_one_level_refuses_an_axis_of_levels() -> None:
    with pytest.raises(ValueError, match=r"must be \(B, h, w\), got \(1, 1, 2, 2\)"):
        make(LevelsConfig()).decode(torch.zeros(1, 1, 2, 2).long())


def test_a_vqmodel_has_one_id_per_position() -> None:
    config = TokenizerConfig(VQGANConfig(), VQConfig(size=16), levels=LevelsConfig(residual=2))
    with pytest.raises(CheckpointError, match="a position has 2 ids"):
        vqmodel_config(config)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"residual": 0}, "levels.residual must be 1 or more, got 0"),
        ({"groups": -1}, "levels.groups must be 1 or more, got -1"),
        ({"residual": 2, "beam": 0}, "levels.beam must be 1 or more, got 0"),
        ({"residual": 2, "dropout": 1.5}, r"levels.dropout must be in \[0, 1\], got 1.5"),
        ({"groups": 2, "dropout": 0.5}, "belong to residual codes"),
        ({"beam": 2}, "belong to residual codes"),
    ],
)
def test_bad_settings_get_a_sentence(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LevelsConfig(**settings)


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match=r"levels\.groups must divide the 4 channels .* got 3"):
        TokenizerConfig(NETWORK, levels=LevelsConfig(groups=3))
