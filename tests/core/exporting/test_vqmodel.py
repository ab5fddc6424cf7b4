"""A tokenizer of ours as a VQModel of diffusers, and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.errors import CheckpointError
from core.exporting.vqmodel import export_to_diffusers
from core.importing import convert
from core.interop import import_vqmodel
from core.networks.autoencoder import NetworkConfig
from core.networks.vqgan import VQGANConfig
from core.quantizers import IBQConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig

SMALL = VQGANConfig(
    widths=(32, 32, 64), blocks=1, decoder_blocks=2, attention_levels=(1, 2), z_channels=24,
    latent_dim=16,
)  # fmt: skip


def tokenizer_of(network: VQGANConfig, **settings: object) -> Tokenizer:
    torch.manual_seed(0)
    config = TokenizerConfig(network, VQConfig(size=40), **settings)
    tokenizer = Tokenizer(config).eval().requires_grad_(False)
    z = tokenizer.latents(torch.rand(4, 3, 32, 32) * 2 - 1)
    codes = tokenizer.quantizer.codes
    codes.copy_(torch.randn_like(codes) * z.std((0, 2, 3)) + z.mean((0, 2, 3)))
    return tokenizer


@pytest.mark.parametrize(
    "network",
    [
        SMALL,
        replace(SMALL, middle_attention=False, attention_levels=(), groups=16),
        replace(SMALL, decoder_norm="spatial", z_channels=16),
    ],
)
def test_ours_to_diffusers_and_back(tmp_path: Path, network: VQGANConfig) -> None:
    from diffusers import VQModel

    tokenizer = tokenizer_of(network)
    export_to_diffusers(tokenizer, tmp_path / "model")
    model, loading = VQModel.from_pretrained(
        tmp_path / "model", output_loading_info=True, low_cpu_mem_usage=False
    )
    assert not any(loading.values())  # neither missing nor unexpected keys
    for batch, height, width in ((2, 20, 36), (1, 64, 32)):
        images = torch.rand(batch, 3, height, width) * 2 - 1
        ids = tokenizer.encode(images)
        with torch.no_grad():
            latents = model.encode(images).latents
            painted = model(images).sample.clamp(-1, 1)
            theirs = model.quantize(latents)[2][2].reshape(ids.shape)
        assert torch.equal(theirs, ids) and ids.unique().numel() > 5
        assert (painted - tokenizer.decode(ids)).abs().max() <= 1e-5
    back = convert(tmp_path / "model").tokenizer
    same = replace(tokenizer.config, value_range=back.config.value_range)
    assert back.config == same
    assert all(
        torch.equal(x, back.state_dict()[name]) for name, x in tokenizer.state_dict().items()
    )


def test_the_range_goes_along_by_the_family(tmp_path: Path) -> None:
    network = replace(SMALL, middle_attention=False)
    tokenizer = tokenizer_of(network, value_range="unit")
    export_to_diffusers(tokenizer, tmp_path / "model")
    assert convert(tmp_path / "model").tokenizer.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (TokenizerConfig(NetworkConfig(), VQConfig()), "folds pixels into channels"),
        (TokenizerConfig(SMALL, IBQConfig(size=8)), "codes are not the nearest"),
        (TokenizerConfig(SMALL, VQConfig(distance="cosine")), "codes are not the nearest"),
        (TokenizerConfig(replace(SMALL, decoder_norm="adaptive"), VQConfig()), "is adaptive"),
        (TokenizerConfig(replace(SMALL, decoder_blocks=1), VQConfig()), "one block per level more"),
        (
            TokenizerConfig(replace(SMALL, downsample="average"), VQConfig()),
            "downsample is average",
        ),
    ],
)
def test_what_a_vqmodel_cannot_express(tmp_path: Path, config: TokenizerConfig, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        export_to_diffusers(Tokenizer(config), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("x")
    with pytest.raises(CheckpointError, match="not empty"):
        export_to_diffusers(tokenizer_of(SMALL), tmp_path)


def test_channels_go_along(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = TokenizerConfig(SMALL, VQConfig(size=40), channels=4)
    tokenizer = Tokenizer(config).eval().requires_grad_(False)
    export_to_diffusers(tokenizer, tmp_path / "model")
    found = import_vqmodel(tmp_path / "model", value_range="signed")
    images = torch.rand(2, 4, 20, 36) * 2 - 1
    assert torch.equal(found.encode(images), tokenizer.encode(images))
    assert found.channels == 4
    assert torch.equal(found.visible(images), images[:, :3])
    with pytest.raises(ValueError, match=r"images must be \(B, 4, H, W\)"):
        found.encode(images[:, :3])
