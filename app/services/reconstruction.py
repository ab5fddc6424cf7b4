"""The reconstruction of a picture as a whole, and what pages draw of it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .channels import channels_note
from .code_stats import atlas, code_sheet, tiles_view
from .decoded_picture import Reconstruction, reconstruct
from .encoding import PageFile, pack
from .formatting import format_bytes
from .model_lock import one_at_a_time
from .precision import is_slow
from .reconstruction_request import ReconstructionRequest, page_request, parse_request
from .token_grids import token_pngs
from .token_pictures import ERROR_TOP

__all__ = [
    "comparison_view",
    "encode",
    "first_view",
    "full_view",
    "page_request",
    "parse_request",
    "ramp_css",
    "run",
]


@one_at_a_time
def run(request: ReconstructionRequest) -> tuple[Reconstruction, dict[str, bytes]]:
    """Return the reconstruction, every part of it computed, and the token grids as PNG."""
    found = reconstruct(request)
    _ = found.decoded, found.error, found.figures
    return found, token_pngs(request)


@one_at_a_time
def encode(request: ReconstructionRequest) -> None:
    """Encode the picture, so that the next view has its tokens already."""
    _ = request.ids


@one_at_a_time
def first_view(request: ReconstructionRequest) -> dict[str, Any]:
    """Return what the page draws before the picture is compared with its original."""
    found, ids, tokenizer = reconstruct(request), request.ids, request.handle.tokenizer
    rows, columns = ids.shape
    return {
        "original": PageFile(found.original, "original"),
        "reconstruction": PageFile(found.decoded, "reconstruction"),
        "tokens": {
            name: PageFile(data, f"tokens-{name}") for name, data in token_pngs(request).items()
        },
        "width": request.picture.image.width,
        "height": request.picture.image.height,
        "grid": f"{columns} × {rows}",
        "errorTop": ERROR_TOP,
        "ramp": ramp_css(),
        "rows": rows,
        "columns": columns,
        "patch": tokenizer.downsampling,
        "codes": tokenizer.codebook_size,
        "ids": pack(ids, "<u4"),
        **_tiles(request),
        "note": _note(request),
        "edited": [[row, column] for row, column, _ in request.edits],
    }


def _tiles(request: ReconstructionRequest) -> dict[str, Any]:
    """Return the tiles of all codes, or those of the picture's codes that are painted."""
    if sheet := code_sheet(request.handle):
        return {"sprite": sheet}
    return {"sprite": None, "tiles": tiles_view(request.handle, request.ids)}


def _note(request: ReconstructionRequest) -> str:
    """Return a sentence about a large tokenizer, or nothing."""
    words = []
    if note := channels_note(request.handle, request.picture, request.places):
        words.append(note)
    if (level := request.handle.level) is not None:
        count = request.handle.whole.levels
        before = "" if level == 1 else f"levels 1 to {level} of {count}; the tokens are those of "
        words.append(f"Decoded from {before}level {level}{f' of {count}' if level == 1 else ''}.")
    tokenizer, known = request.handle.tokenizer, atlas(request.handle)
    codes = np.unique(request.ids)
    painted = int(known.painted[codes].sum())
    if painted < len(codes):
        words.append(
            f"{painted:,} of this picture's {len(codes):,} codes are painted so far; the others "
            "have the color that is decoded in their places."
        )
    if is_slow(tokenizer):
        words.append(
            "This large network computes in float32, for the processor does not compute in "
            "bfloat16: 512 × 512 pixels take about 10 s on two cores."
        )
    return " ".join(words)


@one_at_a_time
def comparison_view(request: ReconstructionRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the comparison with the original adds to the page, and the figures."""
    found = reconstruct(request)
    return {
        "error": PageFile(found.error, "error"),
        "jpeg": PageFile(found.jpeg, "jpeg"),
        "jpegBytes": format_bytes(found.figures["bytes_jpeg_equal"]),
    }, found.figures


def full_view(request: ReconstructionRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all that the page draws of a reconstruction, and the figures."""
    more, figures = comparison_view(request)
    return {**first_view(request), **more}, figures


@lru_cache(maxsize=1)
def ramp_css() -> str:
    """Return the color scale of the error map as a CSS gradient."""
    from regvq.analysis.rendering import ramp

    stops = ",".join("#" + bytes(color).hex() for color in ramp(np.linspace(0, 1, 16)))
    return f"linear-gradient(90deg,{stops})"
