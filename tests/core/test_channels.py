"""The channels of a tokenizer: its configuration, its network, and the three that are seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.channels import project, projection
from core.errors import CheckpointError
from core.networks.autoencoder import NetworkConfig
from core.networks.discriminator import Discriminator, DiscriminatorConfig
from core.networks.vqgan import VQGANConfig
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig

OURS = NetworkConfig(widths=(8, 8), latent_dim=4)
NETWORKS = {
    "ours": OURS,
    "last": NetworkConfig(widths=(8, 8), latent_dim=4, last_width=6),
    "vqgan": VQGANConfig(
        widths=(8, 8, 8), blocks=1, decoder_blocks=1, groups=4, latent_dim=4, attention_levels=()
    ),
}


def config_of(channels: int, network: Any = OURS, **more: Any) -> TokenizerConfig:
    return TokenizerConfig(network, VQConfig(size=16), channels=channels, **more)


def test_places_of_the_channels_that_are_seen() -> None:
    assert [projection(channels) for channels in (1, 2, 3, 4, 16)] == [
        (0, 0, 0), (0, 1, 1), (0, 1, 2), (0, 1, 2), (0, 1, 2),
    ]  # fmt: skip
    assert projection(4, (3, 2, 1)) == (2, 1, 0)
    assert projection(4, (4,)) == (3, 3, 3)
    images = torch.arange(2 * 4 * 6.0).view(2, 4, 2, 3)
    assert torch.equal(project(images, (2, 1, 0)), images[:, :3].flip(1))
    assert project(images[:, :3], (0, 1, 2)).data_ptr() == images.data_ptr()


@pytest.mark.parametrize("channels", [0, 17, -1, 2.5, True])
def test_channels_outside_1_to_16_are_refused(channels: Any) -> None:
    with pytest.raises(ValueError, match=r"tokenizer.channels must be a whole number from 1 to 16"):
        config_of(channels)


@pytest.mark.parametrize("seen", [(), (1, 2), (0, 1, 2), (1, 2, 5), (1, 2, 3, 4)])
def test_perceptual_channels_that_do_not_exist_are_refused(seen: tuple[int, ...]) -> None:
    words = "tokenizer.perceptual_channels must name one or three channels from 1 to 4"
    with pytest.raises(ValueError, match=words):
        config_of(4, perceptual_channels=seen)


def test_three_channels_are_described_as_before() -> None:
    assert set(config_of(3).to_dict()) == {"network", "quantizer"}
    described = config_of(3).to_dict()
    assert TokenizerConfig.from_dict(described) == config_of(3)
    with pytest.raises(CheckpointError, match=r"channels must be a whole number from 1 to 16"):
        TokenizerConfig.from_dict({**described, "channels": 17})


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("channels", [1, 2, 4, 16])
def test_a_bundle_keeps_its_channels(tmp_path: Path, network: str, channels: int) -> None:
    torch.manual_seed(0)
    config = config_of(channels, NETWORKS[network], perceptual_channels=(channels,))
    tokenizer = Tokenizer(config).eval()
    tokenizer.save_pretrained(tmp_path / "bundle", half=False)
    again = Tokenizer.from_pretrained(tmp_path / "bundle")
    assert again.config == config
    assert again.fingerprint == tokenizer.fingerprint
    images = torch.rand(2, channels, 13, 10) * 2 - 1
    ids = again.encode(images)
    assert torch.equal(ids, tokenizer.encode(images))
    assert again.decode(ids).shape == (2, channels, 4 * ids.shape[1], 4 * ids.shape[2])
    assert again.reconstruct(images).shape == images.shape
    assert torch.equal(again.visible(images), images[:, -1:].expand(-1, 3, -1, -1))
    with pytest.raises(ValueError, match=rf"images must be \(B, {channels}, H, W\), got"):
        again.encode(torch.zeros(2, channels + 1, 8, 8))


def test_fingerprints_of_three_channels_do_not_change() -> None:
    torch.manual_seed(0)
    usual = Tokenizer(config_of(3))
    torch.manual_seed(0)
    assert Tokenizer(config_of(3, perceptual_channels=(3, 2, 1))).fingerprint == usual.fingerprint


def test_a_discriminator_takes_any_channels() -> None:
    for channels in (1, 5):
        network = Discriminator(DiscriminatorConfig(width=8), channels)
        assert network(torch.zeros(2, channels, 32, 32)).shape[:2] == (2, 1)
