"""A single token of the tab Reconstruct: its code, where it came from, and others in its place."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr
import numpy as np

from ..services import checkpoints
from ..services.checkpoints import one_at_a_time
from ..services.code_stats import atlas
from ..services.reconstruction import (
    Edits,
    Wanted,
    edits_of,
    reconstruction,
    signature,
    tokens_of,
    wanted,
)
from ..ui.errors import Refused, in_a_sentence
from ..ui.pictures import data_url, page_file
from .reconstruct import staged

RUNNERS = 8
"""How many of the most probable codes are shown for a token."""


def checked_edits(which: checkpoints.Model, ids: np.ndarray, given: Any) -> Edits:
    """Edits ``[[row, column, code], …]`` from outside, checked. Raises Refused."""
    if not isinstance(given, (list, tuple)):
        raise Refused("The edits must be a list of [row, column, code].")
    if len(given) > ids.size:
        raise Refused(
            f"There are {len(given):,} edits for a picture of {ids.size:,} tokens; "
            "give each token one at most."
        )
    (height, width), size = ids.shape, which.tokenizer.codebook_size
    found = []
    for number, edit in enumerate(given, start=1):
        if not isinstance(edit, (list, tuple)) or len(edit) != 3:
            raise Refused(f"Edit {number} must be [row, column, code], not {str(edit)[:40]}.")
        row = checkpoints.whole_number(edit[0], f"row of edit {number}", 0, height - 1)
        column = checkpoints.whole_number(edit[1], f"column of edit {number}", 0, width - 1)
        code = checkpoints.whole_number(edit[2], f"code of edit {number}", 0, size - 1)
        found.append((row, column, code))
    return tuple(found)


@in_a_sentence
@one_at_a_time
def edit_tokens(image: Any, checkpoint: Any, edits: Any) -> tuple[str, dict[str, Any]]:
    """/edit_tokens: the picture that the edited tokens paint, and its figures."""
    asked = wanted(image, checkpoint, 0.0, 0)
    checked = checked_edits(asked[0], tokens_of(*asked), edits)
    found, before = reconstruction(*asked, checked), reconstruction(*asked)
    figures = {
        **found.figures,
        "psnr_before": before.figures["psnr"],
        "pixels_changed": _pixels_changed(before.reconstruction, found.reconstruction),
    }
    return page_file(found.reconstruction, "edited")["path"], figures


def _pixels_changed(before: bytes, after: bytes) -> float:
    """Share of the pixels of two PNG files that differ."""
    from regvq.images import open_picture

    one, two = (np.asarray(open_picture(data)) for data in (before, after))
    return float((one != two).any(axis=2).mean())


def _place(asked: Wanted, event: gr.EventData) -> tuple[int, int]:
    """The token that was clicked. Raises Refused."""
    height, width = tokens_of(*asked).shape
    row = checkpoints.whole_number(getattr(event, "row", None), "row", 0, height - 1)
    return row, checkpoints.whole_number(getattr(event, "column", None), "column", 0, width - 1)


@one_at_a_time
def token_card(asked: Wanted, edits: Edits, row: int, column: int) -> dict[str, Any]:
    """What the card of a token draws."""
    from regvq.analysis.token_edits import extent, receptive_field, with_codes
    from regvq.images import to_tensor

    which, picture, ratio, seed = asked
    tokenizer = which.tokenizer
    ids = tokens_of(*asked, edits)
    code, was = int(ids[row, column]), int(tokens_of(which, picture, ratio, seed)[row, column])
    latent = checkpoints.latents(which, picture)[:, :, row, column]
    log_p = tokenizer.quantizer.log_posterior(latent)[0]
    best = log_p.topk(min(RUNNERS, len(log_p)))
    codes = best.indices.tolist()
    painted = with_codes(tokenizer, ids, row, column, [*codes, code])
    field, part = receptive_field(tokenizer, to_tensor(picture.image), row, column)
    draws = tokenizer.quantizer.is_stochastic
    apart = (tokenizer.quantizer.codebook()[codes] - latent).square().sum(1).sqrt().tolist()
    return {
        "row": row,
        "column": column,
        "code": code,
        "was": was,
        "edited": len({edit[:2] for edit in edits}),
        "changed": any(edit[:2] == (row, column) for edit in edits),
        "p": _finite(math.exp(float(log_p[code]))) if draws else None,
        "swatch": data_url(atlas(which)["paints"][code]),
        "here": data_url(painted[-1]),
        "field": data_url(_lit(np.asarray(picture.image)[part], field)),
        "extent": extent(field),
        "codes": tokenizer.codebook_size,
        "runners": [
            {
                "code": found,
                "p": math.exp(share) if draws else None,
                "apart": distance,
                "shown": data_url(pixels),
            }
            for found, share, distance, pixels in zip(
                codes, best.values.tolist(), apart, painted[:-1], strict=True
            )
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _lit(pixels: np.ndarray, field: np.ndarray) -> np.ndarray:
    """A piece of the picture, lit where the field is strong: by its fourth root, or one would see
    nothing but its peak."""
    light = np.sqrt(np.sqrt(field / max(float(field.max()), 1e-30)))[..., None]
    return np.rint(pixels * (0.14 + 0.86 * light)).astype(np.uint8)


@in_a_sentence
def show_token(
    image: Any, checkpoint: Any, ratio: Any, seed: Any, kept: Any, event: gr.EventData
) -> tuple[dict[str, Any], int]:
    """A token was clicked: its card, and its code, which is picked in the other tabs as well."""
    asked = wanted(image, checkpoint, ratio, seed)
    with checkpoints.LOCK:
        card = token_card(asked, edits_of(asked, kept), *_place(asked, event))
    return card, card["code"]


@in_a_sentence
def put(
    image: Any, checkpoint: Any, ratio: Any, seed: Any, kept: Any, event: gr.EventData
) -> tuple[dict, dict, str, dict, int]:
    """Another code is put in a token; ``code`` None takes the token's own back, ``all`` all."""
    asked = wanted(image, checkpoint, ratio, seed)
    with checkpoints.LOCK:
        row, column = _place(asked, event)
        rest = [edit for edit in edits_of(asked, kept) if edit[:2] != (row, column)]
        if getattr(event, "all", False):
            rest = []
        code = getattr(event, "code", None)
        if code is not None:
            last = asked[0].tokenizer.codebook_size - 1
            code = checkpoints.whole_number(code, "code", 0, last)
            if code != tokens_of(*asked)[row, column]:
                rest.append((row, column, code))
        edits = tuple(rest)
        stage, panel = staged(asked, edits)
        card = token_card(asked, edits, row, column)
    return {"of": signature(asked), "edits": edits}, stage, panel, card, card["code"]
