"""The perceptual distance on features that are given, written out in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.losses.perceptual import feature_distance, layer_distance


def layers_of(images: Tensor) -> list[Tensor]:
    """Return two maps of different depth and size."""
    pooled = torch.nn.functional.avg_pool2d(images, 2)
    return [images, torch.cat([pooled, pooled.square()], 1)]


def by_hand(a: list[Tensor], b: list[Tensor], row: int) -> float:
    """Return the mean over layers of the mean over positions of |unit a - unit b|^2."""
    total = 0.0
    for x, y in zip(a, b, strict=True):
        x, y = x[row].double(), y[row].double()
        cells = 0.0
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                u, v = x[:, i, j] / x[:, i, j].norm(), y[:, i, j] / y[:, i, j].norm()
                cells += float(((u - v) ** 2).sum())
        total += cells / (x.shape[1] * x.shape[2])
    return total / len(a)


def test_distances_of_each_picture() -> None:
    a, b = torch.rand(3, 3, 4, 6) * 2 - 1, torch.rand(3, 3, 4, 6) * 2 - 1
    found = feature_distance(layers_of, a, b)
    assert found.shape == (3,) and not found.requires_grad
    for row in range(3):
        assert float(found[row]) == pytest.approx(
            by_hand(layers_of(a), layers_of(b), row), rel=1e-5
        )
    assert float(feature_distance(layers_of, a, a).max()) < 1e-10
    assert float(feature_distance(lambda x: [x], a, -a).min()) == pytest.approx(4, rel=1e-5)


def test_the_distance_is_differentiable_where_a_feature_is_silent() -> None:
    a = torch.zeros(1, 3, 2, 2, requires_grad=True)
    layer_distance([a], [torch.ones(1, 3, 2, 2)]).sum().backward()
    assert torch.isfinite(a.grad).all()


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(1, 3, 4, 4\) and \(1, 3, 4, 5\)"):
        feature_distance(layers_of, torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))


def test_features_of_nearly_nothing_count_half() -> None:
    """The constant beside the squared length is 1e-10: a feature of length 1e-5 has half of it."""
    tiny = torch.zeros(1, 3, 2, 2)
    tiny[:, 1] = 1e-5
    found = layer_distance([tiny], [torch.zeros(1, 3, 2, 2)])
    assert float(found) == pytest.approx(0.5, rel=1e-5)


def test_features_of_another_number_of_layers_are_refused() -> None:
    one = torch.ones(1, 3, 2, 2)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        layer_distance([one, one], [one])


def test_heads_of_another_number_of_layers_are_refused() -> None:
    one = torch.ones(1, 3, 2, 2)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        layer_distance([one, one], [one, one], [torch.ones(3)])
