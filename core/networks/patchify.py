"""Patches: squares of cells that share one position of a transformer.

The cost of attention and of the layers is per position. Patches of 2 x 2 cells therefore make a
network four times as cheap, or allow a wider one at the same cost. Vision transformers do so with
pixels (arXiv 2010.11929), diffusion transformers with latents (2212.09748); here the cells are
tokens. Tokens of one patch that are drawn in the same step are drawn independently, as all tokens
of a step are.

A position has little information on single cells, although a token depends most on the tokens
beside it. Therefore each cell also sees its neighbors directly, through a cheap convolution before
the cells are merged and another after they are split (our choice).

Shapes: B rows, (h, w) the grid of cells, p the side of a patch, C width, N positions.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .rms_norm import RMSNorm


class NeighborMixing(nn.Module):
    """A depthwise-separable 3 x 3 convolution over cells (arXiv 1704.04861) with a skip
    connection: one filter per channel, then a linear layer over all channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.around = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mix = nn.Linear(width, width)
        nn.init.normal_(self.mix.weight, std=0.5 * width**-0.5)
        nn.init.zeros_(self.mix.bias)

    def forward(self, cells: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return cells (B, h*w, C) that have seen their neighbors."""
        # Channels stay last in memory, which makes depthwise kernels fast.
        x = self.norm(cells).transpose(1, 2).unflatten(2, grid)
        x = self.around(x).flatten(2).transpose(1, 2)
        return cells + self.mix(F.silu(x))


class Patches(nn.Module):
    """Merges cells into positions and splits positions into cells, for grids of any size: a grid
    that patches do not divide is padded with empty cells."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.side = side
        self.before, self.after = NeighborMixing(width), NeighborMixing(width)
        self.join = nn.Linear(side * side * width, width)
        self.part = nn.Linear(width, side * side * width)
        self.norm = RMSNorm(width)
        for layer in (self.join, self.part):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)

    def positions(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Return the rows and columns of the patches that cover a grid."""
        return -(-grid[0] // self.side), -(-grid[1] // self.side)

    def merge(self, cells: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the positions (B, N, C) of cells (B, h*w, C), and the cells for ``split``."""
        cells = self.before(cells, grid)
        rows, columns = self.positions(grid)
        side, (height, width) = self.side, grid
        x = cells.unflatten(1, grid)
        x = F.pad(x, (0, 0, 0, columns * side - width, 0, rows * side - height))
        x = x.unflatten(2, (columns, side)).unflatten(1, (rows, side))
        return self.join(x.transpose(2, 3).flatten(3).flatten(1, 2)), cells

    def split(self, x: Tensor, cells: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the cells (B, h*w, C) of positions (B, N, C), added to the ``cells`` that
        ``merge`` returned."""
        rows, columns = self.positions(grid)
        side = self.side
        x = self.part(x).unflatten(2, (side, side, -1)).unflatten(1, (rows, columns))
        x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, : grid[0], : grid[1]]
        return self.norm(self.after(cells + x.flatten(1, 2), grid))
