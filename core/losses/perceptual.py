"""Perceptual distance of two pictures on pretrained features.

Figures state the features that they are computed on (``Features.label``). Without LPIPS's fitted
weights the distance is not LPIPS, and figures on different features cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


@torch.no_grad()
def feature_distance(features: Callable[[Tensor], list[Tensor]], a: Tensor, b: Tensor) -> Tensor:
    """Return the perceptual distance (B,) of images (B, 3, H, W) in [-1, 1]: 0 = equal, at most 4.

    LPIPS (Zhang et al. 2018, Eq. 1) without its fitted weights: in each layer the features are
    scaled to unit length over channels, the squared differences are summed over channels and
    averaged over positions; the result is the mean over layers. ``features`` maps images to a list
    of maps (B, C, H, W). Raises ValueError if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"images must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return layer_distance(features(a), features(b))


def layer_distance(a: list[Tensor], b: list[Tensor], heads: list[Tensor] | None = None) -> Tensor:
    """Return ``feature_distance`` (B,) of features that are given, two lists of (B, C, H, W).

    With ``heads``, LPIPS's fitted weights (C,) of the channels of each layer, it is LPIPS, whose
    layers are summed. It is differentiable: training uses it as the perceptual loss.
    """
    differences = [(_unit(x) - _unit(y)).square() for x, y in zip(a, b, strict=True)]
    if heads is not None:
        weights = (head.view(-1, 1, 1) for head in heads)
        differences = [x * weight for x, weight in zip(differences, weights, strict=True)]
    layers = torch.stack([x.sum(dim=1).mean(dim=(1, 2)) for x in differences])
    return layers.mean(dim=0) if heads is None else layers.sum(dim=0)


def _unit(x: Tensor) -> Tensor:
    x = x.float()
    # eps inside the root, so that a position without activity has a finite gradient
    return x * (x.square().sum(dim=1, keepdim=True) + 1e-10).rsqrt()
