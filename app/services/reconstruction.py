"""A picture rewritten with codes: tokens, pictures and figures, remembered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from ..ui.pictures import ERROR_TOP, over_picture, png
from . import checkpoints
from .checkpoints import Model, Picture, one_at_a_time
from .code_stats import atlas

COLOURS = ("mean", "patch", "number")
"""How a token is painted: its code's mean colour, what its code paints, or its code's number."""
MAX_SEED = 2**31 - 1


Edits = tuple[tuple[int, int, int], ...]
"""(row, column, code) each: tokens that a visitor put another code in."""
Wanted = tuple[Model, Picture, float, int]
"""Checkpoint, picture, mask ratio and seed."""


@dataclass(frozen=True)
class Rewritten:
    """A picture and what its tokens paint, PNG files of one size: what one wants to see first."""

    original: bytes
    reconstruction: bytes


@dataclass(frozen=True)
class Reconstruction(Rewritten):
    """A picture rewritten with codes. The pictures are PNG files of one size."""

    error: bytes
    jpeg: bytes
    """The picture as JPEG gets it at no more bytes than the tokens take, if it can be so small."""
    figures: dict[str, Any]


def tokens_of(
    which: Model, picture: Picture, mask_ratio: float, seed: int, edits: Edits = ()
) -> np.ndarray:
    """The picture's tokens int64 (h, w), with a visitor's edits put in."""
    from regvq.analysis.token_edits import edited

    ids = checkpoints.tokens(which, picture, mask_ratio, seed).ids
    return edited(ids, edits, which.tokenizer.codebook_size) if edits else ids


@lru_cache(maxsize=12)
def rewritten(
    which: Model, picture: Picture, mask_ratio: float, seed: int, edits: Edits = ()
) -> Rewritten:
    """The picture through tokens and back."""
    ids = tokens_of(which, picture, mask_ratio, seed, edits)
    original = png(picture.image, effort=6)  # its size is one of the figures
    return Rewritten(original, png(checkpoints.painted(which, picture, ids)))


@lru_cache(maxsize=12)
def reconstruction(
    which: Model, picture: Picture, mask_ratio: float, seed: int, edits: Edits = ()
) -> Reconstruction:
    """The picture through tokens and back, and how much of it survived."""
    from regvq.analysis.rendering import color_error, error_map
    from regvq.images import open_picture, to_tensor
    from regvq.metrics.image_codecs import smallest, token_bytes, within
    from regvq.metrics.psnr_ssim import psnr, ssim

    tokenizer = which.tokenizer
    found = rewritten(which, picture, mask_ratio, seed, edits)
    ids = tokens_of(which, picture, mask_ratio, seed, edits)
    drawn = checkpoints.tokens(which, picture, mask_ratio, seed).drawn
    width, height = picture.image.size
    original = to_tensor(picture.image)
    # The figures are those of the picture that is shown: 8 bits a channel.
    result = to_tensor(open_picture(found.reconstruction))
    count = ids.size
    budget = token_bytes(count, tokenizer.codebook_size)
    jpeg, jpeg_small = within(picture.image, "jpeg", budget), smallest(picture.image, "jpeg")
    figures = {
        "psnr": float(psnr(original[None], result[None])[0]),
        "ssim": float(ssim(original[None], result[None])[0]) if min(width, height) >= 11 else None,
        "width": width,
        "height": height,
        "uploaded_width": picture.uploaded[0],
        "uploaded_height": picture.uploaded[1],
        "tokens": count,
        "tokens_wide": ids.shape[1],
        "tokens_high": ids.shape[0],
        "tokens_drawn": 0 if drawn is None else int(drawn.sum()),
        "codes_used": len(set(ids.flat)),
        "codebook_size": tokenizer.codebook_size,
        "downsampling": tokenizer.downsampling,
        "bits_per_token": math.log2(tokenizer.codebook_size),
        "bytes_tokens": budget,
        "bytes_png": len(found.original),
        "bytes_jpeg": _jpeg_bytes(picture.image, 75),
        "bytes_jpeg_smallest": jpeg_small.bytes,
        "bytes_jpeg_equal": jpeg.bytes,
        "psnr_jpeg_equal": float(psnr(original[None], to_tensor(jpeg.picture)[None])[0]),
        "tokens_edited": len({(row, column) for row, column, _ in edits}),
        "mask_ratio": mask_ratio,
        "seed": seed,
        "checkpoint": which.name,
    }
    # Identical pictures have no finite PSNR, and JSON knows no infinity.
    figures = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }
    error = Image.fromarray(color_error(error_map(original, result), top=ERROR_TOP))
    return Reconstruction(
        found.original, found.reconstruction, png(error), png(jpeg.picture), figures
    )


def _jpeg_bytes(picture: Image.Image, quality: int) -> int:
    import io

    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    return buffer.tell()


@lru_cache(maxsize=12)
def token_pngs(
    which: Model, picture: Picture, mask_ratio: float, seed: int, edits: Edits = ()
) -> dict[str, bytes]:
    """The token grid at the picture's size, without smoothing, in each of COLOURS."""
    from regvq.analysis.rendering import number_colors, token_picture

    ids = tokens_of(which, picture, mask_ratio, seed, edits)
    known, f, extent = atlas(which), which.tokenizer.downsampling, picture.image.size
    flat = {"mean": known["mean_color"], "number": number_colors(which.tokenizer.codebook_size)}
    painted = {
        name: over_picture(token_picture(ids, table), f, extent) for name, table in flat.items()
    }
    painted["patch"] = token_picture(ids, known["paints"])[: extent[1], : extent[0]]
    return {name: png(Image.fromarray(painted[name])) for name in COLOURS}


def wanted(image: Any, checkpoint: Any, mask_ratio: Any, seed: Any) -> Wanted:
    """What a visitor asked for, checked. Raises Refused or PictureError."""
    return (
        checkpoints.model(checkpoint),
        checkpoints.open_picture(image),
        checkpoints.number(mask_ratio, "mask ratio", 0, 1),
        checkpoints.whole_number(seed, "seed", 0, MAX_SEED),
    )


@one_at_a_time
def run(
    image: Any, checkpoint: Any, mask_ratio: Any = 0.0, seed: Any = 0, edits: Edits = ()
) -> tuple[Reconstruction, dict[str, bytes]]:
    """Check what a visitor asked for and do it: the reconstruction, and the token grids as PNG."""
    asked = wanted(image, checkpoint, mask_ratio, seed)
    return reconstruction(*asked, edits), token_pngs(*asked, edits)


def edits_of(asked: Wanted, kept: dict[str, Any] | None) -> Edits:
    """The edits of a visitor's session, if they are of this picture, checkpoint and draw."""
    return tuple(kept["edits"]) if kept and kept["of"] == signature(asked) else ()


def signature(asked: Wanted) -> list[Any]:
    """What edits belong to: of another picture they would be nonsense."""
    which, picture, ratio, seed = asked
    return [which.name, which.written, picture.digest, ratio, seed]
