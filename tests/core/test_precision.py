"""Tokenizers whose weights were turned to another floating-point type."""

from __future__ import annotations

import pytest
import torch

from core.networks.autoencoder import NetworkConfig
from core.quantizers import (
    QUANTIZERS,
    DiVeQConfig,
    FSQConfig,
    NSVQConfig,
    RegVQConfig,
    VQConfig,
)
from core.tokenizer import Tokenizer, TokenizerConfig

EVERY = [kind() if issubclass(kind, FSQConfig) else kind(size=32) for kind in QUANTIZERS.values()]
EVERY.append(RegVQConfig(size=32, posterior="head"))


@pytest.mark.parametrize("quantizer", EVERY, ids=lambda config: type(config).__name__)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_a_converted_quantizer_computes_in_float32(quantizer, kind):
    torch.manual_seed(0)
    alone = quantizer.build(4).to(kind)
    rounded = quantizer.build(4)
    rounded.load_state_dict({k: v.float() if v.is_floating_point() else v
                             for k, v in alone.state_dict().items()})  # fmt: skip
    z = torch.randn(2, 4, 5, 5).to(kind)
    found, wanted = alone.eval()(z), rounded.eval()(z)
    assert torch.equal(found.ids, wanted.ids) and torch.equal(found.z, wanted.z)
    assert found.z.dtype == alone.codebook().dtype == torch.float32
    leaf = z.clone().requires_grad_()
    out = alone.train()(leaf)
    (out.z.square().mean() + sum(out.losses.values())).backward()
    assert leaf.grad.dtype == kind and leaf.grad.isfinite().all()
    alone.update(z, out.ids)


@pytest.mark.parametrize("config", [
    NSVQConfig(size=32, epoch=1, replacement_warmup=0), DiVeQConfig(size=32, replace_every=1)
])  # fmt: skip
def test_codes_are_replaced_in_the_type_of_the_quantizer(config):
    quantizer = config.build(4).bfloat16()
    z = torch.randn(1, 4, 2, 2).bfloat16()
    assert len(quantizer.update(z, quantizer.assign(z)))
    assert quantizer.codes.dtype == torch.bfloat16


@pytest.mark.parametrize("config", [
    VQConfig(size=32, codebook="ema"), VQConfig(size=32, restart_below=0.1)
])  # fmt: skip
def test_moving_averages_of_a_converted_quantizer_are_refused(config):
    quantizer = config.build(4).bfloat16()
    z = torch.randn(1, 4, 2, 2).bfloat16()
    ids = quantizer.train()(z).ids
    with pytest.raises(ValueError, match="need float32, but the quantizer is bfloat16: keep it in"):
        quantizer.update(z, ids)


@pytest.mark.parametrize("quantizer", EVERY, ids=lambda config: type(config).__name__)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_a_tokenizer_decodes_in_its_own_type(quantizer, kind):
    width = len(quantizer.levels) if isinstance(quantizer, FSQConfig) else 4
    network = NetworkConfig(
        widths=(8, 16), encoder_blocks=1, decoder_blocks=1, latent_dim=max(width, 4)
    )
    tokenizer = Tokenizer(TokenizerConfig(network, quantizer)).eval()
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    ids, codes = tokenizer.encode(images), tokenizer.quantizer.codebook()
    wanted = tokenizer.decode(ids)
    tokenizer = tokenizer.to(kind)
    found = tokenizer.decode(ids)
    assert found.dtype == torch.float32
    assert torch.equal(tokenizer.quantizer.codebook(), codes)  # it is not rounded
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.05)
    assert tokenizer.encode(images.to(kind)).shape == ids.shape
    assert tokenizer.reconstruct(images.to(kind)).shape == images.shape
