"""Incremental decoding: one position at a time through a causal transformer.

The result is that of ``Transformer.forward`` with a cache and a single position, computed in as few
operations as possible. With a few rows, dispatching modules, views and norms would take as long as
reading the weights. The factors of the norms are computed once for all positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .packed_linear import Product, packed_linear
from .rms_norm import EPS
from .transformer import Block, Cache, Memory, Modulation, Transformer


@dataclass
class _Layer:
    """The tensors and products of a layer.

    A gain is a norm's weight times its modulation times sqrt(C), in float32, so that a norm is a
    division by the length of the vector.
    """

    store: Tensor
    qkv: Product
    out: Product
    gate_up: Product
    down: Product
    gain1: Tensor
    gain2: Tensor
    shift1: Tensor | None = None
    shift2: Tensor | None = None
    gate1: Tensor | None = None
    gate2: Tensor | None = None
    cross: _CrossAttention | None = None


@dataclass
class _CrossAttention:
    """The tensors and products of a layer's cross-attention."""

    keys: Tensor
    values: Tensor
    gain: Tensor
    q: Product
    out: Product


class IncrementalDecoder:
    """A transformer in eval mode with its conditions and the cache that it fills.

    Args:
        table: the ``rotary`` table (2, N, D) of all positions.
        rows: B.
        modulation: the result of ``Transformer.modulate``.
        memory: the result of ``Transformer.project_memory``.
        memory_mask: bool (B, L), true = attend.
    """

    def __init__(
        self,
        transformer: Transformer,
        cache: Cache,
        table: Tensor,
        rows: int,
        *,
        modulation: Modulation | None = None,
        memory: Memory | None = None,
        memory_mask: Tensor | None = None,
    ) -> None:
        config = transformer.config
        self.cache, self.heads = cache, config.heads
        self.root = math.sqrt(config.width)
        self.floor = torch.full(
            (), math.sqrt(config.width * EPS), device=transformer.norm.weight.device
        )
        self.mask = None if memory_mask is None else memory_mask[:, None, None, :]
        self.gain = transformer.norm.weight.float() * self.root
        self.rotations = _rotations(table).to(cache.stores[0].dtype)
        self.layers = [
            self._layer(
                block,
                cache.stores[number],
                rows,
                None if modulation is None else modulation[number],
                None if memory is None else memory[number],
            )
            for number, block in enumerate(transformer.blocks)
        ]

    def _layer(
        self,
        block: Block,
        store: Tensor,
        rows: int,
        modulation: tuple[Tensor, ...] | None,
        memory: tuple[Tensor, Tensor] | None,
    ) -> _Layer:
        layer = _Layer(
            store,
            qkv=packed_linear(block.qkv.weight, rows),
            out=packed_linear(block.out.weight, rows),
            gate_up=packed_linear(block.gate_up.weight, rows),
            down=packed_linear(block.down.weight, rows),
            gain1=block.norm1.weight.float() * self.root,
            gain2=block.norm2.weight.float() * self.root,
        )
        if modulation is not None:
            shift1, scale1, gate1, shift2, scale2, gate2 = (part.squeeze(1) for part in modulation)
            layer.gain1, layer.gain2 = layer.gain1 * scale1, layer.gain2 * scale2
            layer.shift1, layer.shift2 = shift1, shift2
            layer.gate1, layer.gate2 = gate1, gate2
        if memory is not None:
            layer.cross = _CrossAttention(
                *memory,
                gain=block.memory_norm.weight.float() * self.root,
                q=packed_linear(block.memory_q.weight, rows),
                out=packed_linear(block.memory_out.weight, rows),
            )
        return layer

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the features (B, C) of the next position, whose embedding is ``x`` (B, C).

        The position is ``cache.length``, which is increased by one.
        """
        position = self.cache.length

        def attend(rotated: Tensor, store: Tensor) -> Tensor:
            store[:, :, :, position] = rotated[:, 1:].transpose(0, 1)
            return _attend(rotated[:, 0], store, position + 1)

        x = self._through(x, self.rotations[:, position], attend)
        self.cache.length = position + 1
        return x

    def _through(
        self, x: Tensor, rotations: Tensor, attend: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Return the features (B, C) of a position after all layers.

        ``rotations`` (2, 3, 1, D) are those of the position. ``attend`` takes the rotated queries,
        keys and values and a layer's store, writes keys and values to it, and returns the mixed
        values (B, C).
        """
        rows, width = x.shape
        heads, size = self.heads, width // self.heads
        cos, sin = rotations
        for layer in self.layers:
            h = _norm(x, layer.gain1, layer.shift1, self.floor)
            qkv = layer.qkv(h).view(rows, 3, heads, size)
            rotated = torch.addcmul(qkv * cos, qkv.roll(size // 2, -1), sin)
            x = _add(x, layer.out(attend(rotated, layer.store)), layer.gate1)
            if (cross := layer.cross) is not None:
                h = _norm(x, cross.gain, None, self.floor)
                q = cross.q(h).view(rows, heads, 1, size)
                mixed = F.scaled_dot_product_attention(
                    q, cross.keys, cross.values, attn_mask=self.mask
                )
                x = x + cross.out(mixed.reshape(rows, width))
            h = _norm(x, layer.gain2, layer.shift2, self.floor)
            gate, up = layer.gate_up(h).chunk(2, -1)
            x = _add(x, layer.down(F.silu(gate).mul_(up)), layer.gate2)
        return _norm(x, self.gain, None, self.floor)


def _rotations(table: Tensor) -> Tensor:
    """Return a ``rotary`` table (2, N, D) for query, key and value at once, (2, N, 3, 1, D).

    The factors of the query include the scale of the attention; those of the value are neutral.
    """
    cos, sin = table.double()
    scale = table.shape[-1] ** -0.5
    both = [
        torch.stack([scale * cos, cos, torch.ones_like(cos)], 1),
        torch.stack([scale * sin, sin, torch.zeros_like(sin)], 1),
    ]
    return torch.stack(both).unsqueeze(3)


def _attend(q: Tensor, store: Tensor, count: int) -> Tensor:
    """Return the attention (B, H D) of scaled queries (B, H, D) to a store's first positions.

    The store has keys and values (2, B, H, N, D), of which the first ``count`` positions are used.
    """
    rows, heads, size = q.shape
    if q.device.type != "cpu":
        keys, values = store[:, :, :, :count]
        mixed = F.scaled_dot_product_attention(q.unsqueeze(2), keys, values, scale=1.0)
        return mixed.reshape(rows, heads * size)
    # For a single query, these products are several times as fast on a CPU as torch's SDPA. The
    # fastest form depends on the type: float32 needs the query as a row, bfloat16 as a column. In
    # bfloat16, parts that are not contiguous are copied first, so that the product with half of a
    # store takes as long as that with the whole store.
    keys, values = store.view(2, rows * heads, -1, size)
    whole = q.dtype != torch.float32 and 2 * count >= keys.shape[1]
    if not whole:
        keys, values = keys[:, :count], values[:, :count]
    if q.dtype == torch.float32:
        scores = torch.bmm(q.reshape(rows * heads, 1, size), keys.transpose(1, 2))
    else:
        scores = torch.bmm(keys, q.reshape(rows * heads, size, 1)).view(rows * heads, 1, -1)
    if whole:
        scores[:, :, count:] = -torch.inf
    return torch.bmm(scores.softmax(-1), values).view(rows, heads * size)


def _norm(x: Tensor, gain: Tensor, shift: Tensor | None, floor: Tensor) -> Tensor:
    """Return the RMSNorm of x (B, C), shifted.

    The gain (C,) or (B, C) includes sqrt(C), and ``floor`` is sqrt(C eps).
    """
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    factor = gain / length.hypot(floor)
    h = x * factor if shift is None else torch.addcmul(shift, x, factor)
    return h.to(x.dtype)


def _add(x: Tensor, h: Tensor, gate: Tensor | None) -> Tensor:
    """Add the output h (B, C) of a branch, gated, to x (B, C)."""
    return x + h if gate is None else torch.addcmul(x, gate, h)
