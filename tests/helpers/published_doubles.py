"""LlamaGen's tokenizer as its file names and computes it, written from
``published-checkpoints.md``: its code is on no package index.

Weights are a dictionary, and each function computes by their names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTHS, BLOCKS, Z, DIM, CODES = (32, 32, 64), 2, 24, 8, 60
State = dict[str, Tensor]


def llamagen_state(seed: int = 0) -> State:
    """Random weights: every layer of a small tokenizer of LlamaGen's kind."""
    draw = torch.Generator().manual_seed(seed)
    state: State = {}

    def conv(name: str, width_in: int, width_out: int, side: int) -> None:
        scale = (width_in * side * side) ** -0.5
        shape = (width_out, width_in, side, side)
        state[f"{name}.weight"] = torch.randn(shape, generator=draw) * scale
        state[f"{name}.bias"] = torch.randn(width_out, generator=draw) * 0.1

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = 1 + torch.randn(width, generator=draw) * 0.1
        state[f"{name}.bias"] = torch.randn(width, generator=draw) * 0.1

    def block(name: str, width_in: int, width_out: int) -> None:
        norm(f"{name}.norm1", width_in)
        conv(f"{name}.conv1", width_in, width_out, 3)
        norm(f"{name}.norm2", width_out)
        conv(f"{name}.conv2", width_out, width_out, 3)
        if width_in != width_out:
            conv(f"{name}.nin_shortcut", width_in, width_out, 1)

    def attention(name: str, width: int) -> None:
        norm(f"{name}.norm", width)
        for leaf in ("q", "k", "v", "proj_out"):
            conv(f"{name}.{leaf}", width, width, 1)

    def part(name: str, order: tuple[int, ...], blocks: int, resample: str) -> None:
        if name == "encoder":
            conv("encoder.conv_in", 3, WIDTHS[0], 3)
        else:
            conv("decoder.conv_in", Z, WIDTHS[-1], 3)
        width = order[0]
        for level, wide in enumerate(order):
            for index in range(blocks):
                block(f"{name}.conv_blocks.{level}.res.{index}", width, wide)
                width = wide
                coarsest = level == (len(order) - 1 if name == "encoder" else 0)
                if coarsest:
                    attention(f"{name}.conv_blocks.{level}.attn.{index}", wide)
            if level < len(order) - 1:
                conv(f"{name}.conv_blocks.{level}.{resample}.conv", wide, wide, 3)
        for index in (0, 2):
            block(f"{name}.mid.{index}", WIDTHS[-1], WIDTHS[-1])
        attention(f"{name}.mid.1", WIDTHS[-1])
        norm(f"{name}.norm_out", order[-1])
        conv(f"{name}.conv_out", order[-1], Z if name == "encoder" else 3, 3)

    part("encoder", WIDTHS, BLOCKS, "downsample")
    part("decoder", WIDTHS[::-1], BLOCKS + 1, "upsample")
    conv("quant_conv", Z, DIM, 1)
    conv("post_quant_conv", DIM, Z, 1)
    state["quantize.embedding.weight"] = torch.randn(CODES, DIM, generator=draw) * 3
    state["quantize.codebook_used"] = torch.zeros(65536)
    return state


class LlamaGen:
    """The computation of such a state."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.codes = F.normalize(state["quantize.embedding.weight"], dim=-1, eps=1e-12)

    def conv(self, name: str, x: Tensor, **how: int) -> Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], **how)

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.group_norm(x, 32, weight, bias, eps=1e-6)

    def block(self, name: str, x: Tensor) -> Tensor:
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x)), padding=1)
        h = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", h)), padding=1)
        skip = f"{name}.nin_shortcut"
        return h + (self.conv(skip, x) if f"{skip}.weight" in self.state else x)

    def attention(self, name: str, x: Tensor) -> Tensor:
        h = self.norm(f"{name}.norm", x)
        q, k, v = (self.conv(f"{name}.{leaf}", h).flatten(2) for leaf in "qkv")
        weights = (q.transpose(1, 2) @ k * x.shape[1] ** -0.5).softmax(-1)  # query, key
        found = torch.einsum("bcj,bij->bci", v, weights).reshape(x.shape)
        return x + self.conv(f"{name}.proj_out", found)

    def part(self, name: str, x: Tensor, blocks: int) -> Tensor:
        for level in range(len(WIDTHS)):
            at = f"{name}.conv_blocks.{level}"
            for index in range(blocks):
                x = self.block(f"{at}.res.{index}", x)
                if f"{at}.attn.{index}.norm.weight" in self.state:
                    x = self.attention(f"{at}.attn.{index}", x)
            if f"{at}.downsample.conv.weight" in self.state:
                x = self.conv(f"{at}.downsample.conv", F.pad(x, (0, 1, 0, 1)), stride=2)
            if f"{at}.upsample.conv.weight" in self.state:
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
                x = self.conv(f"{at}.upsample.conv", x, padding=1)
        return x

    def middle(self, name: str, x: Tensor) -> Tensor:
        x = self.block(f"{name}.mid.0", x)
        return self.block(f"{name}.mid.2", self.attention(f"{name}.mid.1", x))

    def latents(self, images: Tensor) -> Tensor:
        x = self.part("encoder", self.conv("encoder.conv_in", images, padding=1), BLOCKS)
        x = F.silu(self.norm("encoder.norm_out", self.middle("encoder", x)))
        return self.conv("quant_conv", self.conv("encoder.conv_out", x, padding=1))

    def ids(self, latents: Tensor) -> Tensor:
        rows = F.normalize(latents.permute(0, 2, 3, 1), dim=-1, eps=1e-12)
        return (rows @ self.codes.t()).argmax(-1)

    def paint(self, ids: Tensor) -> Tensor:
        x = self.conv("post_quant_conv", self.codes[ids].permute(0, 3, 1, 2))
        x = self.middle("decoder", self.conv("decoder.conv_in", x, padding=1))
        x = F.silu(self.norm("decoder.norm_out", self.part("decoder", x, BLOCKS + 1)))
        return self.conv("decoder.conv_out", x, padding=1).clamp(-1, 1)
