"""diffusers' VQModel with a Tokenizer's interface: its own ids and pictures, import and export."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from core.bundles.bundle import Bundle
from core.errors import CheckpointError
from core.interop import export_vqmodel, import_vqmodel, open_tokenizer
from core.networks.autoencoder import NetworkConfig
from core.paths import ROOT
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig


@pytest.fixture(scope="module", params=["group", "spatial"])
def model(request: pytest.FixtureRequest) -> object:
    from diffusers import VQModel

    torch.manual_seed(0)
    return VQModel(
        block_out_channels=(32, 32) if request.param == "spatial" else (8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        num_vq_embeddings=32,
        norm_num_groups=4,
        norm_type=request.param,
    ).eval()


def test_import_export_and_import_again(model: object, tmp_path: Path) -> None:
    torch.manual_seed(1)
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    model.save_pretrained(tmp_path / "peer")
    peer = open_tokenizer(Bundle("peer", tmp_path / "peer"))
    assert peer.downsampling == 2 and peer.codebook_size == 32
    with torch.no_grad():
        expected = model(images).sample.clamp(-1, 1)  # by its own forward pass
        h = model.encode(images).latents
    codes = model.quantize.embedding.weight
    nearest = torch.cdist(h.permute(0, 2, 3, 1).reshape(-1, 4), codes).argmin(1)
    ids = peer.encode(images)
    assert ids.shape == (2, 8, 12) and ids.dtype == torch.int64 and ids.unique().numel() > 1
    assert torch.equal(ids.flatten(), nearest)
    assert torch.allclose(peer.decode(ids), expected, atol=1e-5)
    assert torch.equal(peer.reconstruct(images), peer.decode(ids))

    export_vqmodel(peer, tmp_path / "again")
    again = import_vqmodel(tmp_path / "again")
    assert torch.equal(again.encode(images), ids)
    assert torch.equal(again.decode(ids), peer.decode(ids))


def test_odd_sizes_and_wrong_ids(model: object, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    peer = import_vqmodel(tmp_path)
    assert peer.encode(torch.zeros(1, 3, 9, 11)).shape == (1, 5, 6)
    assert peer.reconstruct(torch.zeros(1, 3, 9, 11)).shape == (1, 3, 9, 11)
    for ids in (torch.full((1, 2, 2), 32), torch.full((1, 2, 2), -1), torch.zeros(2, 2).long()):
        with pytest.raises(ValueError, match="token ids must be"):
            peer.decode(ids)


def test_missing_and_broken_weights_are_named(model: object, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model.save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    whole = weights.read_bytes()
    save_file({name: x for name, x in state.items() if "quant_conv" not in name}, weights)
    with pytest.raises(CheckpointError, match="lacks weights"):
        import_vqmodel(tmp_path)
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be read as a VQModel"):
        import_vqmodel(tmp_path)
    weights.unlink()
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(CheckpointError, match="safetensors is missing"):
        import_vqmodel(tmp_path)


def test_our_own_tokenizer_cannot_be_exported(tmp_path: Path) -> None:
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    ours = Tokenizer(TokenizerConfig(network, VQConfig(size=8)))
    with pytest.raises(CheckpointError, match="no counterpart"):
        export_vqmodel(ours, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_diffusers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "VQModel"}))
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(CheckpointError, match="pip install diffusers"):
        open_tokenizer(Bundle("peer", tmp_path))


def test_the_range_of_a_models_pixels(tmp_path: Path) -> None:
    """aMUSEd's VQModels have pixels in [0, 1], which nothing but their shape tells."""
    from diffusers import VQModel

    torch.manual_seed(0)
    amused = VQModel(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, num_vq_embeddings=32,
        mid_block_add_attention=False,
    ).eval()  # fmt: skip
    amused.save_pretrained(tmp_path / "amused")
    images = torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        painted = amused((images + 1) / 2).sample.clamp(0, 1) * 2 - 1
    bundle = Bundle("amused", tmp_path / "amused")
    found = open_tokenizer(bundle)
    assert found.value_range == "unit"
    assert torch.allclose(found.reconstruct(images), painted, atol=1e-5)
    signed = open_tokenizer(bundle, value_range="signed")
    assert not torch.allclose(signed.reconstruct(images), painted, atol=1e-2)


def test_a_bundle_states_its_own_range(tmp_path: Path) -> None:
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    Tokenizer(TokenizerConfig(network, VQConfig(size=8), "unit")).save_pretrained(tmp_path / "own")
    bundle = Bundle("own", tmp_path / "own")
    assert open_tokenizer(bundle, value_range="unit").config.value_range == "unit"
    with pytest.raises(CheckpointError, match="states the value range unit"):
        open_tokenizer(bundle, value_range="signed")


def test_evaluate_measures_a_diffusers_model(
    model: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "train"))
    from train.evaluate import main

    model.save_pretrained(tmp_path / "peer")
    flags = ["evaluate.py", "--checkpoint", tmp_path / "peer", "--data.name", "scenes",
             "--data.size", 32, "--features.name", "none", "--limit", 2, "--device", "cpu",
             "--out", tmp_path / "report.json"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [str(flag) for flag in flags])
    main()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["codebook_size"] == 32 and report["tokens"] == 2 * 256
    assert report["checkpoint"] == "peer" and 0 < report["psnr"] < 40
    assert report["value_range"] == "signed"
    monkeypatch.setattr(sys, "argv", [*map(str, flags), "--range", "unit"])
    main()
    other = json.loads((tmp_path / "report.json").read_text())
    assert other["value_range"] == "unit" and other["psnr"] != report["psnr"]
    monkeypatch.setattr(sys, "argv", [*map(str, flags), "--publish"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2 and "--publish" in capsys.readouterr().err
