"""A single token of a reconstruction: its code, its receptive field, other codes in its place."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .channels import image_of
from .code_stats import atlas
from .decoded_picture import Reconstruction, reconstruct
from .encoding import data_url
from .errors import UserError
from .model_lock import LOCK, one_at_a_time
from .reconstruction_request import Edits, ReconstructionRequest
from .tokenization import latents
from .validation import finite, whole_number

RUNNERS = 8
"""Number of most probable codes that are shown for a token."""


def one_level(request: ReconstructionRequest) -> ReconstructionRequest:
    """Return the request. Raises UserError for a checkpoint with several levels, whose single
    tokens are neither described nor replaced."""
    if request.handle.level is not None:
        raise UserError(
            f"{request.handle.bundle.name} has {request.handle.whole.levels} ids per position: "
            "single tokens of several levels cannot be looked at or replaced."
        )
    return request


def parse_edits(request: ReconstructionRequest, given: Any) -> Edits:
    """Return edits ``[[row, column, code], …]`` of an API client, checked. Raises UserError."""
    ids = request.ids
    if not isinstance(given, (list, tuple)):
        raise UserError("The edits must be a list of [row, column, code].")
    if len(given) > ids.size:
        raise UserError(
            f"There are {len(given):,} edits for a picture of {ids.size:,} tokens; "
            "give at most one per token."
        )
    (height, width), size = ids.shape, request.handle.tokenizer.codebook_size
    found = []
    for number, edit in enumerate(given, start=1):
        if not isinstance(edit, (list, tuple)) or len(edit) != 3:
            raise UserError(f"Edit {number} must be [row, column, code], not {str(edit)[:40]}.")
        row = whole_number(edit[0], f"row of edit {number}", 0, height - 1)
        column = whole_number(edit[1], f"column of edit {number}", 0, width - 1)
        code = whole_number(edit[2], f"code of edit {number}", 0, size - 1)
        found.append((row, column, code))
    return tuple(found)


@one_at_a_time
def apply_edits(
    request: ReconstructionRequest, edits: Any
) -> tuple[Reconstruction, dict[str, Any]]:
    """Return the picture decoded from edited tokens, and its figures. Raises UserError."""
    found = reconstruct(replace(request, edits=parse_edits(request, edits)))
    before = reconstruct(request)
    figures = {
        **found.figures,
        "psnr_before": before.quality["psnr"],
        "pixels_changed": _changed_pixels(before.decoded, found.decoded),
    }
    return found, figures


def _changed_pixels(before: bytes, after: bytes) -> float:
    """Return the share of the pixels of two PNG files that differ."""
    from regvq.images import open_picture

    one, two = (np.asarray(open_picture(data)) for data in (before, after))
    return float((one != two).any(axis=2).mean())


def parse_position(request: ReconstructionRequest, row: Any, column: Any) -> tuple[int, int]:
    """Return the row and column of a token, checked. Raises UserError."""
    height, width = request.ids.shape
    return whole_number(row, "row", 0, height - 1), whole_number(column, "column", 0, width - 1)


def replace_code(
    request: ReconstructionRequest, row: Any, column: Any, code: Any, undo_all: bool = False
) -> ReconstructionRequest:
    """Return the request with another code in one token; ``code`` None undoes that token's edit,
    ``undo_all`` every edit. Raises UserError."""
    with LOCK:
        row, column = parse_position(request, row, column)
        kept = [] if undo_all else [edit for edit in request.edits if edit[:2] != (row, column)]
        if code is not None:
            code = whole_number(code, "code", 0, request.handle.tokenizer.codebook_size - 1)
            if code != replace(request, edits=()).ids[row, column]:
                kept.append((row, column, code))
        return replace(request, edits=tuple(kept))


@one_at_a_time
def token_card(request: ReconstructionRequest, row: Any, column: Any) -> dict[str, Any]:
    """Return what the page draws of one token. Raises UserError."""
    from regvq.analysis.token_edits import extent, receptive_field, with_codes

    row, column = parse_position(request, row, column)
    handle, picture, ids = request.handle, request.picture, request.ids
    tokenizer = handle.tokenizer
    code, before = int(ids[row, column]), int(replace(request, edits=()).ids[row, column])
    latent = latents(handle, picture)[:, :, row, column]
    log_p = tokenizer.quantizer.log_posterior(latent)[0]
    best = log_p.topk(min(RUNNERS, len(log_p)))
    codes = best.indices.tolist()
    tiles = with_codes(tokenizer, ids, row, column, [*codes, code])
    field, part = receptive_field(tokenizer, image_of(handle, picture), row, column)
    stochastic = tokenizer.quantizer.is_stochastic
    distances = (tokenizer.quantizer.codebook()[codes] - latent).square().sum(1).sqrt().tolist()
    return {
        "row": row,
        "column": column,
        "code": code,
        "was": before,
        "edited": len({edit[:2] for edit in request.edits}),
        "changed": any(edit[:2] == (row, column) for edit in request.edits),
        "p": finite(math.exp(float(log_p[code]))) if stochastic else None,
        "swatch": data_url(atlas(handle).look([code])[0]),
        "here": data_url(tiles[-1]),
        "field": data_url(_brighten(np.asarray(picture.image)[part], field)),
        "extent": extent(field),
        "codes": tokenizer.codebook_size,
        "runners": [
            {
                "code": found,
                "p": math.exp(share) if stochastic else None,
                "distance": distance,
                "shown": data_url(pixels),
            }
            for found, share, distance, pixels in zip(
                codes, best.values.tolist(), distances, tiles[:-1], strict=True
            )
        ],
    }


def _brighten(pixels: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return a part of the picture, bright where the receptive field is strong.

    The brightness follows the fourth root of the field; otherwise only its peak would be visible.
    """
    light = np.sqrt(np.sqrt(field / max(float(field.max()), 1e-30)))[..., None]
    return np.rint(pixels * (0.14 + 0.86 * light)).astype(np.uint8)
