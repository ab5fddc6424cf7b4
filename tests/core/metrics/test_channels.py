"""PSNR, SSIM and the evaluation on pictures of 1, 4 and 16 channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from core.metrics.comparison import ReconstructionMetrics, as_shown
from core.metrics.protocol import protocol
from core.metrics.psnr_ssim import psnr, ssim
from core.metrics.reconstruction import evaluate_tokenizer
from core.metrics.robustness import robustness
from core.networks.autoencoder import NetworkConfig
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig


def images(channels: int, seed: int = 0) -> Tensor:
    """Smooth images (2, C, 24, 28), each channel another."""
    draw = torch.Generator().manual_seed(seed)
    small = torch.rand(2, channels, 6, 7, generator=draw) * 1.6 - 0.8
    return torch.nn.functional.interpolate(small, scale_factor=4, mode="bilinear")


@pytest.mark.parametrize("channels", [1, 4, 16])
def test_psnr_and_ssim_equal_those_of_scikit_image(channels: int) -> None:
    a = images(channels)
    b = (a + 0.1 * torch.randn(a.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    pairs = [
        tuple(((each.double() + 1) / 2).movedim(0, -1).numpy() for each in pair)
        for pair in zip(a, b, strict=True)
    ]
    decibels = [peak_signal_noise_ratio(x, y, data_range=1) for x, y in pairs]
    similarities = [
        structural_similarity(
            x, y, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )
        for x, y in pairs
    ]  # fmt: skip
    # scikit-image pads the borders and then leaves them out, as a window that fits does
    assert psnr(a, b).tolist() == pytest.approx(decibels, abs=1e-9)
    assert ssim(a, b).tolist() == pytest.approx(similarities, abs=1e-9)
    quality = ReconstructionMetrics()
    quality.update(a, {"noisy": b})
    assert quality.figures("noisy")["psnr"] == pytest.approx(np.mean(decibels), abs=1e-9)
    assert quality.figures("noisy")["ssim"] == pytest.approx(np.mean(similarities), abs=1e-9)


def test_one_wrong_channel_of_many_lowers_both() -> None:
    a = images(16)
    b = a.clone()
    b[:, 15] = -b[:, 15]
    error = ((a - b) / 2).double().square().mean(dim=(1, 2, 3))
    assert psnr(a, b).tolist() == pytest.approx((-10 * error.log10()).tolist())
    alone = ssim(a[:, 15:], b[:, 15:])
    assert ssim(a, b).tolist() == pytest.approx(((15 + alone) / 16).tolist())


def test_only_color_is_rounded_to_8_bits() -> None:
    x = torch.full((1, 3, 2, 2), 0.001)
    assert not torch.equal(as_shown(x), x)
    assert torch.equal(as_shown(x[:, :1]), x[:, :1])
    assert as_shown(torch.tensor([[[[2.0, float("nan")]]]])).flatten().tolist() == [1, -1]


class FirstSeen:
    """Features that keep the images that they are given."""

    name = label = "seen"

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def __call__(self, images: Tensor) -> list[Tensor]:
        self.images.append(images)
        return [images]


@pytest.mark.parametrize(
    ("channels", "named", "seen"),
    [(1, None, [1, 1, 1]), (2, None, [1, 2, 2]), (4, None, [1, 2, 3]), (4, (3, 2, 1), [3, 2, 1])],
)
def test_features_see_the_named_channels(
    channels: int, named: tuple[int, ...] | None, seen: list[int]
) -> None:
    torch.manual_seed(0)
    network = NetworkConfig(widths=(8, 8), latent_dim=4)
    config = TokenizerConfig(network, VQConfig(size=16), "signed", channels, named)
    tokenizer, features = Tokenizer(config).eval(), FirstSeen()
    given: list[tuple[Tensor, Tensor]] = []

    def lpips(a: Tensor, b: Tensor) -> Tensor:
        given.append((a, b))
        return torch.zeros(len(a))

    lpips.key, lpips.label = "lpips_alex", "a stand-in"  # type: ignore[attr-defined]
    pictures = images(channels)
    figures = evaluate_tokenizer(tokenizer, pictures, features=features, lpips=lpips, batch=2)  # type: ignore[arg-type]
    wanted = pictures[:, [number - 1 for number in seen]]
    assert torch.equal(features.images[0], wanted)
    assert torch.equal(given[0][0], wanted)
    assert (figures["channels"], figures["perceptual_channels"]) == (channels, seen)
    decoded = tokenizer.decode(tokenizer.encode(pictures))
    assert torch.equal(given[0][1], decoded[:, [number - 1 for number in seen]])
    assert figures["psnr"] == pytest.approx(float(psnr(pictures, decoded).mean()))
    said = protocol({"name": "folder", "split": "test"}, figures, 2)
    assert said["channels"].startswith(f"{channels}, ")
    assert "per channel, mean over all" in said["ssim"]
    assert said["reconstruction"].endswith("not rounded")
    assert robustness(tokenizer, pictures, features=features, neighbors=2)["images"] == 2
    assert features.images[-1].shape[1] == 3


def test_color_has_no_words_on_channels() -> None:
    torch.manual_seed(0)
    network = NetworkConfig(widths=(8, 8), latent_dim=4)
    tokenizer = Tokenizer(TokenizerConfig(network, VQConfig(size=16))).eval()
    figures = evaluate_tokenizer(tokenizer, images(3))
    assert "channels" not in figures
    said = protocol({"name": "folder", "split": "test"}, figures, 2)
    assert "channels" not in said
    assert said["reconstruction"].endswith("rounded to 8 bits")
