"""The names of weights: each family's, and those of ``core.networks.vqgan``.

A table is a list of pairs of templates, theirs and ours, each the name of a module. ``{i}`` is a
level (0 is the finest), ``{r}`` the same level counted from the coarsest, ``{j}`` the number of a
block. Attentions are split here into q, k and v, as in all families; ``join_attention`` makes the
one convolution of ours from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_SPATIAL = (("norm_layer", "norm"), ("conv_y", "scale"), ("conv_b", "shift"))


@dataclass(frozen=True)
class Table:
    """The names of a family."""

    pairs: tuple[tuple[str, str], ...]

    def to_ours(self, name: str, levels: int) -> str | None:
        """Return our name of a module of theirs; None for one that the family does not have."""
        return _translate(name, self.pairs, levels)

    def to_theirs(self, name: str, levels: int) -> str | None:
        """Return their name of a module of ours."""
        return _translate(name, tuple((ours, theirs) for theirs, ours in self.pairs), levels)


def _translate(name: str, pairs: tuple[tuple[str, str], ...], levels: int) -> str | None:
    for source, target in pairs:
        found = re.fullmatch(re.sub(r"\\{(\w)\\}", r"(?P<\1>\\d{1,3})", re.escape(source)), name)
        if found is not None:
            numbers = {key: int(value) for key, value in found.groupdict().items()}
            for key, other in (("i", "r"), ("r", "i")):
                if key in numbers:
                    numbers.setdefault(other, levels - 1 - numbers[key])
            return target.format(**numbers)
    return None


def _block(theirs: str, ours: str, skip: str = "nin_shortcut", spatial: bool = False) -> list:
    pairs = [
        (f"{theirs}.{leaf}", f"{ours}.{leaf}") for leaf in ("norm1", "conv1", "norm2", "conv2")
    ]
    pairs.append((f"{theirs}.{skip}", f"{ours}.skip"))
    if spatial:
        pairs += [
            (f"{theirs}.{norm}.{a}", f"{ours}.{norm}.{b}")
            for norm in ("norm1", "norm2")
            for a, b in _SPATIAL
        ]
    return pairs


def _attention(
    theirs: str, ours: str, leaves: tuple[str, ...] = ("norm", "q", "k", "v", "proj_out")
) -> list:
    return [
        (f"{theirs}.{a}", f"{ours}.{b}")
        for a, b in zip(leaves, ("norm", "q", "k", "v", "out"), strict=True)
    ]


def _ends(norm: str = "norm_out", quant: bool = True) -> list:
    pairs = [
        (f"{part}.{theirs}", f"{part}.{ours}")
        for part in ("encoder", "decoder")
        for theirs, ours in (("conv_in", "conv_in"), (norm, "norm_out"), ("conv_out", "conv_out"))
    ]
    if quant:
        pairs.append(("quant_conv", "encoder.quant_conv"))
        pairs.append(("post_quant_conv", "decoder.post_quant_conv"))
    return pairs


def _taming() -> list:
    pairs = _ends()
    for part, side in (("encoder", "down"), ("decoder", "up")):
        level = f"{part}.levels.{{i}}"
        pairs += _block(f"{part}.{side}.{{i}}.block.{{j}}", f"{level}.blocks.{{j}}")
        pairs += _attention(f"{part}.{side}.{{i}}.attn.{{j}}", f"{level}.attentions.{{j}}")
        pairs.append((f"{part}.{side}.{{i}}.{side}sample.conv", f"{level}.resample.conv"))
        pairs += _block(f"{part}.mid.block_1", f"{part}.middle.blocks.0")
        pairs += _block(f"{part}.mid.block_2", f"{part}.middle.blocks.1")
        pairs += _attention(f"{part}.mid.attn_1", f"{part}.middle.attention")
    return pairs


def _llamagen() -> list:
    pairs = _ends()
    for part, number, side in (("encoder", "{i}", "down"), ("decoder", "{r}", "up")):
        theirs, level = f"{part}.conv_blocks.{number}", f"{part}.levels.{{i}}"
        pairs += _block(f"{theirs}.res.{{j}}", f"{level}.blocks.{{j}}")
        pairs += _attention(f"{theirs}.attn.{{j}}", f"{level}.attentions.{{j}}")
        pairs.append((f"{theirs}.{side}sample.conv", f"{level}.resample.conv"))
        pairs += _block(f"{part}.mid.0", f"{part}.middle.blocks.0")
        pairs += _attention(f"{part}.mid.1", f"{part}.middle.attention")
        pairs += _block(f"{part}.mid.2", f"{part}.middle.blocks.1")
    return pairs


def _diffusers() -> list:
    pairs = _ends(norm="conv_norm_out")
    leaves = ("group_norm", "to_q", "to_k", "to_v", "to_out.0")
    old = ("group_norm", "query", "key", "value", "proj_attn")  # before diffusers 0.15
    for part, number, side in (("encoder", "{i}", "down"), ("decoder", "{r}", "up")):
        theirs, level = f"{part}.{side}_blocks.{number}", f"{part}.levels.{{i}}"
        middle = f"{part}.middle"
        spatial = part == "decoder"
        skip = "conv_shortcut"
        pairs += _block(f"{theirs}.resnets.{{j}}", f"{level}.blocks.{{j}}", skip, spatial)
        pairs += _block(f"{part}.mid_block.resnets.{{j}}", f"{middle}.blocks.{{j}}", skip, spatial)
        for names in (leaves, old):
            pairs += _attention(f"{theirs}.attentions.{{j}}", f"{level}.attentions.{{j}}", names)
            pairs += _attention(f"{part}.mid_block.attentions.0", f"{middle}.attention", names)
        pairs.append((f"{theirs}.{side}samplers.0.conv", f"{level}.resample.conv"))
        if spatial:
            for a, b in _SPATIAL:
                norm = f"spatial_norm.{a}", f"norm.{b}"
                pairs.append(
                    (f"{theirs}.attentions.{{j}}.{norm[0]}", f"{level}.attentions.{{j}}.{norm[1]}")
                )
                pairs.append(
                    (f"{part}.mid_block.attentions.0.{norm[0]}", f"{middle}.attention.{norm[1]}")
                )
                pairs.append((f"{part}.conv_norm_out.{a}", f"{part}.norm_out.{b}"))
    return pairs


def _improved() -> list:
    pairs = _ends(quant=False)
    for part, side in (("encoder", "down"), ("decoder", "up")):
        level = f"{part}.levels.{{i}}"
        pairs += _block(f"{part}.{side}.{{i}}.block.{{j}}", f"{level}.blocks.{{j}}")
        pairs += _block(f"{part}.mid_block.{{j}}", f"{part}.middle.blocks.{{j}}")
    pairs.append(("encoder.down.{i}.downsample", "encoder.levels.{i}.resample.conv"))
    pairs.append(("decoder.up.{i}.upsample.conv1", "decoder.levels.{i}.resample.conv"))
    pairs.append(("decoder.adaptive.{i}.gamma", "decoder.levels.{i}.adaptive.scale"))
    pairs.append(("decoder.adaptive.{i}.beta", "decoder.levels.{i}.adaptive.shift"))
    return pairs


def _maskgit() -> list:
    pairs = _ends(quant=False)
    for part, side in (("encoder", "down"), ("decoder", "up")):
        level = f"{part}.levels.{{i}}"
        pairs += _block(f"{part}.{side}.{{i}}.block.{{j}}", f"{level}.blocks.{{j}}")
        pairs += _block(f"{part}.mid.{{j}}", f"{part}.middle.blocks.{{j}}")
    pairs.append(("decoder.up.{i}.upsample_conv", "decoder.levels.{i}.resample.conv"))
    return pairs


_QUANTIZERS = [
    ("quantize.embedding", "quantizer.codes"),
    ("quantize.embedding_proj", "quantizer.projection"),
    ("quantize.embed", "quantizer.codes"),
    ("quantize.proj", "quantizer.head"),
]

TAMING = Table((*_taming(), *_QUANTIZERS))
LLAMAGEN = Table((*_llamagen(), *_QUANTIZERS))
DIFFUSERS = Table((*_diffusers(), *_QUANTIZERS))
IMPROVED = Table((*_improved(), *_QUANTIZERS))
MASKGIT = Table((*_maskgit(), *_QUANTIZERS))


def join_attention(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state with the q, k and v of each attention as one ``qkv``; linear layers become
    convolutions."""
    joined: dict[str, Tensor] = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        parent, _, part = module.rpartition(".")
        if ".attention" in parent and part in ("q", "k", "v", "out") and leaf == "weight":
            tensor = tensor.reshape(*tensor.shape[:2], 1, 1)
        if ".attention" in parent and part in ("q", "k", "v"):
            if part == "q":
                rest = [state.get(f"{parent}.{other}.{leaf}") for other in ("k", "v")]
                parts = [tensor, *(each.reshape(tensor.shape) for each in rest if each is not None)]
                joined[f"{parent}.qkv.{leaf}"] = torch.cat(parts)
        else:
            joined[name] = tensor
    return joined


def split_attention(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state with the ``qkv`` of each attention as q, k and v, and linear layers instead of
    1x1 convolutions, as diffusers has them."""
    split: dict[str, Tensor] = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        parent, _, part = module.rpartition(".")
        if ".attention" in parent and part in ("qkv", "out"):
            tensor = tensor.flatten(1) if leaf == "weight" else tensor
        if part == "qkv":
            for other, third in zip("qkv", tensor.chunk(3), strict=True):
                split[f"{parent}.{other}.{leaf}"] = third
        else:
            split[name] = tensor
    return split
