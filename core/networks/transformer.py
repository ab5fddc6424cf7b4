"""The transformer of the token priors: causal with a key/value cache, or bidirectional.

Pre-norm blocks of attention (SDPA) and SwiGLU (arXiv 2002.05202) with RMSNorm (1910.07467) and
axial rotary positions over the grid (2104.09864; two axes as in 2403.13298). Optional are adaptive
norms driven by a vector (adaLN-zero, 2212.09748; one projection for all layers as in 2310.00426)
and cross-attention to a memory of tokens.

Shapes: B rows, N positions, C width, H heads, L memory tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpointing import CheckpointedBlock
from .rms_norm import RMSNorm

_ROTARY_BASE = 100.0  # grids are small: with the usual 10,000 most pairs would hardly rotate

Memory = list[tuple[Tensor, Tensor]]
"""Keys and values (B, H, L, C/H) of the cross-attention, one pair per layer."""
Modulation = list[tuple[Tensor, ...]]
"""Shift, scale and gate of both branches, each (B, 1, C), six tensors per layer."""


@dataclass(frozen=True)
class TransformerConfig:
    """Size and options of a transformer. No paper states such small sizes: our choice."""

    width: int = 256
    """C, a multiple of four times the heads."""
    layers: int = 6
    heads: int = 4
    dropout: float = 0.0
    """Share of each branch's output that is dropped in training."""
    causal: bool = False
    """True if a position attends only to itself and to those before it."""
    modulated: bool = False
    """True if a vector drives the norms (adaLN-zero)."""
    memory: bool = False
    """True if there is cross-attention to memory tokens."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % (4 * self.heads):
            raise ValueError(
                f"width must be a multiple of 4 x heads (rotary positions have two axes of "
                f"pairs), got width {self.width} with {self.heads} heads"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, got {self.dropout}")

    @property
    def hidden(self) -> int:
        """The width inside SwiGLU: 8/3 C, rounded to a multiple of 32.

        Its three matrices then have as many weights as the usual two of width 4 C.
        """
        return max(32, round(self.width * 8 / 3 / 32) * 32)


def rotary(grid: tuple[int, int], head_width: int, like: Tensor) -> Tensor:
    """Return the rotary table (2, N, head_width) of a grid: cosines and signed sines.

    The N cells are in raster order. The first half of the pairs of channels rotates with the row,
    the second with the column. The table has the type and the device of ``like``.
    """
    height, width = grid
    pairs = head_width // 4
    speed = _ROTARY_BASE ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
    rows = torch.arange(height).repeat_interleave(width)
    columns = torch.arange(width).repeat(height)
    angle = torch.cat([rows[:, None] * speed, columns[:, None] * speed], 1)
    # Channel i of the first half of a head and channel i of the second half are a pair.
    table = torch.stack([angle.cos().repeat(1, 2), torch.cat([-angle.sin(), angle.sin()], 1)])
    return table.to(like.device, like.dtype, non_blocking=True)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate ``x`` (B, N, ..., D) by the ``rotary`` table (2, N, D) of its positions."""
    shape = (table.shape[1], *(1,) * (x.ndim - 3), table.shape[2])
    cos, sin = table[0].view(shape), table[1].view(shape)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def attention(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Return the attention (SDPA) of queries (B, H, N, D) over keys and values (B, H, L, D).

    ``mask`` is bool, true = attend. If a gradient is needed on the CPU, the computation is in
    float32, also under autocast: the backward pass of bfloat16 takes two to three times as long.
    """
    if q.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    with torch.autocast("cpu", enabled=False):
        mixed = F.scaled_dot_product_attention(
            q.float(), k.float(), v.float(), attn_mask=mask, is_causal=causal
        )
    return mixed.to(q.dtype)


class Cache:
    """Keys and values of the positions so far, in memory that is allocated once for all positions.

    ``stores`` has keys and values (2, B, H, positions, C/H) per layer, ``layers`` the same as
    pairs. ``length`` is the number of positions filled; the caller updates it.
    """

    def __init__(self, config: TransformerConfig, rows: int, positions: int, like: Tensor) -> None:
        shape = (2, rows, config.heads, positions, config.width // config.heads)
        # Zeros, not empty: positions not filled yet may be read with weight 0, and must be finite.
        self.stores = [
            torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in range(config.layers)
        ]
        self.layers = [(store[0], store[1]) for store in self.stores]
        self.length = 0


class Block(CheckpointedBlock):
    """Attention, optional cross-attention to a memory, and SwiGLU, each with a skip connection."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.causal, self.heads = config.causal, config.heads
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, width, bias=False)
        self.dropout = config.dropout
        last_layers = [self.out, self.down]
        if config.memory:
            self.memory_norm = RMSNorm(width)
            self.memory_q = nn.Linear(width, width, bias=False)
            self.memory_kv = nn.Linear(width, 2 * width, bias=False)
            self.memory_out = nn.Linear(width, width, bias=False)
            last_layers.append(self.memory_out)
        if config.modulated:
            self.modulation = nn.Parameter(torch.zeros(6, width))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=width**-0.5)
        # The branches start small, and the smaller the deeper the network is.
        for module in last_layers:
            nn.init.normal_(module.weight, std=(2 * config.layers * width) ** -0.5 / 2)

    def forward(
        self,
        x: Tensor,
        table: Tensor,
        modulation: tuple[Tensor, ...] | None,
        memory: tuple[Tensor, Tensor] | None,
        memory_mask: Tensor | None,
        cached: tuple[Tensor, Tensor, int] | None,
    ) -> Tensor:
        h = self.norm1(x)
        if modulation is None:
            x = x + self._drop(self._attend(h, table, cached))
        else:
            shift, scale, gate = modulation[:3]
            x = torch.addcmul(
                x, gate, self._drop(self._attend(torch.addcmul(shift, h, scale), table, cached))
            )
        if memory is not None:
            x = x + self._drop(self._cross_attend(self.memory_norm(x), memory, memory_mask))
        h = self.norm2(x)
        if modulation is None:
            return x + self._drop(self._mlp(h))
        shift, scale, gate = modulation[3:]
        return torch.addcmul(x, gate, self._drop(self._mlp(torch.addcmul(shift, h, scale))))

    def _attend(
        self, h: Tensor, table: Tensor, cached: tuple[Tensor, Tensor, int] | None
    ) -> Tensor:
        rows, count, width = h.shape
        qkv = self.qkv(h).view(rows, count, 3, self.heads, width // self.heads)
        rotated = rotate(qkv[:, :, :2], table.to(qkv.dtype))
        q, k, v = (
            part.transpose(1, 2) for part in (rotated[:, :, 0], rotated[:, :, 1], qkv[:, :, 2])
        )
        if cached is not None:
            keys, values, start = cached
            keys[:, :, start : start + count] = k
            values[:, :, start : start + count] = v
            k, v = (store[:, :, : start + count].to(q.dtype) for store in (keys, values))
        mixed = attention(q, k, v, causal=self.causal and count > 1)
        return self.out(mixed.transpose(1, 2).reshape(rows, count, width))

    def _cross_attend(
        self, h: Tensor, memory: tuple[Tensor, Tensor], memory_mask: Tensor | None
    ) -> Tensor:
        rows, count, width = h.shape
        q = self.memory_q(h).view(rows, count, self.heads, -1).transpose(1, 2)
        k, v = (part.to(q.dtype) for part in memory)
        mixed = attention(q, k, v, mask=memory_mask)
        return self.memory_out(mixed.transpose(1, 2).reshape(rows, count, width))

    def _mlp(self, h: Tensor) -> Tensor:
        gate, up = self.gate_up(h).chunk(2, -1)
        return self.down(F.silu(gate) * up)

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h


class Transformer(nn.Module):
    """A transformer from embedded tokens (B, N, C) to normalized features (B, N, C)."""

    blocks: Sequence[Block]

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.blocks = cast("Sequence[Block]", blocks)
        self.norm = RMSNorm(config.width)
        if config.modulated:
            self.modulator = nn.Linear(config.width, 6 * config.width)
            nn.init.zeros_(self.modulator.weight)  # at first every block is its skip
            nn.init.zeros_(self.modulator.bias)

    def project_memory(self, tokens: Tensor) -> Memory:
        """Return the keys and values of memory tokens (B, L, C) for all layers."""
        rows, count, _ = tokens.shape
        memory = []
        for block in self.blocks:
            kv = block.memory_kv(tokens).view(rows, count, 2, block.heads, -1)
            keys, values = kv.unbind(2)
            memory.append((keys.transpose(1, 2), values.transpose(1, 2)))
        return memory

    def modulate(self, vector: Tensor) -> Modulation:
        """Return the modulation of all layers' norms by a vector (B, C)."""
        shared = self.modulator(F.silu(vector)).unflatten(-1, (6, -1))
        layers = []
        for block in self.blocks:
            parts = (shared + block.modulation).unsqueeze(2).unbind(1)
            # 1 + scale is stored, so that a norm is modulated by one operation.
            layers.append((parts[0], 1 + parts[1], parts[2], parts[3], 1 + parts[4], parts[5]))
        return layers

    def forward(
        self,
        x: Tensor,
        table: Tensor,
        *,
        modulation: Modulation | None = None,
        memory: Memory | None = None,
        memory_mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the features (B, N, C) of ``x`` (B, N, C).

        Args:
            table: the ``rotary`` table (2, N, D) of the positions of ``x``.
            modulation: the result of ``modulate``.
            memory: the result of ``project_memory``.
            memory_mask: bool (B, L), true = attend.
            cache: is read and filled. The positions of ``x`` start at ``cache.length``, and N is 1
                unless the cache is empty.
        """
        if memory_mask is not None:
            memory_mask = memory_mask[:, None, None, :]
        for number, block in enumerate(self.blocks):
            x = block(
                x,
                table,
                None if modulation is None else modulation[number],
                None if memory is None else memory[number],
                memory_mask,
                None if cache is None else (*cache.layers[number], cache.length),
            )
        return self.norm(x)


def time_features(time: Tensor, width: int) -> Tensor:
    """Return sinusoidal features (B, width) of times (B,) in [0, 1], scaled to 1,000 steps."""
    half = width // 2
    speed = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device) / half)
    angle = 1000 * time.float()[:, None] * speed
    return torch.cat([angle.cos(), angle.sin()], 1)
