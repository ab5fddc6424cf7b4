"""PSNR and SSIM, per picture.

Both take images of any number of channels in [-1, 1] and measure them on [0, 1], so that the peak
is 1 and the figures equal those of scikit-image with ``data_range=1``. They are per picture, to be
averaged by the caller: a PSNR of the mean squared error over a batch, as some papers report, is a
lower number.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 11
"""Side of the Gaussian window of SSIM, in pixels."""
_SIGMA, _K1, _K2 = 1.5, 0.01, 0.03


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB, float64 (B,), of images (B, C, H, W) in [-1, 1].

    10 log10(1 / MSE) on [0, 1], over all pixels and channels of a picture; ``inf`` if both are
    equal. Raises ValueError if the shapes differ.
    """
    a, b = _on_unit_range(a, b)
    return -10.0 * (a - b).square().mean(dim=(1, 2, 3)).log10()


def mean_psnr(values: Iterable[float]) -> float:
    """Return the mean of the PSNRs of pictures in dB, over those that are not exact copies.

    The PSNR of an exact copy is infinite, and would make that of all pictures infinite too. It is
    ``inf`` only if all of them are exact copies.
    """
    values = list(values)
    finite = [value for value in values if math.isfinite(value)]
    return fmean(finite) if finite else fmean(values)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the structural similarity, float64 (B,), of images (B, C, H, W) in [-1, 1]; 1 = equal.

    Wang et al. 2004 (IEEE TIP 13(4)), Eq. 13: Gaussian 11x11 window with sigma 1.5, K1 = 0.01,
    K2 = 0.03, weighted (not sample) covariance, mean over the positions at which the whole window
    lies inside the picture, mean over channels. This equals scikit-image's
    ``structural_similarity`` with ``gaussian_weights=True, use_sample_covariance=False,
    data_range=1``. A picture with a side below 11 is padded with its edge pixels until the window
    fits once. Raises ValueError if the shapes differ.
    """
    a, b = _on_unit_range(a, b)
    height, width = a.shape[2:]
    lack_h, lack_w = max(0, WINDOW - height), max(0, WINDOW - width)
    if lack_h or lack_w:
        pad = (lack_w // 2, lack_w - lack_w // 2, lack_h // 2, lack_h - lack_h // 2)
        a, b = F.pad(a, pad, mode="replicate"), F.pad(b, pad, mode="replicate")
    # One channel at a time: float64 and five blurs of a large photograph take much memory.
    channels = [_similarity(a[:, c : c + 1], b[:, c : c + 1]) for c in range(a.shape[1])]
    return torch.stack(channels).mean(dim=0)


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return the SSIM (B,) of one channel (B, 1, H, W)."""
    moments = _blur(torch.cat([a, b, a * a, b * b, a * b]))
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = moments.chunk(5)
    var_a, var_b = mean_aa - mean_a.square(), mean_bb - mean_b.square()
    covariance = mean_ab - mean_a * mean_b
    c1, c2 = _K1**2, _K2**2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2)
    )
    return similarity.mean(dim=(1, 2, 3))


def _on_unit_range(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or a.dim() != 4:
        raise ValueError(
            f"two batches of images (B, C, H, W) of one shape are needed, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    return (a.double() + 1) / 2, (b.double() + 1) / 2


def _blur(x: Tensor) -> Tensor:
    """Apply the Gaussian window to (N, 1, H, W) where it fits: (N, 1, H - 10, W - 10)."""
    offsets = torch.arange(WINDOW, dtype=x.dtype) - WINDOW // 2
    weights = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights = (weights / weights.sum()).tolist()
    # Shifted sums: on the CPU, float64 convolution has no fast kernel and takes ten times as long.
    for axis in (2, 3):
        size = x.shape[axis] - WINDOW + 1
        total = x.narrow(axis, 0, size) * weights[0]
        for shift in range(1, WINDOW):
            total.add_(x.narrow(axis, shift, size), alpha=weights[shift])
        x = total
    return x
