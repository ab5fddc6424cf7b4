"""Exact nearest-code search without the positions x codes matrix.

The textbook formula keeps about three float32 matrices of N x K alive and walks over them four or
five times. Here ``argmin |z - e|^2 = argmax z.e - |e|^2/2`` is computed tile by tile into one small
buffer with the bias folded into the matrix product, and only the running best is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS, CODES = 512, 4096  # a float32 tile of 8 MB: near the size of a core's share of cache


@torch.no_grad()
def best_code(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """argmax over k of ``rows @ weight[k] + bias[k]``.

    ``rows`` float32 (N, D), ``weight`` float32 (K, D), ``bias`` float32 (K,). Returns int64 (N,);
    of equal scores the lowest k wins. Extra memory: one tile.
    """
    count, size = len(rows), len(weight)
    ids = torch.empty(count, dtype=torch.int64, device=rows.device)
    tile = rows.new_empty(min(ROWS, count) * min(CODES, size))
    columns = weight.t()
    for start in range(0, count, ROWS):
        part = rows[start : start + ROWS]
        best = None
        for first in range(0, size, CODES):
            some = columns[:, first : first + CODES]
            scores = tile[: len(part) * some.shape[1]].view(len(part), some.shape[1])
            torch.addmm(bias[first : first + CODES], part, some, out=scores)
            top, index = scores.max(dim=1)
            if best is None:
                best, winner = top, index
            else:
                better = top > best
                best = torch.where(better, top, best)
                winner = torch.where(better, index + first, winner)
        ids[start : start + ROWS] = winner
    return ids


def nearest_code(rows: Tensor, codebook: Tensor) -> Tensor:
    """Ids int64 (N,) of the codes (K, D) nearest to float32 ``rows`` (N, D), Euclidean, exact."""
    return best_code(rows, codebook, -0.5 * codebook.square().sum(1))
