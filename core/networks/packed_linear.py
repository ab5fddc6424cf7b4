"""A matrix for products with a few rows: in the layout in which the processor reads it fastest.

Drawing a token multiplies a handful of rows with every matrix of a network, so its time is that of
reading the weights. oneDNN, which comes with torch, reads them about twice as fast when they were
put into its own blocked layout; that takes about as long as ten such products, once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGE = 2**18  # entries below which a call's own time counts for more than the reading

Product = Callable[[Tensor], Tensor]


def packed_linear(weight: Tensor, rows: int, bias: Tensor | None = None) -> Product:
    """A function from h (rows, C) to h @ weight.T + bias (rows, E), for a weight (E, C).

    The weight must stay what it is for as long as the function is used. Which of the ways is
    taken follows from type and shape alone, so that the same call gives the same bits.
    """
    weight = weight.detach()
    # Autocast knows nothing of oneDNN's own products.
    plain = weight.device.type != "cpu" or torch.is_autocast_enabled("cpu")
    if plain or weight.numel() < _LARGE:
        return lambda h: F.linear(h, weight, bias)
    # A single row gains nothing from the layout, nor do two in float32 (measured with MKL).
    if rows >= (3 if weight.dtype == torch.float32 else 2) and _can_pack(weight.dtype):
        blocked = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
        run = torch.ops.mkldnn._linear_pointwise
        return lambda h: run(h, blocked, bias, "none", [], "")
    if weight.dtype == torch.float32 and rows > 1:
        # The product of the other order reads the matrix faster.
        if bias is None:
            return lambda h: (weight @ h.t()).t().contiguous()
        column = bias.detach()[:, None]
        return lambda h: torch.addmm(column, weight, h.t()).t().contiguous()
    return lambda h: F.linear(h, weight, bias)


def _can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch and this processor have oneDNN's products of that type."""
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    known = all(
        hasattr(torch.ops.mkldnn, name)
        for name in ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    )
    if dtype == torch.bfloat16:
        return known and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return known and dtype == torch.float32
