"""Bundles of tokenizers: saving, loading, listing, and errors that name the file."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from core import Tokenizer, TokenizerConfig
from core.bundles.bundle import Bundle, find_bundle, list_bundles
from core.bundles.storage import write_json
from core.checkpoints import load_tokenizer
from core.errors import CheckpointError
from core.networks.autoencoder import NetworkConfig
from core.quantizers import RegVQConfig, VQConfig
from tests.helpers.bundle_edits import config_of, unseal, write_config

SMALL = NetworkConfig(widths=(8, 16), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
QUANTIZERS = [
    RegVQConfig(size=16),
    RegVQConfig(size=16, posterior="head"),
    VQConfig(size=16, codebook="ema", restart_below=0.1),
]


def make(quantizer=QUANTIZERS[0]) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(TokenizerConfig(SMALL, quantizer)).eval()


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_round_trip(tmp_path, quantizer):
    tokenizer = make(quantizer)
    tokenizer.save_pretrained(tmp_path / "b", half=False)
    loaded = Tokenizer.from_pretrained(tmp_path / "b")
    assert loaded.config == tokenizer.config
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    image = torch.rand(1, 3, 20, 24) * 2 - 1
    assert torch.equal(loaded.encode(image), tokenizer.encode(image))
    assert torch.equal(loaded.reconstruct(image), tokenizer.reconstruct(image))


def test_half_precision_excludes_the_codebook(tmp_path):
    tokenizer = make()
    tokenizer.save_pretrained(tmp_path / "b")
    loaded = load_tokenizer(tmp_path / "b")
    assert torch.equal(loaded.quantizer.codes, tokenizer.quantizer.codes)
    weight = tokenizer.decoder.last_weight
    assert loaded.decoder.last_weight.dtype == torch.float32
    assert torch.equal(loaded.decoder.last_weight, weight.half().float())
    assert not torch.equal(loaded.decoder.last_weight, weight)


def test_parts_of_a_bundle(tmp_path):
    atlas = {"counts": np.arange(16), "source": np.array("sixteen pictures")}
    saved = make().save_pretrained(
        tmp_path / "b", card="# A card", metrics={"psnr": 20.5}, atlas=atlas, recipe={"name": "x"}
    )
    bundle = find_bundle(tmp_path / "b")
    assert bundle == saved
    assert bundle.card == "# A card"
    assert bundle.metrics == {"psnr": 20.5}
    assert bundle.config["recipe"] == {"name": "x"}
    assert np.array_equal(bundle.atlas["counts"], atlas["counts"])
    assert str(bundle.atlas["source"]) == "sixteen pictures"
    assert {file.name for file in bundle.path.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
        "metrics.json",
        "atlas.npz",
    }


def test_saving_again_replaces_the_whole_bundle(tmp_path):
    make().save_pretrained(tmp_path / "b", atlas={"counts": np.arange(16)})
    make(VQConfig(size=9)).save_pretrained(tmp_path / "b")
    assert load_tokenizer(tmp_path / "b").codebook_size == 9
    assert find_bundle(tmp_path / "b").atlas == {}
    assert [folder.name for folder in tmp_path.iterdir()] == ["b"]


def test_a_failed_save_leaves_the_old_bundle(tmp_path):
    make().save_pretrained(tmp_path / "b", card="old")
    with pytest.raises(TypeError):
        make().save_pretrained(tmp_path / "b", card="new", metrics={"psnr": object()})
    assert find_bundle(tmp_path / "b").card == "old"
    assert load_tokenizer(tmp_path / "b").codebook_size == 16


def test_list_and_run_folders(tmp_path):
    for name in ("b", "a", "run/bundle"):
        make().save_pretrained(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    bundles = list_bundles(tmp_path)
    assert [bundle.name for bundle in bundles] == ["a", "b", "run"]
    assert bundles[2] == Bundle("run", tmp_path / "run" / "bundle")
    assert list_bundles(tmp_path / "nowhere") == []


def test_folder_of_the_variable_is_listed(tmp_path, monkeypatch):
    make().save_pretrained(tmp_path / "mine")
    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(tmp_path))
    assert "mine" in [bundle.name for bundle in list_bundles()]


def edit(folder, **changes) -> None:
    config = config_of(folder)
    for name, value in changes.items():
        node, *path = config, *name.split("__")
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
    write_config(folder, config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "prior"}, "not a tokenizer"),
        ({"format": 99}, "format 99"),
        ({"tokenizer": None}, "does not describe"),
        ({"tokenizer__quantizer__name": "magic"}, "magic"),
        ({"tokenizer__quantizer__colour": "red"}, "colour"),
        ({"tokenizer__quantizer__mask_ratio": 7}, "mask_ratio"),
        ({"tokenizer__network__depth": 3}, "depth"),
        ({"tokenizer__quantizer__size": 17}, "does not fit"),
    ],
)
def test_a_config_that_does_not_fit(tmp_path, changes, words):
    make().save_pretrained(tmp_path / "b")
    edit(tmp_path / "b", **changes)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_tokenizer(tmp_path / "b")
    assert "b" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files(tmp_path, caplog):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_tokenizer(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        load_tokenizer(tmp_path / "empty")
    folder = make().save_pretrained(tmp_path / "b", atlas={"a": np.arange(3)}).path
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:1000])
    with pytest.raises(CheckpointError, match="fetch it again"):
        load_tokenizer(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_tokenizer(folder)
    whole = (folder / "atlas.npz").read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(b"a.npy") + 30] ^= 255  # the stored bytes follow the name
    for broken in (b"x", b"", whole[: len(whole) // 2], bytes(damaged)):
        (folder / "atlas.npz").write_bytes(broken)
        caplog.clear()
        assert find_bundle(folder).atlas == {}  # it can be computed again
        assert "The atlas of b is not used" in caplog.text and "atlas.npz" in caplog.text
    (folder / "config.json").write_text("[1, 2")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_tokenizer(folder)


def test_an_atlas_is_never_unpickled(tmp_path):
    folder = make().save_pretrained(tmp_path / "b").path
    np.savez(folder / "atlas.npz", counts=np.array([{"a": 1}], dtype=object))
    assert find_bundle(folder).atlas == {}
    unseal(folder)
    assert find_bundle(folder).atlas == {}


def test_json_holds_null_where_a_figure_is_not_finite(tmp_path):
    values = {"psnr": float("inf"), "rows": [{"fd": float("nan")}, (1.5, -float("inf"))], "n": 3}
    write_json(tmp_path / "figures.json", values)
    read = json.loads((tmp_path / "figures.json").read_text(), parse_constant=pytest.fail)
    assert read == {"psnr": None, "rows": [{"fd": None}, [1.5, None]], "n": 3}
    assert math.isinf(values["psnr"])  # the values themselves do not change
