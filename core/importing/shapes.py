"""The sizes of a network and a quantizer, read from the shapes of their weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..errors import CheckpointError
from ..networks.vqgan import VQGANConfig
from ..quantizers import (
    GumbelConfig,
    IBQConfig,
    LFQConfig,
    QuantizerConfig,
    SimVQConfig,
    VQConfig,
)
from .families import Family

Shapes = Mapping[str, tuple[int, ...]]
MAX_LEVELS, MAX_BLOCKS, MAX_WIDTH, MAX_BITS = 8, 32, 8192, 20


def network_of(shapes: Shapes, family: Family, groups: int, file: object) -> VQGANConfig:
    """Return the network's config. ``shapes`` has our names, attentions split into q, k and v.

    Raises CheckpointError if the weights that tell a size are missing or impossible.
    """
    levels = _count(shapes, r"encoder\.levels\.(\d+)\..*", MAX_LEVELS, "levels", file)

    def blocks(part: str) -> int:
        pattern = rf"{part}\.levels\.0\.blocks\.(\d+)\..*"
        return _count(shapes, pattern, MAX_BLOCKS, f"{part} blocks", file)

    def shape(name: str, axes: int = 4) -> tuple[int, ...]:
        found = shapes.get(name)
        if found is None:
            raise CheckpointError(f"{file} lacks weights: {name} (in our names) is missing.")
        if len(found) != axes or not 0 < found[0] <= MAX_WIDTH:
            raise CheckpointError(f"{file}: {name} (in our names) has the shape {found[:8]}.")
        return found

    attention = [
        level
        for level in range(levels)
        if f"encoder.levels.{level}.attentions.0.q.weight" in shapes
    ]
    out = shape("encoder.conv_out.weight")
    quant = "encoder.quant_conv.weight" in shapes
    up = shapes.get("decoder.levels.1.resample.conv.weight", (1, 1))
    norm = "group"
    if any(name.startswith("decoder.levels.0.adaptive.") for name in shapes):
        norm = "adaptive"
    elif "decoder.norm_out.scale.weight" in shapes:
        norm = "spatial"
    middle = r"encoder\.middle\.blocks\.(\d+)\..*"
    try:
        return VQGANConfig(
            widths=tuple(
                shape(f"encoder.levels.{level}.blocks.0.conv2.weight")[0] for level in range(levels)
            ),
            blocks=blocks("encoder"),
            decoder_blocks=blocks("decoder"),
            attention_levels=tuple(attention),
            middle_blocks=_count(shapes, middle, MAX_BLOCKS, "middle blocks", file),
            middle_attention="encoder.middle.attention.q.weight" in shapes,
            groups=groups,
            z_channels=out[0],
            latent_dim=shape("encoder.quant_conv.weight")[0] if quant else out[0],
            quant_conv=quant,
            bias="encoder.levels.0.blocks.0.conv1.bias" in shapes,
            out_kernel=3 if out[-1] == 3 else 1,
            downsample=family.downsample,
            upsample="depth_to_space" if up[0] == 4 * up[1] else "nearest",
            decoder_norm=norm,
            skip=family.skip,
        )
    except ValueError as error:
        raise CheckpointError(f"{file} does not describe a network: {error}.") from None


def quantizer_of(shapes: Shapes, name: str, network: VQGANConfig, file: object) -> QuantizerConfig:
    """Return the config of the quantizer called ``name`` (a ``Family.quantizer``)."""
    if name == "lfq":
        bits = network.latent_dim
        if bits > MAX_BITS:
            raise CheckpointError(
                f"{file} cannot be imported: codes of {bits} bits are {2**bits:,}, and at most "
                f"{2**MAX_BITS:,} are known here."
            )
        return LFQConfig(size=2**bits)
    codes = shapes.get("quantizer.codes.weight", ())
    if len(codes) != 2 or codes[1] != network.latent_dim or not codes[0]:
        raise CheckpointError(
            f"{file} does not fit: its codebook has the shape {codes[:8]}, and latents have "
            f"{network.latent_dim} channels."
        )
    configs: dict[str, QuantizerConfig] = {
        "vq": VQConfig(size=codes[0]),
        "vq-cosine": VQConfig(size=codes[0], distance="cosine"),
        "gumbel": GumbelConfig(size=codes[0]),
        "simvq": SimVQConfig(size=codes[0]),
        "ibq": IBQConfig(size=codes[0]),
    }
    return configs[name]


def _count(names: Iterable[str], pattern: str, most: int, what: str, file: object) -> int:
    found = {int(hit[1]) for name in names if (hit := re.fullmatch(pattern, name))}
    if not found:
        raise CheckpointError(f"{file} lacks weights: it has no {what}.")
    if found != set(range(len(found))) or len(found) > most:
        raise CheckpointError(f"{file} lacks weights: its {what} are {sorted(found)[:most]}.")
    return len(found)
