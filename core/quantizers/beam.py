"""Beam search for residual codes: sequences of codes whose sum is nearest to a latent."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CELLS = 1 << 22
"""Distances that are computed together: 16 MB in float32."""


def best_sequences(rows: Tensor, codebooks: Sequence[Tensor], beam: int) -> Tensor:
    """Return the ids int64 (N, L) whose codes' sum is nearest to ``rows`` float32 (N, D).

    At each level the ``beam`` best partial sums are kept, each extended by all codes of
    ``codebooks[level]`` (K, D). With ``beam`` = 1 that is the greedy choice; with as many as there
    are combinations it is the exact one.
    """
    widest = beam * max(len(codes) for codes in codebooks)
    parts = rows.split(max(CELLS // widest, 1))
    return torch.cat([_search(part, codebooks, beam) for part in parts])


def _search(rows: Tensor, codebooks: Sequence[Tensor], beam: int) -> Tensor:
    rest = rows.unsqueeze(1)  # (N, beams, D): the latent minus the partial sum
    ids = rows.new_zeros(len(rows), 1, 0, dtype=torch.int64)
    for codes in codebooks:
        # |rest - c|^2: with all three terms, as candidates of several sums are compared
        scores = rest.square().sum(-1, keepdim=True) - 2 * rest @ codes.t()
        scores = (scores + codes.square().sum(1)).flatten(1)
        best = scores.topk(min(beam, scores.shape[1]), largest=False).indices
        origin, code = best // len(codes), best % len(codes)
        rest = rest.gather(1, origin[..., None].expand(-1, -1, rows.shape[1])) - codes[code]
        before = ids.gather(1, origin[..., None].expand(-1, -1, ids.shape[2]))
        ids = torch.cat([before, code[..., None]], 2)
    return ids[:, 0]
