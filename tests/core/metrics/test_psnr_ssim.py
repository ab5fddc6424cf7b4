"""PSNR and SSIM compared with scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from core.metrics.psnr_ssim import mean_psnr, psnr, ssim


def pair(height: int, width: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth picture and a noisy copy, float64 (H, W, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (5 + c) + columns / (9 - c)) for c in range(3)]
    a = 0.5 + 0.4 * np.stack(waves, axis=-1)
    return a, np.clip(a + noise * rng.standard_normal(a.shape), 0, 1)


def to_images(*pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) * 2 - 1


@pytest.mark.parametrize("height, width", [(40, 56), (11, 11), (11, 30)])
def test_figures_equal_those_of_scikit_image(height: int, width: int) -> None:
    pairs = [pair(height, width, noise, seed) for seed, noise in enumerate((0.02, 0.1, 0.4))]
    a, b = (to_images(*side) for side in zip(*pairs, strict=True))
    for (x, y), db, similarity in zip(pairs, psnr(a, b), ssim(a, b), strict=True):
        assert float(db) == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1), abs=1e-9)
        expected = structural_similarity(
            x,
            y,
            data_range=1,
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert float(similarity) == pytest.approx(expected, abs=1e-9)


def test_float32_images_lose_little_precision() -> None:
    x, y = pair(32, 32, 0.1)
    a, b = to_images(x).float(), to_images(y).float()
    assert float(psnr(a, b)) == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1), abs=1e-5)


def test_psnr_is_per_picture_not_of_the_mean_error_of_the_batch() -> None:
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack([a[0] + 0.2, a[1] + 0.02])  # on [0, 1]: 0.1 and 0.01 off
    assert psnr(a, b).tolist() == pytest.approx([20.0, 40.0], abs=1e-5)


def test_the_same_picture_has_infinite_psnr_and_ssim_1() -> None:
    a = to_images(pair(16, 20, 0.1)[1])
    assert psnr(a, a).tolist() == [float("inf")]
    assert ssim(a, a).tolist() == pytest.approx([1.0], abs=1e-12)


def test_black_against_white_is_the_worst() -> None:
    black, white = -torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    assert psnr(black, white).tolist() == pytest.approx([0.0], abs=1e-12)
    # No variance anywhere: only the luminance term (2ab + C1) / (a² + b² + C1) is left.
    assert ssim(black, white).tolist() == pytest.approx([1e-4 / (1 + 1e-4)], abs=1e-9)


def test_ssim_pads_pictures_smaller_than_the_window() -> None:
    x, y = pair(4, 7, 0.2)
    grown = [np.pad(p, ((3, 4), (2, 2), (0, 0)), mode="edge") for p in (x, y)]
    whole = ssim(to_images(grown[0]), to_images(grown[1]))
    assert torch.allclose(ssim(to_images(x), to_images(y)), whole, atol=1e-12)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_shapes_that_differ_are_refused(measure) -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\).*\(1, 3, 8, 9\)"):
        measure(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9))


def test_exact_copies_are_left_out_of_a_mean() -> None:
    assert mean_psnr([20.0, float("inf"), 30.0]) == 25.0
    assert mean_psnr([float("inf")] * 3) == float("inf")
    assert mean_psnr([20.0, 40.0]) == 30.0


@pytest.mark.parametrize(("height", "width"), [(4, 30), (30, 4), (10, 11), (11, 10)])
def test_ssim_pads_the_short_side_alone(height: int, width: int) -> None:
    x, y = pair(height, width, 0.2)
    pad = [(max(11 - side, 0) // 2, -(-max(11 - side, 0) // 2)) for side in (height, width)]
    grown = [np.pad(p, (*pad, (0, 0)), mode="edge") for p in (x, y)]
    whole = ssim(to_images(grown[0]), to_images(grown[1]))
    assert torch.allclose(ssim(to_images(x), to_images(y)), whole, atol=1e-12)
    assert torch.equal(ssim(to_images(x), to_images(y)), ssim(to_images(y), to_images(x)))
