"""Quantizers of vector-quantize-pytorch, used as references."""

from __future__ import annotations

import pytest
import torch

from train.equal_budget.external import ExternalSimVQConfig, ExternalVQConfig


@pytest.mark.parametrize("config", [ExternalVQConfig(size=12), ExternalSimVQConfig(size=12)])
def test_external_quantizers_behave_like_quantizers(config):
    quantizer = config.build(6)
    z = torch.randn(3, 6, 4, 5, requires_grad=True)
    before = quantizer.codebook().detach().clone()
    out = quantizer(z)
    (out.z.square().sum() + sum(out.losses.values())).backward()
    assert z.grad.abs().sum() > 0
    assert out.ids.shape == (3, 4, 5) and out.z.shape == z.shape
    if isinstance(config, ExternalVQConfig):  # its moving averages are updated in forward
        assert not torch.equal(quantizer.codebook(), before)
    else:
        assert quantizer.module.code_transform.weight.grad.abs().sum() > 0
    quantizer.eval()
    with torch.no_grad():
        out = quantizer(z)
        assert torch.equal(out.z, quantizer.embed(quantizer.assign(z)))
        theirs, ids, _ = quantizer.module(z.flatten(2).transpose(1, 2))
    assert torch.equal(out.ids.flatten(1), ids)
    torch.testing.assert_close(out.z.flatten(2).transpose(1, 2), theirs, rtol=1e-5, atol=1e-6)
