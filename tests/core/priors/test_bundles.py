"""Bundles of priors: saving, loading, and finding the tokenizer."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch

from core.bundles.bundle import Bundle, find_bundle, list_bundles
from core.checkpoints import fingerprint_of, load_prior, load_tokenizer, prior_tokenizer
from core.conditions import Condition, LabelConfig, SemanticConfig
from core.errors import CheckpointError
from core.networks.autoencoder import NetworkConfig
from core.priors import (
    AutoregressiveConfig,
    DiffusionConfig,
    LatentConfig,
    LayoutConfig,
    MaskedConfig,
)
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig
from tests.helpers.bundle_edits import config_of, write_config

SMALL = {"codebook_size": 8, "grid": (2, 3), "width": 16, "layers": 1, "heads": 2}
BOTH = (LabelConfig(classes=3), SemanticConfig(classes=4, width=8))
CONFIGS = [
    AutoregressiveConfig(**SMALL, conditions=BOTH),
    DiffusionConfig(**SMALL, conditions=BOTH, timesteps=5),
    MaskedConfig(**SMALL, conditions=BOTH),
    LatentConfig(latent_dim=4, grid=(2, 2), width=32, factors=(1, 2), blocks=1, conditions=BOTH),
    DiffusionConfig(
        **SMALL, conditions=BOTH, layout=LayoutConfig(width=16, layers=1, heads=2), timesteps=5
    ),
]


def tokenizer(seed: int = 0) -> Tokenizer:
    torch.manual_seed(seed)
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    return Tokenizer(TokenizerConfig(network, VQConfig(size=8, start="uniform"))).eval()


def prior_of(config=CONFIGS[2]):
    torch.manual_seed(1)
    prior = config.build().eval()
    if isinstance(config, LatentConfig):
        prior.measure(torch.randn(4, 4, 2, 2))
    return prior


def save(folder, config=CONFIGS[2], fingerprint="sha256:0", name="tokens", **more) -> Bundle:
    return prior_of(config).save_pretrained(
        folder, tokenizer={"name": name, "fingerprint": fingerprint}, **more
    )


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_round_trip(tmp_path, config):
    prior = prior_of(config)
    save(tmp_path / "p", config, half=False)
    loaded = load_prior(tmp_path / "p")
    assert loaded.config == config
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    condition = Condition(labels=torch.tensor([2]), segmentation=torch.tensor([[[0, 3], [1, 1]]]))
    drawn = [
        p.generate(condition, 2, generator=torch.Generator().manual_seed(0), guidance=2.0)
        for p in (prior, loaded)
    ]
    assert torch.equal(*drawn)


def test_parts_of_a_bundle(tmp_path):
    saved = save(
        tmp_path / "p",
        card="# A card",
        metrics={"bits_per_token": 3.5},
        recipe={"name": "x"},
        data={"name": "scenes", "classes": ["sky"], "palette": [[1, 2, 3]]},
        sampling={"guidance": 2.0},
    )
    bundle = find_bundle(tmp_path / "p")
    assert bundle == saved and bundle.kind == "prior"
    assert bundle.card == "# A card" and bundle.metrics == {"bits_per_token": 3.5}
    config = bundle.config
    assert config["format"] == 1 and config["recipe"] == {"name": "x"}
    assert config["prior"]["name"] == "masked" and config["prior"]["grid"] == [2, 3]
    assert [each["name"] for each in config["prior"]["conditions"]] == ["label", "semantic"]
    assert config["tokenizer"] == {"name": "tokens", "fingerprint": "sha256:0"}
    assert config["data"]["palette"] == [[1, 2, 3]] and config["sampling"] == {"guidance": 2.0}
    names = {file.name for file in bundle.path.iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", "metrics.json"}


def test_weights_are_stored_once_and_in_half_precision(tmp_path):
    from safetensors.torch import load_file

    prior = prior_of()
    weights = load_file(save(tmp_path / "p").path / "model.safetensors")
    numbers = sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point())
    assert numbers == sum(p.numel() for p in prior.parameters())
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.float16}


def test_bundles_are_listed_by_kind(tmp_path):
    save(tmp_path / "p")
    tokenizer().save_pretrained(tmp_path / "t")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("[1")
    names = {
        kind: [bundle.name for bundle in list_bundles(tmp_path, kind=kind)]
        for kind in ("prior", "tokenizer", None)
    }
    assert names == {"prior": ["p"], "tokenizer": ["t"], None: ["broken", "p", "t"]}
    with pytest.raises(CheckpointError, match="'prior', not a tokenizer"):
        load_tokenizer(tmp_path / "p")
    with pytest.raises(CheckpointError, match="'tokenizer', not a prior"):
        load_prior(tmp_path / "t")


def test_the_tokenizer_is_found_by_its_fingerprint(tmp_path):
    tokenizer(0).save_pretrained(tmp_path / "one")
    right = tokenizer(1).save_pretrained(tmp_path / "two")
    fingerprint = fingerprint_of(right)
    assert fingerprint == load_tokenizer(right).fingerprint
    assert fingerprint != fingerprint_of(find_bundle(tmp_path / "one"))
    # Beside the prior under any name, in a run folder, and inside the given roots.
    save(tmp_path / "p", fingerprint=fingerprint, name="renamed")
    assert prior_tokenizer(tmp_path / "p").path == right.path
    save(tmp_path / "run" / "bundle", fingerprint=fingerprint, name="two")
    assert prior_tokenizer(tmp_path / "run").path == right.path
    save(tmp_path / "far" / "p", fingerprint=fingerprint, name="two")
    assert prior_tokenizer(tmp_path / "far" / "p", tmp_path).path == right.path


def test_a_tokenizer_that_does_not_fit_is_named(tmp_path):
    tokenizer(0).save_pretrained(tmp_path / "tokens")
    fingerprint = fingerprint_of(tokenizer(1).save_pretrained(tmp_path / "gone"))
    shutil.rmtree(tmp_path / "gone")
    save(tmp_path / "p", fingerprint=fingerprint, name="tokens")
    with pytest.raises(CheckpointError, match=r"another tokenizer than .*tokens: the") as caught:
        prior_tokenizer(tmp_path / "p", tmp_path)
    assert "\n" not in str(caught.value)
    save(tmp_path / "q", fingerprint=fingerprint, name="elsewhere")
    with pytest.raises(CheckpointError, match="needs its tokenizer 'elsewhere'"):
        prior_tokenizer(tmp_path / "q", tmp_path)


def test_settings_at_their_defaults_do_not_change_the_fingerprint():
    """A setting that is added later has its default in old tokenizers."""
    one = tokenizer()
    other = tokenizer()
    other.config = replace(one.config, quantizer=replace(one.config.quantizer, decay=0.5))
    assert one.fingerprint == tokenizer().fingerprint
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 99}, "format 99"),
        ({"prior": None}, "does not describe a prior"),
        ({"prior": {"name": "magic", "conditions": []}}, "magic"),
        ({"prior": {"name": "masked", "conditions": [], "colour": "red"}}, "colour"),
        ({"prior": {"name": "masked", "conditions": [{"name": "smell"}]}}, "smell"),
        ({"prior": {"name": "masked", "conditions": [], "label_smoothing": 7}}, "label_smoothing"),
        ({"prior": {"name": "masked", "conditions": [], "width": 32}}, "does not fit"),
    ],
)
def test_a_config_that_does_not_fit(tmp_path, change, words):
    folder = save(tmp_path / "p").path
    write_config(folder, config_of(folder) | change)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_prior(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_prior_that_names_no_tokenizer(tmp_path):
    folder = save(tmp_path / "p").path
    config = config_of(folder)
    del config["tokenizer"]
    write_config(folder, config)
    with pytest.raises(CheckpointError, match="does not say which tokenizer"):
        prior_tokenizer(folder)
