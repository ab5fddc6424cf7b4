"""NSVQ's dense loss over all codes without the positions x codes matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .lookup import row_tiles


class _NonStationary(torch.autograd.Function):
    """The loss, whose gradient is known when it is."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, rows: Tensor, ids: Tensor, tau: float) -> Tensor:
        loss, slope = loss_and_slope(codes, rows, ids, tau)
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (slope,) = ctx.saved_tensors
        return grad_outputs[0] * slope, None, None, None


def loss_and_slope(codes: Tensor, rows: Tensor, ids: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Return ``non_stationary_loss``, (), and its gradient on the codes, (K, d), in one pass.

    With P the weights, that of the chosen code set to zero,
    dL/dc_j = 2/(N d) (c_j sum_i P_ij - sum_i P_ij z_i).
    """
    count, dim = rows.shape
    size = len(codes)
    norms = codes.square().sum(1)
    mass, pulled, total = codes.new_zeros(size), torch.zeros_like(codes), codes.new_zeros(())
    spaces: tuple[Tensor, Tensor] | None = None
    for part in row_tiles(count, size, rows.is_cuda):
        some = rows[part]
        if spaces is None:  # two buffers serve all tiles
            spaces = rows.new_empty(len(some), size), rows.new_empty(len(some), size)
        distances, weights = (space[: len(some)] for space in spaces)
        torch.addmm(norms, some, codes.t(), alpha=-2, out=distances)
        distances.add_(some.square().sum(1, keepdim=True)).clamp_(min=0)
        torch.mul(distances, -1 / tau, out=weights)
        torch.softmax(weights, 1, out=weights)
        weights.scatter_(1, ids[part, None], 0)
        total += torch.dot(weights.view(-1), distances.view(-1))
        mass += weights.sum(0)
        pulled.addmm_(weights.t(), some)
    scale = 1 / (count * dim)
    return total * scale, codes.mul(mass.unsqueeze(1)).sub_(pulled).mul_(2 * scale)


def non_stationary_loss(codes: Tensor, rows: Tensor, ids: Tensor, tau: float) -> Tensor:
    """Return 1/(N d) sum_i sum_{j != ids_i} p_ij |z_i - c_j|^2, the dense loss of Eq. 8 to 11.

    p = softmax_j(-|z_i - c_j|^2 / tau) is over all codes and constant. The term of the chosen code
    is left out, without sharing its weight among the others. ``codes`` c (K, d), ``rows`` z (N, d),
    ``ids`` int64 (N,). Only ``codes`` gets a gradient. Extra memory: two tiles.
    """
    rows = rows.detach()
    if torch.compiler.is_compiling():
        return torch.ops.regvq.non_stationary_loss(codes, rows, ids, tau)[0]
    return _NonStationary.apply(codes, rows, ids, tau)
