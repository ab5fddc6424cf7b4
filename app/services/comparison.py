"""Several checkpoints on one picture."""

from __future__ import annotations

import json
import math
from typing import Any

from . import checkpoints
from .checkpoints import TokenizerHandle, open_tokenizer
from .decoded_picture import Reconstruction, cached, reconstruct
from .encoding import PageFile
from .errors import UserError
from .model_lock import LOCK
from .reconstruction import ramp_css
from .reconstruction_request import ReconstructionRequest
from .token_pictures import ERROR_TOP
from .uploads import Picture, original_png
from .validation import finite

FEWEST, MOST = 2, 6
"""Number of checkpoints in a comparison."""
FIRST = 4
"""Number of checkpoints that are compared before a user has chosen."""
QUANTIZERS = {
    "vq": "VQ",
    "ema": "VQ, moving averages",
    "gumbel": "Gumbel",
    "regvq": "Reg-VQ",
    "simvq": "SimVQ",
    "nsvq": "NSVQ",
    "fsq": "FSQ",
    "lfq": "LFQ",
    "ibq": "IBQ",
    "bsq": "BSQ",
    "diveq": "DiVeQ",
    "fsp": "FSP",
}


def parse_checkpoints(chosen: Any) -> list[TokenizerHandle]:
    """Return the checkpoints that a user named; the first ones for nothing. Raises UserError."""
    if chosen is None or chosen == "" or chosen == []:
        chosen = checkpoints.names()[:FIRST]
    if isinstance(chosen, str):
        chosen = _split(chosen)
    if not isinstance(chosen, list | tuple) or not all(isinstance(name, str) for name in chosen):
        raise UserError("The checkpoints must be a list of names.")
    chosen = list(dict.fromkeys(chosen))
    if len(chosen) > MOST:
        raise UserError(f"At most {MOST} checkpoints can be compared at once, not {len(chosen)}.")
    found = [open_tokenizer(name) for name in chosen]
    if len(found) < FEWEST:
        raise UserError(
            f"A comparison needs at least {FEWEST} checkpoints; available: "
            f"{', '.join(checkpoints.names()) or 'none yet'}."
        )
    return found


def _split(text: str) -> Any:
    """Return the names in a JSON list, or in a text with commas between them."""
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None
    return [name.strip() for name in text.split(",") if name.strip()]


def describe(handle: TokenizerHandle) -> dict[str, Any]:
    """Return what a bundle says about itself: its quantizer, and the usage in its own test."""
    from regvq.errors import CheckpointError

    try:
        metrics, config = handle.bundle.metrics, handle.bundle.config
    except CheckpointError:
        metrics, config = {}, handle.bundle.config
    kind = str(config.get("tokenizer", {}).get("quantizer", {}).get("name", ""))
    data = metrics.get("data")
    tested = data.get("described") if isinstance(data, dict) else None
    return {
        "checkpoint": handle.name,
        "quantizer": QUANTIZERS.get(kind, kind),
        "utilization": finite(metrics.get("utilization")),
        "perplexity": finite(metrics.get("perplexity")),
        "measured_on": f"{metrics.get('images', '')} {tested}".strip() if tested else None,
    }


def compare_on(handle: TokenizerHandle, picture: Picture) -> Reconstruction:
    """Return the reconstruction by ``handle`` of a picture of its channels, with all that Compare
    shows."""
    with LOCK:
        found = reconstruct(ReconstructionRequest(handle, picture))
        _ = found.decoded, found.error, found.quality
    return found


def compared(handle: TokenizerHandle, picture: Picture) -> Reconstruction | None:
    """Return the same if it is computed already, otherwise None."""
    found = cached(ReconstructionRequest(handle, picture))
    return found if found and found.has("decoded", "error", "quality") else None


def frame_picture(handles: list[TokenizerHandle], pictures: list[Picture]) -> Picture:
    """Return the picture that Compare shows as the original, of those that the checkpoints get: in
    color if one of them does."""
    pairs = zip(handles, pictures, strict=True)
    return next((picture for handle, picture in pairs if handle.channels == 3), pictures[0])


def row_figures(found: Reconstruction) -> dict[str, Any]:
    """Return a checkpoint's row of the table, as JSON."""
    request = found.request
    tokenizer, count = request.handle.tokenizer, found.tokens
    width, height = request.picture.image.size
    return {
        **describe(request.handle),
        "psnr": found.quality["psnr"],
        "ssim": found.quality["ssim"],
        "tokens": count,
        "codes_used": found.quality["codes_used"],
        "codebook_size": tokenizer.codebook_size * request.handle.shown_levels,
        "downsampling": tokenizer.downsampling,
        "bits_per_pixel": count * math.log2(tokenizer.codebook_size) / (width * height),
        "bytes": found.token_bytes,
    }


# ---------------------------------------------------------------- views


def row_view(handle: TokenizerHandle, found: Reconstruction | None) -> dict[str, Any]:
    """Return what the page draws of a checkpoint; only its name while it is being computed."""
    if found is None:
        return {"checkpoint": handle.name}
    return {
        **row_figures(found),
        "picture": PageFile(found.decoded, "reconstruction"),
        "error": PageFile(found.error, "error"),
    }


def frame_view(picture: Picture) -> dict[str, Any]:
    """Return what the page draws around the rows."""
    return {
        "original": PageFile(original_png(picture), "original"),
        "width": picture.image.width,
        "height": picture.image.height,
        "errorTop": ERROR_TOP,
        "ramp": ramp_css(),
    }


def too_few_text() -> str:
    """Return the sentence for a page on which fewer than FEWEST checkpoints are chosen."""
    if len(checkpoints.names()) >= FEWEST:
        return f"Choose at least {FEWEST} checkpoints to compare."
    command = checkpoints.train_command("photos-vq")
    return f"A comparison needs a second checkpoint. Train another one: {command}"


def keep_choice(chosen: Any, checkpoint: Any) -> tuple[list[str], list[str]]:
    """Return the available checkpoints and those to compare: the previous choice if any of it is
    left, otherwise the current checkpoint and the first ones."""
    known = checkpoints.names()
    kept = [name for name in chosen or [] if name in known]
    if not kept:
        first = [checkpoint] if checkpoint in known else []
        kept = list(dict.fromkeys([*first, *known]))[:FIRST]
    return known, kept
