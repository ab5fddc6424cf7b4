"""Rates, groups of parameters and precision, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from core.losses.adversarial import discriminator_loss
from core.networks.discriminator import Discriminator, DiscriminatorConfig
from core.quantizers import Quantized
from train.config.base import AdamWConfig
from train.config.tokenizer import LossConfig
from train.loop.objective import Objective, discriminator_objective
from train.loop.optim import adamw, averaged, lr_scale, set_lr, use_bf16


class Two(nn.Module):
    """A matrix, its bias, codes, and a frozen matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.codes = nn.Parameter(torch.zeros(5, 3))
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)


@pytest.mark.parametrize(("codes", "rate"), [("", 1.0), ("codes", 1.0), ("codes", 10.0)])
def test_groups_of_parameters(codes: str, rate: float) -> None:
    module = Two()
    config = AdamWConfig(lr=3e-3, betas=(0.7, 0.8), weight_decay=0.4)
    optimizer = adamw(module, config, codes, rate)
    found = {
        id(parameter): (group["weight_decay"], group["times"], group["lr"], group["betas"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    rest = (3e-3, (0.7, 0.8))
    assert found == {
        id(module.layer.weight): (0.4, 1.0, *rest),
        id(module.layer.bias): (0.0, 1.0, *rest),
        id(module.codes): (0.0, rate, *rest) if codes else (0.4, 1.0, *rest),
    }
    set_lr(optimizer, 0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(module.layer.weight)] == rates[id(module.layer.bias)] == 0.5
    assert rates[id(module.codes)] == 0.5 * rate


def test_a_group_without_a_factor_has_the_rate_itself() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    set_lr(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize(
    ("steps", "warmup", "rising"), [(100, 0.1, 10), (100, 0.0, 1), (7, 0.3, 2), (1, 0.0, 1)]
)
def test_rates_rise_linearly_and_fall_along_a_cosine(
    steps: int, warmup: float, rising: int
) -> None:
    for step in range(steps):
        if step < rising:
            wanted = (step + 1) / rising
        else:
            wanted = 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
        assert lr_scale(step, steps, warmup) == pytest.approx(wanted)
        constant = (step + 1) / rising if step < rising else 1.0
        assert lr_scale(step, steps, warmup, "constant") == pytest.approx(constant)
    assert lr_scale(steps, steps, warmup) == pytest.approx(0 if steps > rising else 1)


@pytest.mark.parametrize("has_gpu", [False, True])
@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("cpu", [False, True, None])
def test_precision(
    has_gpu: bool, gpu: bool, cpu: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: gpu)
    if cpu is None:
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu, raising=False)
    assert use_bf16("bf16") and not use_bf16("fp32")
    assert use_bf16("auto") is (gpu if has_gpu else bool(cpu))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_discriminator_tells_real_from_reconstructed(count: int) -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(DiscriminatorConfig(width=8, layers=1))
    images, decoded = torch.randn(2, count, 3, 16, 16)
    decoded.requires_grad_()
    found = discriminator_objective(discriminator, images, decoded)
    wanted = discriminator_loss(discriminator(images), discriminator(decoded))
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert float(found.detach()) != pytest.approx(
        float(discriminator_loss(discriminator(decoded), discriminator(images)).detach()), rel=1e-5
    )
    found.backward()
    assert decoded.grad is None  # only the discriminator learns from it


def test_losses_that_are_logged_hold_no_graph() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 3, 1)
    images = torch.rand(2, 3, 8, 8)
    decoded = layer(images)
    quantized = Quantized(torch.empty(0), torch.zeros(2, 2, 2, dtype=torch.int64), {})
    discriminator = Discriminator(DiscriminatorConfig(width=8, layers=1))
    config = LossConfig(l1=0.5, l2=0.25, perceptual=0.0, adversarial=0.8)
    found = Objective(config, None)(images, decoded, quantized, layer.weight, discriminator, 1.0)
    assert set(found.losses) == {"l1", "l2", "adversarial", "adversarial_weight"}
    assert not any(loss.requires_grad for loss in found.losses.values())
    assert not found.gradient.requires_grad and layer.weight.grad is None
    gap = (decoded - images).detach()
    assert float(found.losses["l1"]) == pytest.approx(0.5 * float(gap.abs().mean()))
    assert float(found.losses["l2"]) == pytest.approx(0.25 * float(gap.square().mean()))


def test_the_running_average_has_the_buffers_of_the_network() -> None:
    network = nn.BatchNorm1d(2)
    average = averaged(network, 0.5)
    network(torch.randn(4, 2) + 3)
    average.update_parameters(network)
    assert torch.equal(average.module.running_mean, network.running_mean)
    assert average.module.running_mean.min() > 0
