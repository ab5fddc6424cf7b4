"""LPIPS as the perceptual loss, and second features on a share of each batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import alexnet, squeezenet1_1, vgg16

from core.bundles.bundle import find_bundle
from core.errors import CheckpointError, FeatureError
from core.metrics.lpips import load_lpips
from core.networks.features import load_features
from core.quantizers import Quantized
from tests.train.loop.test_tokenizer import config, pictures
from train.config.tokenizer import FeatureConfig, LossConfig
from train.loop.objective import Objective
from train.loop.tokenizer import TokenizerTrainer

__all__ = ["pictures"]  # the fixture


def weights_of(network, file):
    """Save random weights of a torchvision network's features; return the file."""
    torch.manual_seed(0)
    layers = network(weights=None).features.state_dict()
    save_file({f"features.{key}": x for key, x in layers.items()}, file)
    return file


def test_second_features_add_their_distance_on_a_share_of_the_batch(tmp_path):
    """Value and gradient: on the first pictures only, with LPIPS's heads."""
    files = {
        name: weights_of(network, tmp_path / f"{name}.safetensors")
        for name, network in (("alexnet", alexnet), ("vgg16", vgg16))
    }
    features, second = (load_features(name, file) for name, file in files.items())
    loss = LossConfig(
        lpips=True, perceptual=0.5, second_perceptual=2.0, second_share=0.5, adversarial=0.0
    )
    draw = torch.Generator().manual_seed(1)
    images, decoded = torch.rand(2, 4, 3, 32, 32, generator=draw) * 2 - 1
    quantized = Quantized(torch.zeros(1), torch.zeros(4, 4, 4, dtype=torch.int64), {})
    last = torch.zeros(1)
    found = Objective(loss, features, second)(images, decoded, quantized, last)
    alone = replace(loss, second_perceptual=0.0)
    without = Objective(alone, features)(images, decoded, quantized, last)
    wanted = 2.0 * load_lpips("vgg", files["vgg16"])(images[:2], decoded[:2]).mean()
    torch.testing.assert_close(found.losses["second_perceptual"], wanted, rtol=1e-3, atol=1e-6)
    wanted = 0.5 * load_lpips("alex", files["alexnet"])(images, decoded).mean()
    torch.testing.assert_close(found.losses["perceptual"], wanted, rtol=1e-3, atol=1e-6)
    changed = (found.gradient - without.gradient).abs().amax(dim=(1, 2, 3))
    assert (changed[:2] > 0).all() and (changed[2:] == 0).all()


def test_every_third_step_has_the_perceptual_distances_three_times(tmp_path):
    """Over three steps the gradient is that of a distance on each; steps between compute none."""
    file = weights_of(squeezenet1_1, tmp_path / "squeeze.safetensors")
    features = load_features("squeezenet", file)
    draw = torch.Generator().manual_seed(1)
    images, decoded = torch.rand(2, 2, 3, 32, 32, generator=draw) * 2 - 1
    quantized = Quantized(torch.zeros(1), torch.zeros(2, 4, 4, dtype=torch.int64), {})
    loss = LossConfig(perceptual=0.5, second_perceptual=0.25, adversarial=0.0)
    seen: list[int] = []
    features.register_forward_hook(lambda *_: seen.append(1))

    def steps(settings: LossConfig) -> list:
        objective = Objective(settings, features, features)
        last = torch.zeros(1)
        return [objective(images, decoded, quantized, last, step=step) for step in range(3)]

    each, third = steps(loss), steps(replace(loss, perceptual_every=3))
    assert len(seen) == 3 * 4 + 4  # real and reconstructed, of both distances
    assert [set(found.losses) for found in third[:2]] == [{"l1"}] * 2
    for name in ("perceptual", "second_perceptual"):
        torch.testing.assert_close(third[2].losses[name], 3 * each[0].losses[name])
    torch.testing.assert_close(
        sum(found.gradient for found in third), sum(found.gradient for found in each)
    )


def test_steps_without_the_distances_are_trained_and_logged_steps_have_them(tmp_path, pictures):
    file = weights_of(squeezenet1_1, tmp_path / "squeeze.safetensors")
    run = config(
        pictures,
        loss=LossConfig(adversarial=0.0, perceptual_every=2),
        features=FeatureConfig("squeezenet", file),
        steps=4,
        log_every=2,
    )
    trainer = TokenizerTrainer(run, tmp_path / "run")
    terms = [set(trainer.step(batch, step)) for step, batch in enumerate(trainer._stream(0, 4))]
    assert ["perceptual" in names for names in terms] == [False, True, False, True]


def test_second_features_are_on_the_card_and_cannot_change(tmp_path, pictures):
    file = weights_of(squeezenet1_1, tmp_path / "squeeze.safetensors")
    loss = LossConfig(perceptual=0.0, adversarial=0.0, second_perceptual=1.0)
    run = config(pictures, loss=loss, second_features=FeatureConfig("squeezenet", file), steps=2)
    TokenizerTrainer(run, tmp_path / "run").train()
    assert "SqueezeNet 1.1 (weights file squeeze.safetensors)" in find_bundle(tmp_path / "run").card
    with pytest.raises(CheckpointError, match="second_features"):
        again = FeatureConfig("squeezenet", file.rename(tmp_path / "other.safetensors"))
        TokenizerTrainer(replace(run, steps=3, second_features=again), tmp_path / "run").train()
    for changes in (FeatureConfig(name="none"), FeatureConfig()):
        with pytest.raises(ValueError, match=r"second_features\.name"):
            replace(run, second_features=changes)


@pytest.mark.parametrize(("lpips", "label"), [(True, "AlexNet"), (False, "SqueezeNet 1.1")])
def test_features_are_chosen_for_the_loss(tmp_path, pictures, lpips, label):
    """auto: AlexNet if the loss is LPIPS; a file of the other network is refused."""
    network = alexnet if lpips else squeezenet1_1
    file = weights_of(network, tmp_path / "features.safetensors")
    loss = LossConfig(adversarial=0.0, lpips=lpips)
    run = config(pictures, loss=loss, features=FeatureConfig("auto", file))
    trainer = TokenizerTrainer(run, tmp_path / "run")
    assert trainer.features.label == f"{label} (weights file features.safetensors)"
    assert (trainer.objective.heads is not None) == lpips
    assert float(trainer.step(next(trainer._stream(0, 1)), 0)["perceptual"]) > 0
    with pytest.raises(FeatureError, match="lacks"):
        TokenizerTrainer(replace(run, loss=replace(loss, lpips=not lpips)), tmp_path / "other")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"second_share": 0.0}, "second_share must be above 0"),
        ({"second_share": 1.5}, "second_share must be above 0"),
        ({"second_perceptual": -1.0}, "second_perceptual"),
        ({"perceptual_every": 0}, "perceptual_every must be at least 1"),
    ],
)
def test_wrong_settings_of_the_second_loss_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        LossConfig(**settings)


def test_lpips_has_no_heads_for_vgg19(pictures):
    with pytest.raises(ValueError, match="no heads for vgg19"):
        loss = LossConfig(adversarial=0.0, lpips=True)
        config(pictures, loss=loss, features=FeatureConfig("vgg19"))
