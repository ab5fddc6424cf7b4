"""``best_code`` as one Triton kernel: scores stay in registers, only the best so far is kept.

Each program processes some rows and all codes. A tile of scores is computed by full float32
products (TF32 would change the result of near ties) and discarded once its maximum is known. The
only memory that the kernel allocates is that of the ids; codes are read from the GPU's cache.

``plain_best_code`` in ``lookup.py`` is the reference: tests compare the kernel with it in Triton's
interpreter. The kernel's speed is not measured and its block sizes are not tuned, for lack of a
GPU; ``python benchmarks/gpu.py --sections machine kernels lookup`` measures both.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_ROWS, BLOCK_CODES, MAX_BLOCK_DIMS = 64, 128, 64


@triton.jit
def _best_code(
    rows,
    weight,
    bias,
    ids,
    count,
    size,
    dim,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CODES: tl.constexpr,
    BLOCK_DIMS: tl.constexpr,
):
    row = (tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)).to(tl.int64)
    best = tl.full((BLOCK_ROWS,), float("-inf"), tl.float32)
    winner = tl.zeros((BLOCK_ROWS,), tl.int64)
    for first in range(0, size, BLOCK_CODES):
        code = (first + tl.arange(0, BLOCK_CODES)).to(tl.int64)
        scores = tl.zeros((BLOCK_ROWS, BLOCK_CODES), tl.float32)
        for start in range(0, dim, BLOCK_DIMS):
            axis = start + tl.arange(0, BLOCK_DIMS)
            z = tl.load(
                rows + row[:, None] * dim + axis[None, :],
                mask=(row[:, None] < count) & (axis[None, :] < dim),
                other=0.0,
            )
            w = tl.load(
                weight + code[None, :] * dim + axis[:, None],
                mask=(code[None, :] < size) & (axis[:, None] < dim),
                other=0.0,
            )
            scores = tl.dot(z, w, scores, input_precision="ieee")
        # Positions beyond the last code have a score of -inf.
        scores += tl.load(bias + code, mask=code < size, other=float("-inf"))[None, :]
        top, place = tl.max(scores, axis=1, return_indices=True, return_indices_tie_break_left=True)
        better = top > best  # strictly, so that of equals the first stays
        winner = tl.where(better, first + place, winner)
        best = tl.where(better, top, best)
    tl.store(ids + row, winner, mask=row < count)


def triton_best_code(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return argmax over k of ``rows @ weight[k] + bias[k]``, int64 (N,), the lowest of equals.

    ``rows`` float32 (N, D), ``weight`` float32 (K, D) and ``bias`` float32 (K,) on one GPU, or on
    the CPU with TRITON_INTERPRET=1. Raises ValueError for other types; ``lookup.search`` converts
    half precision before.
    """
    if {rows.dtype, weight.dtype, bias.dtype} != {torch.float32}:
        raise ValueError(
            "the kernel takes float32, got rows, weight and bias of "
            f"{rows.dtype}, {weight.dtype}, {bias.dtype}"
        )
    rows, weight, bias = rows.contiguous(), weight.contiguous(), bias.contiguous()
    count, dim = rows.shape
    ids = torch.empty(count, dtype=torch.int64, device=rows.device)
    block_dims = min(MAX_BLOCK_DIMS, max(16, triton.next_power_of_2(dim)))
    grid = (triton.cdiv(count, BLOCK_ROWS),)
    if count:
        with torch.cuda.device_of(rows):
            blocks: dict[str, Any] = {
                "BLOCK_ROWS": BLOCK_ROWS,
                "BLOCK_CODES": BLOCK_CODES,
                "BLOCK_DIMS": block_dims,
            }
            _best_code[grid](rows, weight, bias, ids, count, len(weight), dim, **blocks)
    return ids
