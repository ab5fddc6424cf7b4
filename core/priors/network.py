"""The network of the discrete priors: token ids in, logits of codes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..conditions import Condition, Conditioner, EncodedCondition
from ..networks.cuda_graph import GraphDecoder, capture_graph
from ..networks.incremental import IncrementalDecoder
from ..networks.packed_linear import packed_linear
from ..networks.patchify import Patches
from ..networks.transformer import (
    Cache,
    Memory,
    Modulation,
    Transformer,
    TransformerConfig,
    rotary,
    time_features,
)

_WAVES = 4  # of a side's places: half a period, a whole one, ...


@dataclass
class Context:
    """The conditions and positions in the form in which the layers use them, computed once.

    ``cell_embedding`` (B or 1, h*w, C) is added to the embedded tokens: the position of each cell
    and its condition. ``grid``: rows and columns of cells. ``rotary``: the table of rotary
    positions. ``vector`` (B, C), ``memory`` and ``mask``: the conditions that belong to no cell.
    """

    cell_embedding: Tensor
    grid: tuple[int, int]
    rotary: Tensor
    vector: Tensor | None = None
    memory: Memory | None = None
    mask: Tensor | None = None
    modulation: Modulation | None = None


class TokenNetwork(nn.Module):
    """A transformer over the token grid, for ids in [0, K] of which K is "not known yet".

    ``patch``: side of the squares of tokens that share a position of the transformer. A causal
    network, which draws token by token, has none.
    """

    def __init__(
        self,
        *,
        codes: int,
        grid: tuple[int, int],
        conditioner: Conditioner,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        causal: bool,
        timed: bool,
        patch: int = 1,
    ) -> None:
        super().__init__()
        if causal and patch > 1:
            raise ValueError("a causal network takes token by token: its patch must be 1")
        self.codes, self.grid, self.timed = codes, grid, timed
        self.conditioner = conditioner
        self.embed = nn.Embedding(codes + 1, width)
        self.row = nn.Parameter(torch.randn(grid[0], width) * 0.02)
        self.column = nn.Parameter(torch.randn(grid[1], width) * 0.02)
        self.transformer = Transformer(
            TransformerConfig(
                width=width, layers=layers, heads=heads, dropout=dropout, causal=causal,
                modulated=timed or conditioner.has_vector, memory=conditioner.has_memory,
            )
        )  # fmt: skip
        self.patches = Patches(patch, width) if patch > 1 else None
        if timed:
            self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.head = nn.Linear(width, codes)
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def init_from_codebook(self, codes: Tensor, generator: torch.Generator | None = None) -> None:
        """Before training: let what is near in the codebook, ``codes`` (K, D), be near here.

        Embeddings and output weights become random projections of the codes: what one token
        teaches holds for its like from the first step on. Ours; no paper has it. Places begin as
        by ``init_positions``.
        """
        codes = codes.float() - codes.float().mean(0)
        codes = codes / codes.std(unbiased=False).clamp(min=1e-12)
        width, spread = self.embed.embedding_dim, codes.shape[1] ** -0.5
        for weight, scale in ((self.embed.weight[: self.codes], 0.1), (self.head.weight, 0.05)):
            projection = torch.randn(codes.shape[1], width, generator=generator) * spread * scale
            weight.copy_(codes.cpu() @ projection)
        self.init_positions(generator)

    @torch.no_grad()
    def init_positions(self, generator: torch.Generator | None = None) -> None:
        """Before training: let rows and columns begin as smooth waves over the whole grid, in
        random directions, so that near ones are alike and left is told from right.

        Next to nothing but a caption's "on the left" needs to know a column: begun at random and
        small, they were learnt at the picture's edges alone, and sides never were. Ours.
        """
        for places in (self.row, self.column):
            count, width = places.shape
            at = (torch.arange(count) + 0.5) / count
            number = torch.arange(1, min(_WAVES, max(1, count - 1)) + 1)
            waves = torch.cos(math.pi * number * at[:, None]) / number
            waves = waves / waves.square().sum(1).mean().sqrt()
            directions = torch.randn(len(number), width, generator=generator)
            places.copy_(0.05 * waves @ directions)

    def context(
        self,
        condition: Condition | None,
        rows: int,
        generator: torch.Generator | None = None,
        *,
        grid: tuple[int, int] | None = None,
        guided: bool = False,
    ) -> Context:
        """What ``forward`` is told of a condition for ``rows`` pictures (see ``Conditioner``).

        Another ``grid`` than the one trained on is taken: its rows and columns lie between the
        known ones, distances stay what they are.
        """
        grid = grid or self.grid
        encoded: EncodedCondition = self.conditioner.encode(
            condition, rows, generator, grid=grid, guided=guided
        )
        ground = _stretched(self.row, grid[0])[:, None] + _stretched(self.column, grid[1])
        ground = ground.flatten(0, 1)[None]
        if encoded.cells is not None:
            ground = ground + encoded.cells
        config = self.transformer.config
        positions = grid if self.patches is None else self.patches.positions(grid)
        context = Context(
            ground,
            grid,
            rotary(positions, config.width // config.heads, ground),
            encoded.vector,
            None if encoded.tokens is None else self.transformer.project_memory(encoded.tokens),
            encoded.mask,
        )
        if not self.timed and encoded.vector is not None:
            context.modulation = self.transformer.modulate(encoded.vector)
        return context

    def forward(
        self,
        ids: Tensor,
        context: Context,
        *,
        time: Tensor | None = None,
        cache: Cache | None = None,
        last: bool = False,
    ) -> Tensor:
        """Logits (B, N, K) of ids int64 (B, N), which stand at the first N cells; all of them where
        there are patches.

        ``time`` (B,) in [0, 1] where the network is timed; ``cache`` is filled; ``last``: only the
        last position's logits.
        """
        count = ids.shape[1]
        cells = self.embed(ids) + context.cell_embedding[:, :count]
        modulation = context.modulation
        if self.timed:
            vector = self.time(time_features(time, 256).to(cells.dtype))
            if context.vector is not None:
                vector = vector + context.vector
            modulation = self.transformer.modulate(vector)
        patches = self.patches
        x = cells
        if patches is not None:
            x, cells = patches.merge(cells, context.grid)
        x = self.transformer(
            x, context.rotary[:, :count], modulation=modulation, memory=context.memory,
            memory_mask=context.mask, cache=cache,
        )  # fmt: skip
        if patches is not None:
            x = patches.split(x, cells, context.grid)
        return self.head(x[:, -1:] if last else x)

    def decoder(
        self, context: Context, rows: int, positions: int, static: bool | None = None
    ) -> Callable[[Tensor], Tensor]:
        """For a causal network: a function from ids int64 (rows, N) to the logits (rows, K) of the
        last of them. Its first call takes any number of ids, each further one the next.

        ``static``: by steps of one shape, which a GPU replays as a CUDA graph; logits are then
        good until the next call. None: on a GPU, unless under autocast.
        """
        like = self.head.weight
        if static is None:
            static = like.is_cuda and not torch.is_autocast_enabled("cuda")
        cache = Cache(self.transformer.config, rows, positions, like)
        further: Callable[[Tensor], Tensor] | None = None

        def step(ids: Tensor) -> Tensor:
            nonlocal further
            if further is None:
                logits = self(ids, context, cache=cache, last=True)[:, 0]
                cache.length = ids.shape[1]
                if cache.length < positions:
                    further = self._further(context, rows, cache, static)
                return logits
            return further(ids[:, 0])

        return step

    def _further(
        self, context: Context, rows: int, cache: Cache, static: bool
    ) -> Callable[[Tensor], Tensor]:
        """The steps after the first: from the next ids int64 (rows,) to logits (rows, K)."""
        decoder = (GraphDecoder if static else IncrementalDecoder)(
            self.transformer, cache, context.rotary, rows, modulation=context.modulation,
            memory=context.memory, memory_mask=context.mask,
        )  # fmt: skip
        head = packed_linear(self.head.weight, rows, self.head.bias)

        def dynamic(ids: Tensor) -> Tensor:
            return head(decoder(self.embed(ids) + context.cell_embedding[:, cache.length]))

        def fixed(ids: Tensor) -> Tensor:
            ground = context.cell_embedding.index_select(1, decoder.position)[:, 0]
            return head(decoder(self.embed(ids) + ground))

        if not static:
            return dynamic
        example = torch.zeros(rows, dtype=torch.int64, device=self.head.weight.device)
        return capture_graph(fixed, example, decoder.position)


def _stretched(table: Tensor, length: int) -> Tensor:
    """A table of positions (n, C) at another number of them, (length, C)."""
    if len(table) == length:
        return table
    stretched = F.interpolate(table.T[None].float(), length, mode="linear", align_corners=False)
    return stretched[0].T.to(table.dtype)
