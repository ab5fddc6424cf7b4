"""One position at a time through a causal transformer, in as few operations as it takes.

What ``Transformer.forward`` computes with a cache and a single position, written out: for a few
rows the weights are read faster than modules, views and norms are dispatched, so that those would
take as long as the matrices. The norms' factors are put together once for all positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.networks.transformer import Block, Cache, Memory, Modulation, Transformer


@dataclass
class _Layer:
    """What a layer needs; the gains are the norms' weights times their modulation times sqrt(C),
    in float32, so that a norm is a division by a length."""

    block: Block
    keys: Tensor
    values: Tensor
    gain1: Tensor
    gain2: Tensor
    shift1: Tensor | None = None
    shift2: Tensor | None = None
    gate1: Tensor | None = None
    gate2: Tensor | None = None
    memory_gain: Tensor | None = None
    memory: tuple[Tensor, Tensor] | None = None


class Decoder:
    """A transformer in eval mode, what it is told, and the cache that it goes on filling."""

    def __init__(
        self,
        transformer: Transformer,
        cache: Cache,
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
        self.layers = []
        for number, block in enumerate(transformer.blocks):
            layer = _Layer(
                block,
                *cache.layers[number],
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
            self.layers.append(layer)

    @torch.inference_mode()
    def __call__(self, x: Tensor, table: Tensor) -> Tensor:
        """Features (B, C) of the position ``cache.begin``, which is moved on by one.

        ``x`` (B, C): its embedding; ``table`` (2, D): its ``rotary`` entry.
        """
        rows, width = x.shape
        heads, size = self.heads, width // self.heads
        at = self.cache.begin
        cos, sin = table.to(x.dtype).unbind(0)
        for layer in self.layers:
            block = layer.block
            h = _norm(x, layer.gain1, layer.shift1, self.floor)
            qkv = _widen(h, block.qkv.weight).view(rows, 3, heads, size)
            pair = qkv[:, :2]
            turned = torch.addcmul(pair * cos, pair.roll(size // 2, -1), sin)
            layer.keys[:, :, at] = turned[:, 1]
            layer.values[:, :, at] = qkv[:, 2]
            mixed = F.scaled_dot_product_attention(
                turned[:, 0].unsqueeze(2), layer.keys[:, :, : at + 1], layer.values[:, :, : at + 1]
            )
            x = _add(x, mixed.reshape(rows, width), block.out.weight, layer.gate1)
            if layer.memory is not None:
                h = _norm(x, layer.memory_gain, None, self.floor)
                q = block.memory_q(h).view(rows, heads, 1, size)
                mixed = F.scaled_dot_product_attention(q, *layer.memory, attn_mask=self.mask)
                x = _add(x, mixed.reshape(rows, width), block.memory_out.weight, None)
            h = _norm(x, layer.gain2, layer.shift2, self.floor)
            gate, up = _widen(h, block.gate_up.weight).chunk(2, -1)
            x = _add(x, F.silu(gate).mul_(up), block.down.weight, layer.gate2)
        self.cache.begin = at + 1
        return _norm(x, self.gain, None, self.floor)


def _norm(x: Tensor, gain: Tensor, shift: Tensor | None, floor: Tensor) -> Tensor:
    """RMSNorm of x (B, C) with a gain (C,) or (B, C) that holds sqrt(C), and a shift; ``floor`` is
    sqrt(C eps)."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    factor = gain / length.hypot(floor)
    h = x * factor if shift is None else torch.addcmul(shift, x, factor)
    return h.to(x.dtype)


def _widen(h: Tensor, weight: Tensor) -> Tensor:
    """h (B, C) times a matrix (E, C) with more rows than columns, (B, E)."""
    if h.dtype == torch.float32 and h.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        # For a few rows the product of the other order reads such a matrix a quarter faster
        # (measured with MKL at 4 and 8 rows; not so in bfloat16 or for matrices that narrow).
        return (weight @ h.t()).t().contiguous()
    return F.linear(h, weight)


def _add(x: Tensor, h: Tensor, weight: Tensor, gate: Tensor | None) -> Tensor:
    """x (B, C) and what a branch's last matrix makes of h (B, E), gated."""
    if gate is None:
        return torch.addmm(x, h, weight.t())
    return torch.addcmul(x, gate, F.linear(h, weight))
