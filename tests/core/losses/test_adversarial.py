"""The adversarial loss: hinge, adaptive weight, ramp, and the objective that combines them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from core.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss, ramp
from core.networks.discriminator import Discriminator, DiscriminatorConfig
from core.quantizers import Quantized
from train.config.tokenizer import LossConfig
from train.loop.objective import Objective


def test_hinge_losses_by_hand():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    # 1/2 (mean(max(0, 1-real)) + mean(max(0, 1+fake)))
    assert float(discriminator_loss(real, fake)) == pytest.approx(0.5 * (2.5 / 3 + 3.0 / 3))
    assert float(generator_loss(fake)) == pytest.approx(2 / 3)


def test_adaptive_weight_is_the_ratio_of_gradient_norms():
    a, b = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])
    assert float(adaptive_weight(a, b)) == pytest.approx(5 / 2.0001)
    assert float(adaptive_weight(a, torch.zeros(2))) == 1e4  # clamped
    a, b = a.requires_grad_(), b.requires_grad_()
    assert not adaptive_weight(a, b).requires_grad
    assert not adaptive_weight(a, b.detach()).requires_grad


def test_ramp():
    assert [ramp(p, 0.5, 0.2) for p in (0.4, 0.5, 0.6, 0.7, 1.0)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )
    assert ramp(0.5, 0.5, 0.0) == 1.0


def test_a_logit_of_the_discriminator_sees_one_patch():
    discriminator = Discriminator(DiscriminatorConfig(width=8, layers=2))
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    logits = discriminator(images)
    assert logits.shape[:2] == (2, 1)
    assert logits.shape[2] > 4
    # Without GroupNorm, which sees the whole picture, a logit sees 34 x 34 pixels: four kernels of
    # 4, the first two with stride 2: ((1 + 3 + 3) * 2 + 2) * 2 + 2.
    discriminator.layers = nn.Sequential(
        *(layer for layer in discriminator.layers if not isinstance(layer, nn.GroupNorm))
    )
    images.requires_grad_()
    discriminator(images)[0, 0, 7, 7].backward()
    seen = images.grad.abs().sum((0, 1)) > 0
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == int(columns[-1] - columns[0]) + 1 == 34


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.inner(x)))


def test_objective_equals_the_usual_two_pass_computation():
    """One backward pass per network gives the gradients of the textbook formulation."""
    torch.manual_seed(0)
    net, discriminator = Net(), Discriminator(DiscriminatorConfig(width=8, layers=1))
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    config = LossConfig(l1=1.0, l2=0.5, perceptual=0.0, adversarial=0.8)
    quantized = Quantized(torch.empty(0), torch.zeros(2, 4, 4, dtype=torch.int64), {})

    decoded = net(images)
    result = Objective(config, None)(
        images, decoded, quantized, net.last.weight, discriminator, 0.5
    )
    (decoded * result.gradient).sum().backward()
    mine = [p.grad.clone() for p in net.parameters()]
    assert all(p.grad is None for p in discriminator.parameters())  # it has its own loss

    net.zero_grad()
    decoded = net(images)
    reconstruction = (decoded - images).abs().mean() + 0.5 * (decoded - images).square().mean()
    adversarial = -discriminator(decoded).mean()
    weight = adaptive_weight(
        *(
            torch.autograd.grad(loss, net.last.weight, retain_graph=True)[0]
            for loss in (reconstruction, adversarial)
        )
    )
    (reconstruction + 0.8 * 0.5 * weight * adversarial).backward()
    for a, p in zip(mine, net.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad, rtol=1e-4, atol=1e-7)
    scaled = float(result.losses["adversarial_weight"])
    assert scaled == pytest.approx(0.4 * float(weight), rel=1e-4)


def test_a_discriminator_of_scale_zero_changes_nothing():
    net, discriminator = Net(), Discriminator(DiscriminatorConfig(width=8, layers=1))
    images = torch.rand(1, 3, 16, 16)
    quantized = Quantized(torch.empty(0), torch.zeros(1, 2, 2, dtype=torch.int64), {})
    objective = Objective(LossConfig(perceptual=0.0, adversarial=0.8), None)
    decoded = net(images)
    with_discriminator = objective(images, decoded, quantized, net.last.weight, discriminator, 0.0)
    without = objective(images, decoded, quantized, net.last.weight)
    assert torch.equal(with_discriminator.gradient, without.gradient)
    assert set(without.losses) == {"l1"}
