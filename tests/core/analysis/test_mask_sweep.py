"""The stochastic mask on a picture: draws, masks, the curve over ratios."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from core.analysis.mask_sweep import (
    Draws,
    apply_mask,
    coarse_to_fine,
    draw_tokens,
    mask_point,
    mask_sweep,
)
from core.images import to_pixels
from core.networks.autoencoder import NetworkConfig
from core.quantizers import GumbelConfig, RegVQConfig, VQConfig
from core.quantizers.base import to_rows
from core.tokenizer import Tokenizer, TokenizerConfig

NETWORK = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer(TokenizerConfig(NETWORK, RegVQConfig(size=12))).eval()


@pytest.fixture
def image() -> Tensor:
    return torch.rand(3, 30, 45) * 2 - 1


def probabilities(tokenizer: Tokenizer, latents: Tensor, temperature: float) -> np.ndarray:
    """Return softmax(log p / T) in float64, (h * w, K)."""
    log_p = tokenizer.quantizer.log_posterior(to_rows(latents)).detach().double().numpy()
    scaled = log_p / temperature
    p = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_draws_follow_the_distribution(tokenizer: Tokenizer, temperature: float) -> None:
    latents = torch.randn(1, 4, 1, 1).mul(0.3).expand(1, 4, 120, 100).contiguous()
    draws = draw_tokens(tokenizer.quantizer, latents, temperature, seed=5)
    p = probabilities(tokenizer, latents[..., :1, :1], temperature)[0]
    seen = np.bincount(draws.drawn.ravel(), minlength=12) / draws.drawn.size
    # 12,000 draws: four standard deviations of a share, plus three draws for shares near 0
    room = 4 * np.sqrt(p * (1 - p) / 12_000) + 3 / 12_000
    np.testing.assert_array_less(np.abs(seen - p), room)
    assert (draws.best == p.argmax()).all()
    np.testing.assert_allclose(draws.best_p, p.max(), rtol=1e-4)
    np.testing.assert_allclose(draws.drawn_p, p[draws.drawn], rtol=1e-4)
    np.testing.assert_allclose(draws.entropy, -(p * np.log2(p)).sum(), rtol=1e-4, atol=1e-5)


def test_tiles_change_nothing(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    latents = torch.randn(1, 4, 13, 11)
    whole = draw_tokens(tokenizer.quantizer, latents, seed=1)
    monkeypatch.setattr(
        "core.quantizers.tiled.lookup.SOFT_TILE", 1
    )  # the minimum, 32 rows per tile
    for name, part in vars(draw_tokens(tokenizer.quantizer, latents, seed=1)).items():
        np.testing.assert_allclose(part, getattr(whole, name), rtol=1e-6)
    assert whole.best.shape == (13, 11)


def test_seeds_and_temperature_zero(tokenizer: Tokenizer) -> None:
    latents = torch.randn(1, 4, 20, 20)
    one, same, other = (draw_tokens(tokenizer.quantizer, latents, 2.0, s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.drawn, same.drawn)
    assert (one.drawn != other.drawn).any()
    cold = draw_tokens(tokenizer.quantizer, latents, 0.0)
    np.testing.assert_array_equal(cold.drawn, cold.best)
    assert cold.entropy.max() < 1e-3


def test_invalid_draws_are_refused(tokenizer: Tokenizer) -> None:
    latents = torch.randn(1, 4, 2, 2)
    plain = VQConfig(size=5).build(4)
    assert (
        not plain.is_stochastic
        and tokenizer.quantizer.is_stochastic
        and GumbelConfig(size=5).build(4).is_stochastic
    )
    with pytest.raises(ValueError, match="no token distribution"):
        draw_tokens(plain, latents)
    with pytest.raises(ValueError, match="temperature"):
        draw_tokens(tokenizer.quantizer, latents, float("nan"))
    with pytest.raises(ValueError, match="one picture"):
        draw_tokens(tokenizer.quantizer, latents.repeat(2, 1, 1, 1))
    for ratio in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="mask ratio"):
            apply_mask(draw_tokens(tokenizer.quantizer, latents), ratio)


def test_stochastic_quantizers_are_those_that_return_a_mask() -> None:
    from core.quantizers import QUANTIZERS

    for kind in QUANTIZERS.values():
        quantizer = kind().build(10).eval()
        with torch.no_grad():
            found = quantizer(torch.randn(1, 10, 2, 3), mask_ratio=0.5)
        assert quantizer.is_stochastic == (found.mask is not None), kind


def test_masks_equal_the_quantizers_and_are_nested(tokenizer: Tokenizer, image: Tensor) -> None:
    draws = draw_tokens(tokenizer.quantizer, tokenizer.latents(image[None]), seed=3)
    last = np.zeros_like(draws.best, dtype=bool)
    for ratio in (0.0, 0.13, 0.5, 1.0):
        masked = apply_mask(draws, ratio, seed=3)
        assert (last <= masked.mask).all()
        last = masked.mask
        if ratio:
            generator = torch.Generator().manual_seed(3)
            own = tokenizer.quantize(image[None], ratio, generator).mask[0].numpy()
            np.testing.assert_array_equal(masked.mask, own)
        np.testing.assert_array_equal(masked.ids[masked.mask], draws.drawn[masked.mask])
        np.testing.assert_array_equal(masked.ids[~masked.mask], draws.best[~masked.mask])
        np.testing.assert_array_equal(masked.changed, masked.ids != draws.best)
    assert last.all()


def test_points_measure_the_returned_picture(tokenizer: Tokenizer, image: Tensor) -> None:
    found = list(mask_sweep(tokenizer, image, [0.0, 0.5, 1.0], temperature=1.5, seed=2))
    draws = draw_tokens(tokenizer.quantizer, tokenizer.latents(image[None]), 1.5, 2)
    original = (image.numpy().astype(np.float64) + 1) / 2
    for point, pixels in found:
        masked = apply_mask(draws, point.ratio, 2)
        own = tokenizer.decode(torch.from_numpy(masked.ids)[None])[..., :30, :45]
        np.testing.assert_array_equal(pixels, to_pixels(own)[0])
        mse = np.mean((pixels.transpose(2, 0, 1) / 255 - original) ** 2)
        assert point.psnr == pytest.approx(10 * math.log10(1 / mse), abs=1e-4)
        assert point.drawn == masked.mask.mean() and point.changed == masked.changed.mean()
    assert [point.drawn for point, _ in found] == [0, pytest.approx(0.5, abs=0.01), 1]
    exact = Draws(*[draws.best] * 5)
    assert mask_point(tokenizer, image, exact, 1.0)[0].changed == 0


@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_a_curve_is_computed_from_coarse_to_fine(steps: int) -> None:
    order = coarse_to_fine(steps)
    assert sorted(order) == pytest.approx([step / steps for step in range(steps + 1)])
    assert order[:2] == [0, 1]
    if steps == 20:
        assert order[2:5] == [0.5, 0.25, 0.75]
    with pytest.raises(ValueError, match="1 step"):
        coarse_to_fine(0)
