"""RMSNorm (arXiv 1910.07467) with an explicit gradient on the CPU.

torch has no CPU kernel for it: forward and backward are a dozen passes over the whole input, each
of which allocates its output. The explicit gradient needs half as many passes, most of them in
place, which makes a diffusion prior's training step a tenth shorter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..plain import is_plain

EPS = 1e-6


class RMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm` over the last axis, with a gain."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (..., C) divided by its root mean square over C, times the gain."""
        if x.device.type == "cpu" and torch.is_grad_enabled() and not is_plain():
            return _Normed.apply(x, self.weight, EPS)
        return super().forward(x)


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, gain, inverse)
        return (x * inverse.to(x.dtype)).mul_(gain.to(x.dtype))

    @staticmethod
    @once_differentiable  # the decorator hides the parameters' names from the type checker
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Any
    ) -> tuple[Tensor, Tensor, None]:
        x, gain, inverse = ctx.saved_tensors
        (grad,) = grads
        along = (grad * x).float().reshape(-1, x.shape[-1])
        gain_grad = torch.mv(along.T, inverse.flatten())
        # The component of the gradient along x, which would only change the length of x.
        share = torch.mv(along, gain.float()).view_as(inverse)
        share = share.mul_(inverse**3).div_(-x.shape[-1]).to(x.dtype)
        x_grad = (grad * gain.to(grad.dtype)).mul_(inverse.to(x.dtype)).addcmul_(x, share)
        return x_grad, gain_grad, None
