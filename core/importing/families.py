"""The families of published tokenizers: recognized by the names of their weights, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import CheckpointError
from . import names
from .names import Table


@dataclass(frozen=True)
class Family:
    """The facts on a family that the names and shapes of the weights do not state."""

    name: str
    title: str
    table: Table
    quantizer: Literal["vq", "vq-cosine", "gumbel", "simvq", "lfq", "ibq"] = "vq"
    value_range: Literal["signed", "unit"] = "signed"
    downsample: Literal["asymmetric", "symmetric", "average"] = "asymmetric"
    skip: Literal["input", "output"] = "input"
    depth_first: bool = False
    """True if depth-to-space reads its channels as (dy, dx, c), not as PixelShuffle's (c, dy, dx):
    the convolution's channels are then reordered once."""


TAMING = Family(
    "taming",
    "VQGAN of taming-transformers or first stage of latent diffusion (arXiv 2012.09841, "
    "2112.10752)",
    names.TAMING,
)
GUMBEL = Family(
    "taming-gumbel", "Gumbel-VQGAN of taming-transformers", names.TAMING, quantizer="gumbel"
)
IBQ = Family("ibq", "IBQ (arXiv 2412.02692)", names.TAMING, quantizer="ibq")
LLAMAGEN = Family(
    "llamagen", "LlamaGen's tokenizer (arXiv 2406.06525)", names.LLAMAGEN, quantizer="vq-cosine"
)
VQMODEL = Family("vqmodel", "VQModel of diffusers", names.DIFFUSERS)
AMUSED = Family(
    "amused", "aMUSEd's VQModel (arXiv 2401.01808)", names.DIFFUSERS, value_range="unit"
)
MOVQ = Family("movq", "MoVQ (arXiv 2209.09002), a VQModel of diffusers", names.DIFFUSERS)
SIMVQ = Family(
    "simvq", "SimVQ (arXiv 2411.02038)", names.IMPROVED, "simvq", "signed", "symmetric", "input",
    depth_first=True,
)  # fmt: skip
MAGVIT = Family(
    "open-magvit2", "Open-MAGVIT2 (arXiv 2409.04410)", names.IMPROVED, "lfq", "signed", "symmetric",
    "input", depth_first=True,
)  # fmt: skip
MASKGIT = Family(
    "maskgit", "MaskGIT's VQGAN (arXiv 2202.04200)", names.MASKGIT, "vq", "unit", "average",
    "output",
)  # fmt: skip

FAMILIES = {
    family.name: family
    for family in (
        TAMING, GUMBEL, LLAMAGEN, VQMODEL, AMUSED, MOVQ, IBQ, SIMVQ, MAGVIT, MASKGIT
    )
}  # fmt: skip
NEAREST = ("vq", "vq-cosine", "ibq")
"""Quantizers that have the same weights: only a config or ``--quantizer`` tells them apart."""

_REFUSED = (
    (r"quantize\.(quant_resi|ema_vocab_hit_SV)\b.*",
     "it is VAR's tokenizer, which codes a picture as ten residual maps of growing size and not as "
     "one grid of tokens"),
    (r"(.*\.)?(latent_tokens?|latent_token_positional_embedding|mask_token)",
     "it is TiTok's or another tokenizer of 1-D tokens, which have no place in the picture"),
    (r"(quantizer?|codebook)s?\.(quantizers|codebooks?|layers|embeddings)\.\d+\..*",
     "it has several codebooks, and a position here has one token"),
    (r"quantize\.used",
     "its ids are remapped to a part of the codebook (quantize.used); give the checkpoint of the "
     "first stage itself"),
    (r"encoder\.(transformer|blocks|patch_embed|embeddings)\..*",
     "its encoder is a transformer, and only VQ-GAN's networks are known here"),
)  # fmt: skip


def family_of(
    state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], file: Any, blocks: int
) -> Family | None:
    """Return the family by the names of the weights; None if it is taming's or IBQ's, which have
    the same ones (``blocks`` residual blocks per level: IBQ's tokenizers have 4, taming's 2).

    Raises CheckpointError for one that cannot be opened, with the reason.
    """
    for pattern, reason in _REFUSED:
        if any(re.fullmatch(pattern, name) for name in state):
            raise CheckpointError(f"{file} cannot be imported: {reason}.")

    def has(start: str) -> bool:
        return any(name.startswith(start) for name in state)

    codebook = "quantize.embedding.weight" in state or "quantize.embed.weight" in state
    if has("encoder.down_blocks.") and codebook:
        if any(".conv_y." in name for name in state):
            return MOVQ
        return VQMODEL if has("encoder.mid_block.attentions.") else AMUSED
    if has("encoder.conv_blocks.") and codebook:
        return LLAMAGEN
    if has("quantize.embedding_proj."):
        return SIMVQ
    if has("encoder.mid_block.") and not codebook and has("encoder.down."):
        return MAGVIT
    if has("quantize.proj."):
        return GUMBEL
    if any(re.fullmatch(r"decoder\.up\.\d+\.upsample_conv\.weight", name) for name in state):
        return MASKGIT
    if has("encoder.down.") and has("quant_conv.") and codebook:
        return TAMING if blocks < 4 else None
    if has("encoder.down") and not codebook:
        raise CheckpointError(
            f"{file} cannot be imported: it has no codebook, so it is a continuous autoencoder "
            "(KL), or a part is missing."
        )
    raise CheckpointError(
        f"{file} is of no known family (its names start like "
        f"{', '.join(repr(name[:40]) for name in list(state)[:2]) or 'nothing'}); known: "
        f"{', '.join(FAMILIES)}."
    )
