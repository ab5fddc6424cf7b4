"""Tokenizers whose weights were turned to another floating-point type."""

from __future__ import annotations

import pytest
import torch

from core.networks.autoencoder import NetworkConfig
from core.quantizers import QUANTIZERS, FSQConfig, RegVQConfig
from core.tokenizer import Tokenizer, TokenizerConfig

EVERY = [kind() if issubclass(kind, FSQConfig) else kind(size=32) for kind in QUANTIZERS.values()]
EVERY.append(RegVQConfig(size=32, posterior="head"))


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
