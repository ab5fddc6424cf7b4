"""A 3x3 convolution of a picture upsampled by 2, computed from the small picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..plain import is_plain

LEAST = 1024
"""Positions of a batch from which on fewer products outweigh the sums of weights (measured)."""


def upsample_and_convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a 3x3 convolution, padded by one zero, of ``x`` upsampled by 2 to nearest neighbors.

    Shapes: ``x`` (B, C, H, W), ``weight`` (D, C, 3, 3), ``bias`` (D,) or None; the result is
    (B, D, 2H, 2W).

    Upsampling repeats values, so that each output is a sum over 2 x 2 positions of ``x`` with sums
    of weights: a transposed convolution with a kernel of 4 x 4, in 16 products instead of 36. On a
    CPU it takes down to half the time, and the result is the same but for rounding; on a GPU it has
    not been measured, and is not done. Training, in which it would save 1 % in bfloat16 and 4 % in
    float32, computes plainly, so that a run repeats those of earlier versions; and so does a
    program that is compiled or exported, which would hold for few or for many positions alone.
    """
    plain = torch.is_grad_enabled() or torch.compiler.is_compiling() or is_plain()
    if plain or not x.is_cpu or x.shape[0] * x.shape[2] * x.shape[3] < LEAST:
        return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1)
    # A transposed convolution spreads inputs, hence the flip. Per side: c, b + c, a + b, a. Sums
    # over channels that lie side by side are the faster ones.
    flipped = weight.contiguous(memory_format=torch.channels_last).flip(2, 3)
    kernel = F.avg_pool2d(flipped, 2, stride=1, padding=1, divisor_override=1)
    return F.conv_transpose2d(x, kernel.transpose(0, 1), bias, stride=2, padding=1)
