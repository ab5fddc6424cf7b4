"""Feature and Fréchet distances compared with NumPy and SciPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from core.losses.perceptual import feature_distance, layer_distance
from core.metrics.frechet import FrechetStatistics


def two_layers(images: Tensor) -> list[Tensor]:
    """Return features without a network: signed, with one position without any activity."""
    fine = torch.cat([images, images.square() - 0.3], dim=1)
    fine[:, :, 0, 0] = 0
    return [fine, images.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))]


def expected_distance(x: list[np.ndarray], y: list[np.ndarray]) -> np.ndarray:
    """Return the distance from its definition, position by position."""
    layers = []
    for a, b in zip(x, y, strict=True):
        batch, _, height, width = a.shape
        values = np.zeros(batch)
        for n in range(batch):
            for r in range(height):
                for c in range(width):
                    u, v = a[n, :, r, c], b[n, :, r, c]
                    u = u / max(np.linalg.norm(u), 1e-12)
                    v = v / max(np.linalg.norm(v), 1e-12)
                    values[n] += np.sum((u - v) ** 2) / (height * width)
        layers.append(values)
    return np.mean(layers, axis=0)


def test_feature_distance_equals_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(3, 3, 6, 8, generator=generator) * 2 - 1 for _ in range(2))
    x, y = ([layer.double().numpy() for layer in two_layers(images)] for images in (a, b))
    measured = feature_distance(two_layers, a, b)
    assert measured.shape == (3,)
    np.testing.assert_allclose(measured.numpy(), expected_distance(x, y), rtol=1e-5)


def test_feature_distance_is_zero_for_equal_images_and_ignores_the_scale_of_features() -> None:
    a = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)) + 0.1
    assert feature_distance(two_layers, a, a).tolist() == [0, 0]
    b = a.flip(1)
    plain, scaled = ([scale * layer for layer in two_layers(a)] for scale in (1.0, 5.0))
    other = two_layers(b)
    assert layer_distance(plain, other).tolist() == pytest.approx(
        layer_distance(scaled, other).tolist(), rel=1e-5
    )
    assert (layer_distance(plain, other) > 0.01).all()


def test_layer_distance_has_a_finite_gradient_where_nothing_is_active() -> None:
    still = torch.zeros(1, 4, 2, 2, requires_grad=True)
    layer_distance([still], [torch.ones(1, 4, 2, 2)]).sum().backward()
    assert still.grad is not None and torch.isfinite(still.grad).all()
    assert still.grad.abs().sum() > 0


def test_feature_distance_refuses_shapes_that_differ() -> None:
    with pytest.raises(ValueError, match="one shape"):
        feature_distance(two_layers, torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 6))


def gathered(rows: np.ndarray, chunks: int = 3) -> FrechetStatistics:
    statistics = FrechetStatistics(rows.shape[1])
    for chunk in np.array_split(rows, chunks):
        statistics.update(torch.from_numpy(chunk))
    return statistics


def sets(count_a: int, count_b: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of correlated samples with different means and spreads."""
    rng = np.random.default_rng(dim)
    mix = rng.standard_normal((dim, dim)) / np.sqrt(dim)
    a = rng.standard_normal((count_a, dim)) @ mix + 3
    b = rng.standard_normal((count_b, dim)) @ (mix * 1.7).T + 3.5
    return a, b


def test_mean_and_covariance_do_not_depend_on_batches() -> None:
    rows, _ = sets(50, 2, 6)
    statistics = gathered(rows, chunks=7)
    assert statistics.count == 50
    np.testing.assert_allclose(statistics.mean().numpy(), rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        statistics.covariance().numpy(), np.cov(rows, rowvar=False), rtol=1e-10
    )


@pytest.mark.parametrize("dim", [1, 2, 24])
def test_frechet_distance_equals_scipys(dim: int) -> None:
    a, b = sets(200, 160, dim)
    c1, c2 = (np.cov(rows, rowvar=False).reshape(dim, dim) for rows in (a, b))
    apart = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    expected = apart + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2)))
    assert gathered(a).distance(gathered(b)) == pytest.approx(expected, rel=1e-9)
    assert gathered(b).distance(gathered(a)) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_with_fewer_samples_than_dimensions() -> None:
    # With C1 = X'X and C2 = Y'Y (X, Y centered, scaled), tr (C1 C2)^(1/2) is the sum of the
    # singular values of X Y': exact although both covariances are singular.
    a, b = sets(5, 7, 30)
    x, y = ((rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1) for rows in (a, b))
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    apart = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    expected = apart + np.square(x).sum() + np.square(y).sum() - 2 * root
    assert gathered(a).distance(gathered(b)) == pytest.approx(expected, rel=1e-6)
    assert gathered(b).distance(gathered(a)) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_to_itself_is_zero_and_a_shift_counts_squared() -> None:
    a, _ = sets(80, 2, 10)
    assert gathered(a).distance(gathered(a)) == pytest.approx(0, abs=1e-6)
    assert gathered(a).distance(gathered(a + 0.5)) == pytest.approx(10 * 0.25, abs=1e-6)


def test_sums_are_kept_in_float64() -> None:
    # In float32 a spread of 1 would be lost beside a mean of 1e4.
    rows = np.random.default_rng(0).standard_normal((4000, 2)) + 1e4
    covariance = gathered(rows, chunks=40).covariance().numpy()
    np.testing.assert_allclose(covariance, np.cov(rows, rowvar=False), atol=1e-6)


def test_statistics_refuse_invalid_features() -> None:
    statistics = FrechetStatistics(3)
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        statistics.update(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="not finite"):
        statistics.update(torch.tensor([[0.0, float("nan"), 0.0]]))
    statistics.update(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="2 samples"):
        statistics.distance(statistics)


def test_the_mean_of_one_sample_is_the_sample() -> None:
    statistics = FrechetStatistics(2)
    with pytest.raises(ValueError, match="no features"):
        statistics.mean()
    statistics.update(torch.tensor([[3.0, -1.0]]))
    assert statistics.mean().tolist() == [3, -1]
