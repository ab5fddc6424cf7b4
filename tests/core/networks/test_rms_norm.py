"""RMSNorm with an explicit gradient: the result and the gradient of torch, in every type."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from core.networks.rms_norm import RMSNorm


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 5, 8)])
def test_result_and_gradients_equal_those_of_torch(shape):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=draw, dtype=torch.float64).float()
    x.view(-1, 8)[:1] *= 1e-4  # small enough for eps to matter
    upstream = torch.randn(shape, generator=draw)
    ours, theirs = RMSNorm(8), nn.RMSNorm(8, eps=1e-6).double()
    gain = torch.rand(8, generator=draw) + 0.5
    results = []
    for norm, leaf in ((ours, x), (theirs, x.double())):
        with torch.no_grad():
            norm.weight.copy_(gain)
        leaf = leaf.clone().requires_grad_()
        y = norm(leaf)
        y.backward(upstream.to(y))
        results.append([y.detach().float(), leaf.grad.float(), norm.weight.grad.float()])
    assert "_Normed" in type(ours(x.clone().requires_grad_()).grad_fn).__name__
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-5, atol=2e-5)


def test_keeps_bfloat16_and_its_gradient():
    x = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(1))
    norm = RMSNorm(8)
    exact = x.clone().requires_grad_()
    norm(exact).square().sum().backward()
    half = x.bfloat16().requires_grad_()
    y = norm(half)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    torch.testing.assert_close(half.grad.float(), exact.grad, rtol=0.05, atol=0.05)


def test_without_gradient_torchs_kernel_is_used():
    x = torch.randn(2, 8)
    norm = RMSNorm(8)
    with torch.no_grad():
        assert torch.equal(norm(x), nn.functional.rms_norm(x, (8,), norm.weight, 1e-6))
