"""Products of a matrix with a few rows, with the matrix in a layout that is fast to read.

To draw a token, a handful of rows is multiplied with every matrix of a network, and the time is
that of reading the weights. oneDNN, which is part of torch, reads them about twice as fast in its
own blocked layout. The conversion takes about as long as ten such products, once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..plain import is_plain

_LARGE = 2**18  # entries; below, the time of the call itself matters more than that of reading

Product = Callable[[Tensor], Tensor]


def packed_linear(weight: Tensor, rows: int, bias: Tensor | None = None) -> Product:
    """Return a function from h (rows, C) to h @ weight.T + bias (rows, E), for a weight (E, C).

    The weight must not change while the function is used. The implementation depends only on type
    and shape, so that the same call always gives the same bits.
    """
    weight = weight.detach()
    # Autocast does not apply to oneDNN's own operations.
    plain = weight.device.type != "cpu" or torch.is_autocast_enabled("cpu") or is_plain()
    if plain or weight.numel() < _LARGE:
        return lambda h: F.linear(h, weight, bias)
    # One row gains nothing from the layout, nor do two rows in float32 (measured with MKL).
    if rows >= (3 if weight.dtype == torch.float32 else 2) and _can_pack(weight.dtype):
        blocked = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
        run = torch.ops.mkldnn._linear_pointwise
        return lambda h: run(h, blocked, bias, "none", [], "")
    if weight.dtype == torch.float32 and rows > 1:
        # The transposed product reads the matrix faster.
        if bias is None:
            return lambda h: (weight @ h.t()).t().contiguous()
        column = bias.detach()[:, None]
        return lambda h: torch.addmm(column, weight, h.t()).t().contiguous()
    return lambda h: F.linear(h, weight, bias)


def _can_pack(dtype: torch.dtype) -> bool:
    """Return True if this torch and this processor have oneDNN's products of that type."""
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    has_operations = all(
        hasattr(torch.ops.mkldnn, name)
        for name in ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    )
    if dtype == torch.bfloat16:
        return has_operations and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return has_operations and dtype == torch.float32
