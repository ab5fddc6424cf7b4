"""The network of the discrete priors, from token ids to logits of codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..conditions import Condition, Conditioner
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
from ..plain import is_plain
from .levels import LevelEmbedding, LevelHeads

_WAVES = 4  # per axis: of half a period, a whole period, and so on


@dataclass
class Context:
    """The conditions and positions in the form in which the layers use them, computed once."""

    cell_embedding: Tensor
    """(B or 1, h*w, C), position and condition of each cell; added to the embedded tokens."""
    grid: tuple[int, int]
    """Rows and columns of cells."""
    rotary: Tensor
    """The ``rotary`` table (2, N, D) of the positions."""
    vector: Tensor | None = None
    """(B, C), the conditions that do not belong to a cell."""
    memory: Memory | None = None
    mask: Tensor | None = None
    """bool (B, L), true = attend to the token of the memory."""
    modulation: Modulation | None = None
    """Of a network that is not timed; that of a timed network depends on the time."""


class TokenNetwork(nn.Module):
    """A transformer over the token grid, for ids in [0, K], where K is "not known yet".

    With several ``levels``, a position has that many ids (``core.priors.levels``): ids are
    (B, L, N), and instead of logits the network returns features, from which ``token_logits`` makes
    those of a level.

    ``patch`` is the side of the patches of tokens that share a position of the transformer; it is 1
    for a causal network, which draws token by token.
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
        levels: int = 1,
    ) -> None:
        super().__init__()
        if causal and patch > 1:
            raise ValueError("a causal network draws token by token: its patch must be 1")
        self.codes, self.grid, self.timed, self.levels = codes, grid, timed, levels
        self.conditioner = conditioner
        self.embed: nn.Embedding | LevelEmbedding = (
            nn.Embedding(codes + 1, width) if levels == 1 else LevelEmbedding(codes, width, levels)
        )
        self.row = nn.Parameter(torch.randn(grid[0], width) * 0.02)
        self.column = nn.Parameter(torch.randn(grid[1], width) * 0.02)
        self.transformer = Transformer(
            TransformerConfig(
                width=width,
                layers=layers,
                heads=heads,
                dropout=dropout,
                causal=causal,
                modulated=timed or conditioner.has_vector,
                memory=conditioner.has_memory,
            )
        )
        self.patches = Patches(patch, width) if patch > 1 else None
        if timed:
            self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.head: nn.Linear | LevelHeads
        if levels > 1:
            self.head = LevelHeads(codes, width, levels, in_turn=causal)
            return
        self.head = nn.Linear(width, codes)
        nn.init.normal_(self.embed.weight, std=0.02)  # type: ignore[arg-type]
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.row.device

    @torch.no_grad()
    def init_from_codebook(
        self, codes: Tensor | Sequence[Tensor], generator: torch.Generator | None = None
    ) -> None:
        """Initialize the token embeddings from the codebook ``codes`` (K, D), or from that of each
        level, before training.

        Embeddings and output weights become random projections of the codes, so that similar codes
        are similar for the network from the first step on. Positions are initialized by
        ``init_positions``. Our addition: no paper has it.
        """
        codebooks = [codes] if isinstance(codes, Tensor) else codes
        for (table, head), codebook in zip(self._tables(), codebooks, strict=True):
            codebook = codebook.float() - codebook.float().mean(0)
            codebook = codebook / codebook.std(unbiased=False).clamp(min=1e-12)
            width, dim = table.embedding_dim, codebook.shape[1]
            for weight, scale in ((table.weight[: self.codes], 0.1), (head.weight, 0.05)):
                projection = torch.randn(dim, width, generator=generator) * dim**-0.5 * scale
                weight.copy_(codebook.cpu() @ projection)
        self.init_positions(generator)

    def _tables(self) -> list[tuple[nn.Embedding, nn.Linear]]:
        """Return the embeddings and the output weights of each level."""
        if isinstance(self.embed, nn.Embedding):
            assert isinstance(self.head, nn.Linear)
            return [(self.embed, self.head)]
        assert isinstance(self.head, LevelHeads)
        return list(zip(self.embed.tables, self.head.heads, strict=True))  # type: ignore[arg-type]

    @torch.no_grad()
    def init_positions(self, generator: torch.Generator | None = None) -> None:
        """Initialize the embeddings of rows and columns as smooth waves, before training.

        The waves span the whole grid in random directions, so that near positions are similar and
        left and right differ. Hardly anything but a caption's "on the left" depends on the column.
        With small random embeddings, the columns were learned only at the edges of the picture, and
        left and right never. Our addition: no paper has it.
        """
        for embeddings in (self.row, self.column):
            count, width = embeddings.shape
            at = (torch.arange(count) + 0.5) / count
            number = torch.arange(1, min(_WAVES, max(1, count - 1)) + 1)
            waves = torch.cos(math.pi * number * at[:, None]) / number
            waves = waves / waves.square().sum(1).mean().sqrt()
            directions = torch.randn(len(number), width, generator=generator)
            embeddings.copy_(0.05 * waves @ directions)

    def context(
        self,
        condition: Condition | None,
        rows: int,
        generator: torch.Generator | None = None,
        *,
        grid: tuple[int, int] | None = None,
        guided: bool = False,
    ) -> Context:
        """Return the context of ``forward`` for ``rows`` pictures; see ``Conditioner.encode``.

        On another ``grid`` than the trained one, the embeddings of rows and columns are
        interpolated, while the distances of rotary positions stay the same.
        """
        grid = grid or self.grid
        encoded = self.conditioner.encode(condition, rows, generator, grid=grid, guided=guided)
        cells = _interpolated(self.row, grid[0])[:, None] + _interpolated(self.column, grid[1])
        cells = cells.flatten(0, 1)[None]
        if encoded.cells is not None:
            cells = cells + encoded.cells
        config = self.transformer.config
        positions = grid if self.patches is None else self.patches.positions(grid)
        tokens = encoded.tokens
        context = Context(
            cell_embedding=cells,
            grid=grid,
            rotary=rotary(positions, config.width // config.heads, cells),
            vector=encoded.vector,
            memory=None if tokens is None else self.transformer.project_memory(tokens),
            mask=encoded.mask,
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
        """Return the logits (B, N, K) of ids int64 (B, N) at the first N cells of the grid; with
        several levels, the features (B, N, C) of ids (B, L, N).

        With patches, N must be all cells. ``time`` (B,) in [0, 1] is that of a timed network.
        ``cache`` is filled. ``last`` returns only those of the last position, (B, 1, K or C).
        """
        count = ids.shape[-1]
        cells = self.embed(ids) + context.cell_embedding[:, :count]
        modulation = context.modulation
        if self.timed:
            if time is None:
                raise ValueError("a timed network needs the time")
            vector = self.time(time_features(time, 256).to(cells.dtype))
            if context.vector is not None:
                vector = vector + context.vector
            modulation = self.transformer.modulate(vector)
        patches = self.patches
        x = cells
        if patches is not None:
            x, cells = patches.merge(cells, context.grid)
        x = self.transformer(
            x,
            context.rotary[:, :count],
            modulation=modulation,
            memory=context.memory,
            memory_mask=context.mask,
            cache=cache,
        )
        if patches is not None:
            x = patches.split(x, cells, context.grid)
        x = x[:, -1:] if last else x
        return x if self.levels > 1 else self.head(x)

    def token_logits(self, found: Tensor, level: int, before: Tensor | None = None) -> Tensor:
        """Return the logits (B, ..., K) of a level from what ``forward`` or ``decoder`` returned.

        ``before`` int64 (B, level, ...) are the ids of the levels before.
        """
        return self.head(found, level, before) if self.levels > 1 else found

    def decoder(
        self, context: Context, rows: int, positions: int, static: bool | None = None
    ) -> Callable[[Tensor], Tensor]:
        """Return a function from ids int64 (rows, N) to the logits (rows, K) after the last id.

        With several levels, it is one from ids (rows, L, N) to features (rows, C).

        The network must be causal. The first call takes any number of ids, each further call the
        next id. With ``static``, all further steps have the same shape, so that a GPU replays them
        as a CUDA graph, and each call overwrites the logits of the call before. By default it is
        true on a GPU, except under autocast.
        """
        like = self.row
        if static is None:
            static = like.is_cuda and not torch.is_autocast_enabled("cuda") and not is_plain()
        cache = Cache(self.transformer.config, rows, positions, like)
        next_step: Callable[[Tensor], Tensor] | None = None

        def step(ids: Tensor) -> Tensor:
            nonlocal next_step
            if next_step is not None:
                return next_step(ids[..., 0])
            logits = self(ids, context, cache=cache, last=True)[:, 0]
            cache.length = ids.shape[-1]
            if cache.length < positions:
                next_step = (self._static_step if static else self._step)(context, rows, cache)
            return logits

        return step

    def _step(self, context: Context, rows: int, cache: Cache) -> Callable[[Tensor], Tensor]:
        """Return the function from the next ids int64 (rows,) or (rows, L) to logits (rows, K) or
        features (rows, C)."""
        decoder = IncrementalDecoder(
            self.transformer, cache, context.rotary, rows, **_decoder_conditions(context)
        )
        head = self._packed_head(rows)

        def step(ids: Tensor) -> Tensor:
            return head(decoder(self.embed(ids) + context.cell_embedding[:, cache.length]))

        return step

    def _static_step(self, context: Context, rows: int, cache: Cache) -> Callable[[Tensor], Tensor]:
        """Return the function of ``_step`` in steps of one shape; a CUDA graph on a GPU."""
        decoder = GraphDecoder(
            self.transformer, cache, context.rotary, rows, **_decoder_conditions(context)
        )
        head = self._packed_head(rows)

        def step(ids: Tensor) -> Tensor:
            cell = context.cell_embedding.index_select(1, decoder.position)[:, 0]
            return head(decoder(self.embed(ids) + cell))

        shape = (rows,) if self.levels == 1 else (rows, self.levels)
        example = torch.zeros(shape, dtype=torch.int64, device=self.device)
        return capture_graph(step, example, decoder.position)

    def _packed_head(self, rows: int) -> Callable[[Tensor], Tensor]:
        """Return the function from features to logits; with several levels, the features remain."""
        if isinstance(self.head, LevelHeads):
            return lambda features: features
        return packed_linear(self.head.weight, rows, self.head.bias)


def _decoder_conditions(context: Context) -> dict[str, Any]:
    return {
        "modulation": context.modulation,
        "memory": context.memory,
        "memory_mask": context.mask,
    }


def _interpolated(embeddings: Tensor, length: int) -> Tensor:
    """Return embeddings of positions (n, C) for another number of positions, (length, C)."""
    if len(embeddings) == length:
        return embeddings
    result = F.interpolate(embeddings.T[None].float(), length, mode="linear", align_corners=False)
    return result[0].T.to(embeddings.dtype)
