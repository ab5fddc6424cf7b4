"""Perceptual distance of two pictures on pretrained features.

It is named after the features it is computed on (``Features.label``): only with its fitted heads
would it be LPIPS, and it may not be compared with numbers computed on other features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


@torch.no_grad()
def feature_distance(features: Callable[[Tensor], list[Tensor]], a: Tensor, b: Tensor) -> Tensor:
    """Perceptual distance (B,) of images (B, 3, H, W) in [-1, 1]; 0 = the same, at most 4.

    LPIPS (Zhang et al. 2018, Eq. 1) without its fitted weights: per layer the features are scaled
    to unit length over channels, the squared differences summed over channels and averaged over
    positions, and the layers averaged. ``features`` maps images to a list of (B, C, H, W).
    Raises ValueError if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"images of one shape are needed, got {tuple(a.shape)}, {tuple(b.shape)}")
    return layer_distance(features(a), features(b))


def layer_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """``feature_distance`` of features already computed: two lists of (B, C, H, W), to (B,).

    Differentiable: it is also the perceptual loss of training.
    """
    layers = [
        (_unit(x) - _unit(y)).square().sum(dim=1).mean(dim=(1, 2))
        for x, y in zip(a, b, strict=True)
    ]
    return torch.stack(layers).mean(dim=0)


def _unit(x: Tensor) -> Tensor:
    x = x.float()
    # inside the root, so that a position without any activity has a gradient, and it is finite
    return x * (x.square().sum(dim=1, keepdim=True) + 1e-10).rsqrt()
