"""Several ids per position in the priors: embeddings, and heads that draw the levels in turn.

As in RQ-Transformer (arXiv 2203.01941), a position of the transformer is a cell of the grid, its
input is the sum of the embeddings of the cell's ids, and the levels of a cell are drawn one after
the other from its features. There a second transformer runs over the levels; here a small
perceptron per level takes the features plus the embeddings of the levels drawn so far (our choice:
residual and product codes have few levels).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LevelEmbedding(nn.Module):
    """The sum of the embeddings of a position's ids, one table per level; K is "not known yet"."""

    def __init__(self, codes: int, width: int, levels: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(codes + 1, width) for _ in range(levels))
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.02)  # type: ignore[arg-type]

    def forward(self, ids: Tensor) -> Tensor:
        """Return embeddings (B, ..., C) of ids int64 (B, L, ...)."""
        return torch.stack(
            [table(level) for table, level in zip(self.tables, ids.unbind(1), strict=True)]
        ).sum(0)


class LevelHeads(nn.Module):
    """Logits of each level from the features of a position.

    With ``in_turn``, those of a level also depend on the levels that were drawn before.
    """

    def __init__(self, codes: int, width: int, levels: int, in_turn: bool) -> None:
        super().__init__()
        self.in_turn = in_turn
        self.heads = nn.ModuleList(nn.Linear(width, codes) for _ in range(levels))
        further = levels - 1 if in_turn else 0
        self.drawn = nn.ModuleList(nn.Embedding(codes, width) for _ in range(further))
        self.mixers = nn.ModuleList(_mixer(width) for _ in range(further))
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.02)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        for table in self.drawn:
            nn.init.normal_(table.weight, std=0.02)  # type: ignore[arg-type]

    def forward(self, features: Tensor, level: int, before: Tensor | None = None) -> Tensor:
        """Return the logits (B, ..., K) of a level from features (B, ..., C).

        ``before`` int64 (B, level, ...) are the ids of the levels before, for heads ``in_turn``.
        """
        x = features
        if self.in_turn and level:
            assert before is not None
            for table, ids in zip(self.drawn, before.unbind(1), strict=False):
                x = x + table(ids)
            x = x + self.mixers[level - 1](x)
        return self.heads[level](x)


def _mixer(width: int) -> nn.Module:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
    )


def as_grid(ids: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return ids (n, L, N) as token ids (n, L, h, w); of one level (n, h, w)."""
    found = ids.view(*ids.shape[:2], *grid)
    return found[:, 0] if ids.shape[1] == 1 else found


def levels_of(ids: Tensor, levels: int) -> Tensor:
    """Return token ids (n, h, w), or (n, L, h, w) with several levels, as (n, L, N)."""
    return ids.reshape(len(ids), levels, -1)
