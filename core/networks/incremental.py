"""One position at a time through a causal transformer, in as few operations as it takes.

What ``Transformer.forward`` computes with a cache and a single position, written out: for a few
rows the weights are read faster than modules, views and norms are dispatched, so that those would
take as long as the matrices. The norms' factors are put together once for all positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .packed_linear import Product, packed_linear
from .transformer import Cache, Memory, Modulation, Transformer


@dataclass
class _Layer:
    """What a layer needs; the gains are the norms' weights times their modulation times sqrt(C),
    in float32, so that a norm is a division by a length."""

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
    memory: tuple[Tensor, Tensor] | None = None
    memory_gain: Tensor | None = None
    memory_q: Product | None = None
    memory_out: Product | None = None


class IncrementalDecoder:
    """A transformer in eval mode, what it is told, and the cache that it goes on filling.

    Args:
        table: the ``rotary`` table (2, N, D) of all positions.
        rows: B.
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
        self.floor = torch.tensor(
            math.sqrt(config.width * transformer.norm.eps), device=transformer.norm.weight.device
        )
        self.mask = None if memory_mask is None else memory_mask[:, None, None, :]
        self.gain = transformer.norm.weight.float() * self.root
        self.turns = _turns(table).to(cache.stores[0].dtype)
        self.layers = []
        for number, block in enumerate(transformer.blocks):
            layer = _Layer(
                cache.stores[number],
                *(
                    packed_linear(matrix.weight, rows)
                    for matrix in (block.qkv, block.out, block.gate_up, block.down)
                ),
                block.norm1.weight.float() * self.root,
                block.norm2.weight.float() * self.root,
            )
            if modulation is not None:
                shift1, scale1, gate1, shift2, scale2, gate2 = (
                    part.squeeze(1) for part in modulation[number]
                )
                layer.gain1, layer.gain2 = layer.gain1 * scale1, layer.gain2 * scale2
                layer.shift1, layer.shift2 = shift1, shift2
                layer.gate1, layer.gate2 = gate1, gate2
            if memory is not None:
                layer.memory = memory[number]
                layer.memory_gain = block.memory_norm.weight.float() * self.root
                layer.memory_q = packed_linear(block.memory_q.weight, rows)
                layer.memory_out = packed_linear(block.memory_out.weight, rows)
            self.layers.append(layer)

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """Features (B, C) of the position ``cache.begin``, which is moved on by one, of its
        embedding ``x`` (B, C)."""
        at = self.cache.begin

        def attend(turned: Tensor, store: Tensor) -> Tensor:
            store[:, :, :, at] = turned[:, 1:].transpose(0, 1)
            return _attend(turned[:, 0], store, at + 1)

        x = self._through(x, self.turns[:, at], attend)
        self.cache.begin = at + 1
        return x

    def _through(
        self, x: Tensor, turns: Tensor, attend: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """All layers, with the turns (2, 3, 1, D) of the position; ``attend`` puts its keys and
        values where they belong and mixes the values (B, C)."""
        rows, width = x.shape
        heads, size = self.heads, width // self.heads
        cos, sin = turns
        for layer in self.layers:
            h = _norm(x, layer.gain1, layer.shift1, self.floor)
            qkv = layer.qkv(h).view(rows, 3, heads, size)
            turned = torch.addcmul(qkv * cos, qkv.roll(size // 2, -1), sin)
            x = _add(x, layer.out(attend(turned, layer.store)), layer.gate1)
            if layer.memory is not None:
                h = _norm(x, layer.memory_gain, None, self.floor)
                q = layer.memory_q(h).view(rows, heads, 1, size)
                mixed = F.scaled_dot_product_attention(q, *layer.memory, attn_mask=self.mask)
                x = x + layer.memory_out(mixed.reshape(rows, width))
            h = _norm(x, layer.gain2, layer.shift2, self.floor)
            gate, up = layer.gate_up(h).chunk(2, -1)
            x = _add(x, layer.down(F.silu(gate).mul_(up)), layer.gate2)
        return _norm(x, self.gain, None, self.floor)


def _turns(table: Tensor) -> Tensor:
    """A ``rotary`` table (2, N, D) for query, key and value at once, (2, N, 3, 1, D): the query's
    holds the scale of attention, the value's turns nothing."""
    cos, sin = table.double()
    scale = table.shape[-1] ** -0.5
    both = [
        torch.stack([scale * cos, cos, torch.ones_like(cos)], 1),
        torch.stack([scale * sin, sin, torch.zeros_like(sin)], 1),
    ]
    return torch.stack(both).unsqueeze(3)


def _attend(q: Tensor, store: Tensor, count: int) -> Tensor:
    """Attention of scaled queries (B, H, D) to the first ``count`` positions of a store of keys
    and values (2, B, H, N, D), (B, H D)."""
    rows, heads, size = q.shape
    if q.device.type != "cpu":
        keys, values = store[:, :, :, :count]
        mixed = F.scaled_dot_product_attention(q.unsqueeze(2), keys, values, scale=1.0)
        return mixed.reshape(rows, heads * size)
    # For a single query these are several times as fast as torch's SDPA on a processor, and which
    # of them is the fastest differs: float32 wants the query as a row, bfloat16 as a column, and
    # batches that lie apart in memory are copied first in bfloat16, so that half of a store takes
    # as long as the whole.
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
    """RMSNorm of x (B, C) with a gain (C,) or (B, C) that holds sqrt(C), and a shift; ``floor`` is
    sqrt(C eps)."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    factor = gain / length.hypot(floor)
    h = x * factor if shift is None else torch.addcmul(shift, x, factor)
    return h.to(x.dtype)


def _add(x: Tensor, h: Tensor, gate: Tensor | None) -> Tensor:
    """x (B, C) and what a branch h (B, C) adds to it, gated."""
    return x + h if gate is None else torch.addcmul(x, gate, h)
