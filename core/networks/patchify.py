"""Squares of cells that share one position of a transformer.

Attention and the layers' products are paid by position, so squares of 2 x 2 make a network four
times as cheap, or let a wider one run at the same cost. It is what vision transformers do with
pixels (arXiv 2010.11929), and diffusion transformers with latents (2212.09748), here with tokens.
What is drawn in one step within a square is drawn independently, as everything else in that step.

A position knows little of single cells, and what a token is to be hangs most of all on the tokens
beside it. So cells look at their neighbours themselves, by a convolution before they are joined
and one after they are parted, both cheap.

Shapes: B rows, (h, w) the grid of cells, p the side of a square, C width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .rms_norm import RMSNorm


class Neighbours(nn.Module):
    """Each cell sees the 3 x 3 around it, around a skip: one filter a channel, then all channels
    together (a depthwise-separable convolution, arXiv 1704.04861)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.around = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mix = nn.Linear(width, width)
        nn.init.normal_(self.mix.weight, std=0.5 * width**-0.5)
        nn.init.zeros_(self.mix.bias)

    def forward(self, cells: Tensor, grid: tuple[int, int]) -> Tensor:
        """Cells (B, h*w, C) to cells."""
        # Channels stay last in memory, which is what depthwise kernels are fast with.
        x = self.norm(cells).transpose(1, 2).unflatten(2, grid)
        x = self.around(x).flatten(2).transpose(1, 2)
        return cells + self.mix(F.silu(x))


class Patches(nn.Module):
    """Cells to positions and back, for grids of any size: a grid that squares do not divide is
    continued with empty cells."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.side = side
        self.before, self.after = Neighbours(width), Neighbours(width)
        self.join = nn.Linear(side * side * width, width)
        self.part = nn.Linear(width, side * side * width)
        self.norm = RMSNorm(width)
        for layer in (self.join, self.part):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)

    def positions(self, grid: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of squares that cover a grid."""
        return -(-grid[0] // self.side), -(-grid[1] // self.side)

    def gather(self, cells: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Cells (B, h*w, C) to positions (B, N, C), and the cells as ``scatter`` wants them."""
        cells = self.before(cells, grid)
        rows, columns = self.positions(grid)
        side, (height, width) = self.side, grid
        x = cells.unflatten(1, grid)
        x = F.pad(x, (0, 0, 0, columns * side - width, 0, rows * side - height))
        x = x.unflatten(2, (columns, side)).unflatten(1, (rows, side))
        return self.join(x.transpose(2, 3).flatten(3).flatten(1, 2)), cells

    def scatter(self, x: Tensor, cells: Tensor, grid: tuple[int, int]) -> Tensor:
        """Positions (B, N, C) to cells (B, h*w, C), around the ``cells`` of ``gather``."""
        rows, columns = self.positions(grid)
        side = self.side
        x = self.part(x).unflatten(2, (side, side, -1)).unflatten(1, (rows, columns))
        x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, : grid[0], : grid[1]]
        return self.norm(self.after(cells + x.flatten(1, 2), grid))
