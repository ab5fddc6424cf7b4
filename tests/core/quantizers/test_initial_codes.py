"""Codes that are set to centers of latents, as runs do that begin with them."""

from __future__ import annotations

import pytest
import torch

from core.quantizers import (
    DiVeQConfig,
    IBQConfig,
    NSVQConfig,
    RegVQConfig,
    ResidualConfig,
    SimVQConfig,
    VQConfig,
)

DIM, SIZE = 6, 20


def centers() -> torch.Tensor:
    """Return correlated centers with a mean of their own, (20, 6)."""
    torch.manual_seed(0)
    return torch.randn(SIZE, DIM) @ torch.randn(DIM, DIM) + torch.arange(DIM)


@pytest.mark.parametrize(
    "config",
    [
        VQConfig(size=SIZE),
        RegVQConfig(size=SIZE, posterior="distance"),
        NSVQConfig(size=SIZE),
        DiVeQConfig(size=SIZE),
        SimVQConfig(size=SIZE),
    ],
    ids=lambda config: type(config).__name__,
)
def test_the_codes_become_the_centers(config) -> None:
    quantizer = config.build(DIM)
    quantizer.initialize_codes(centers())
    torch.testing.assert_close(quantizer.codebook(), centers(), rtol=1e-4, atol=1e-4)


def test_the_frozen_codes_of_simvq_have_the_spread_of_its_gaussian() -> None:
    quantizer = SimVQConfig(size=SIZE).build(DIM)
    quantizer.initialize_codes(centers())
    frozen = quantizer.frozen
    torch.testing.assert_close(frozen.mean(0), torch.zeros(DIM), rtol=0, atol=1e-5)
    covariance = frozen.T.cov(correction=0)
    torch.testing.assert_close(covariance, torch.eye(DIM) / DIM, rtol=1e-3, atol=1e-4)


def test_an_axis_without_spread_keeps_its_value() -> None:
    flat = centers()
    flat[:, 2] = 5.0
    quantizer = SimVQConfig(size=SIZE).build(DIM)
    quantizer.initialize_codes(flat)
    assert quantizer.codebook().isfinite().all()
    torch.testing.assert_close(quantizer.codebook(), flat, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "config",
    [RegVQConfig(size=SIZE, posterior="head"), IBQConfig(size=SIZE), ResidualConfig(VQConfig())],
    ids=lambda config: type(config).__name__,
)
def test_other_codes_cannot_be_centers(config) -> None:
    with pytest.raises(ValueError, match="set to"):
        config.build(DIM).initialize_codes(centers())
