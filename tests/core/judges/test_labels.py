"""The classifier of pictures by class: its features, its fit, and what it refuses."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.judges import load_judge
from core.judges.labels import LabelClassifier, LabelsConfig
from core.judges.linear import describe, resized
from train.judges.linear import fit


class Maps:
    """Features of five maps, of which the first channels are the picture's colors."""

    name = "alexnet"

    def __call__(self, images: Tensor) -> list[Tensor]:
        return [images * (index + 1) for index in range(5)]


def pictures(labels: Tensor) -> Tensor:
    """Return noisy pictures in the color of their class."""
    draw = torch.Generator().manual_seed(0)
    colors = torch.tensor([[0.8, -0.8, -0.8], [-0.8, 0.8, -0.8], [-0.8, -0.8, 0.8]])
    noise = torch.randn(len(labels), 3, 16, 16, generator=draw) * 0.3
    return (colors[labels][:, :, None, None] + noise).clamp(-1, 1)


def test_features_are_means_of_the_deepest_maps_and_the_last_maxima() -> None:
    images = pictures(torch.tensor([0, 1]))
    mean = images.mean((2, 3))
    expected = torch.cat([3 * mean, 4 * mean, 5 * mean, 5 * images.amax((2, 3))], 1)
    torch.testing.assert_close(describe(Maps(), images), expected)


def test_a_fitted_classifier_tells_classes_and_is_read_back(tmp_path: Path) -> None:
    labels = torch.arange(90) % 3
    judge = LabelClassifier(LabelsConfig(("red", "green", "blue"), "alexnet", 12, 16))
    fit(judge, describe(Maps(), pictures(labels)), partial(F.cross_entropy, target=labels), 1e-3)
    other = torch.tensor([2, 0, 1, 1])
    assert torch.equal(judge.classify(Maps(), pictures(other)), other)
    larger = torch.nn.functional.interpolate(pictures(other), 40)
    assert torch.equal(judge.classify(Maps(), larger), other)
    judge.save_pretrained(tmp_path / "judge", data={"name": "x"}, metrics={}, card="")
    read = load_judge(tmp_path / "judge", LabelClassifier)
    assert read.config == judge.config
    assert torch.equal(read.classify(Maps(), pictures(other)), other)


def test_the_fit_is_the_minimum_of_its_loss() -> None:
    """Its gradient vanishes, and a larger penalty gives smaller weights."""
    labels = torch.arange(90) % 3
    described = describe(Maps(), pictures(labels))
    norms = []
    for penalty in (1e-2, 1e-1):
        judge = LabelClassifier(LabelsConfig(("a", "b", "c"), "alexnet", 12, 16))
        fit(judge, described, partial(F.cross_entropy, target=labels), penalty)
        loss = F.cross_entropy(judge(described), labels)
        loss = loss + penalty * judge.head.weight.square().sum()
        gradients = torch.autograd.grad(loss, list(judge.head.parameters()))
        assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-4
        norms.append(float(judge.head.weight.norm()))
    assert norms[1] < norms[0]


def test_pictures_of_the_size_are_left_as_they_are() -> None:
    images = pictures(torch.tensor([0]))
    assert resized(images, 16) is images and resized(images, 8).shape == (1, 3, 8, 8)


def test_other_features_and_a_single_class_are_refused() -> None:
    judge = LabelClassifier(LabelsConfig(("a", "b"), "vgg16", 12, 16))
    with pytest.raises(ValueError, match="trained on vgg16 features, not on alexnet"):
        judge.classify(Maps(), pictures(torch.tensor([0])))
    with pytest.raises(ValueError, match="two classes or more, got 1"):
        LabelsConfig(("a",))
