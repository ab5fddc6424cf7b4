"""Codes found by number, by color, by a patch of a picture, or by class."""

from __future__ import annotations

import re
import time
from typing import Any

from . import scene_counts
from .channels import picture_or_example
from .checkpoints import TokenizerHandle, open_tokenizer
from .code_atlas import AT_ONCE
from .code_stats import atlas
from .encoding import PageFile, data_url
from .errors import UserError
from .model_lock import LOCK
from .scene_counts import Progress, class_counts, class_names
from .tokenization import known_tokens, latents
from .uploads import original_png
from .validation import one_of, whole_number

KINDS = ("number", "color", "patch", "class")
"""The ways to search."""
MOST = 12
"""Codes in a list."""

_COLOR = re.compile(r"#?([0-9a-f]{6})", re.IGNORECASE)


def find_codes(
    checkpoint: Any, by: Any, value: Any, image: Any = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Return the codes that are found, as JSON: "codes", "scores" and "notes" (one per code),
    "measure" (the score in words), and a "sentence" about the list.

    ``by`` is one of KINDS. ``value`` is a code; a color "#rrggbb"; the row and column of a token of
    the picture, as a list or as text; or the name or number of a class. Raises UserError.
    """
    handle = open_tokenizer(checkpoint)
    one_of(by, "search", KINDS)
    if by == "number":
        found = _by_number(handle, value)
    elif by == "color":
        found = _by_color(handle, value)
    elif by == "patch":
        found = _by_patch(handle, value, image)
    else:
        found = _by_class(handle, value, progress)
    return {"checkpoint": handle.name, "by": by, **found}


def _by_number(handle: TokenizerHandle, value: Any) -> dict[str, Any]:
    code = whole_number(value, "code", 0, handle.tokenizer.codebook_size - 1)
    return _found([code], [0.0], [""], "none", f"Code {code}.", value=code)


def _by_color(handle: TokenizerHandle, value: Any) -> dict[str, Any]:
    from regvq.analysis.code_search import codes_by_color

    written = _COLOR.fullmatch(value.strip()) if isinstance(value, str) else None
    if written is None:
        raise UserError(f"The color must be written as #rrggbb, not {str(value)[:40]!r}.")
    red, green, blue = bytes.fromhex(written[1])
    known = atlas(handle)
    if known.size <= AT_ONCE:
        known.look([0])  # paints all of them
    if not known.painted.any():
        raise UserError(
            "No code of this checkpoint is painted yet, so none can be found by its color; they "
            "are painted while nobody waits."
        )
    codes, distances = codes_by_color(known.colors, (red, green, blue), MOST, known.painted)
    among = "" if known.complete else f" among the {len(known.sequence):,} codes painted so far"
    return _found(
        codes.tolist(),
        distances.tolist(),
        [f"{distance:.3f}" for distance in distances],
        "distance in OKLab",
        f"Nearest{among} by the mean color of their tiles; below each code its distance in OKLab, "
        "of which 0.02 is just visible.",
        value=f"#{written[1].lower()}",
    )


def _by_patch(handle: TokenizerHandle, value: Any, image: Any) -> dict[str, Any]:
    from regvq.analysis.code_search import likely_codes

    picture = picture_or_example(handle, image)
    row, column = _position(value)
    rows, columns = known_tokens(handle, picture).ids.shape
    row = whole_number(row, "row", 0, rows - 1)
    column = whole_number(column, "column", 0, columns - 1)
    tokenizer = handle.tokenizer
    with LOCK:
        latent = latents(handle, picture)[0, :, row, column]
        codes, shares, distances = likely_codes(tokenizer, latent, MOST)
    stochastic = tokenizer.quantizer.is_stochastic
    scores = shares if stochastic else distances
    notes = [f"{100 * one:.2g} %" if stochastic else f"{one:.3g}" for one in scores.tolist()]
    measure = "probability" if stochastic else "distance to the latent"
    return _found(
        codes.tolist(),
        scores.tolist(),
        notes,
        measure,
        f"The token in row {row}, column {column} gets the first code, {int(codes[0])}; the others "
        f"are the next likely ones. Below each code its {measure}.",
        value=[row, column],
    )


def _position(value: Any) -> list[Any]:
    """Return the two entries of a position, unchecked."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or len(parts) != 2:
        raise UserError(f'The patch must be "row, column" of a token, not {str(value)[:40]!r}.')
    return parts


def _by_class(handle: TokenizerHandle, value: Any, progress: Progress | None) -> dict[str, Any]:
    from regvq.analysis.code_search import codes_of_class

    names = class_names()
    kind = _class(value, names)
    counts, _ = class_counts(handle, progress)
    codes, of_class, of_code = codes_of_class(counts, kind, MOST)
    where = f"in {scene_counts.SCENES} drawn scenes, for a checkpoint stores no classes"
    if len(codes):
        words = (
            f"Codes that cover most of the class {names[kind]} {where}. Below each code the share "
            "of the class that it covers."
        )
    else:
        words = f"No code covers the class {names[kind]} {where}."
    return _found(
        codes.tolist(),
        of_class.tolist(),
        [f"{100 * share:.2g} %" for share in of_class.tolist()],
        "share of the class's pixels",
        words,
        value=names[kind],
        purity=of_code.tolist(),
    )


def _class(value: Any, names: tuple[str, ...]) -> int:
    text = value.strip().lower() if isinstance(value, str) else value
    if text in names:
        return names.index(text)
    try:
        return whole_number(text, "class", 0, len(names) - 1)
    except UserError:
        raise UserError(
            f"There is no class called {str(value)[:40]!r}; available: {', '.join(names)}."
        ) from None


def _found(
    codes: list[int],
    scores: list[float],
    notes: list[str],
    measure: str,
    sentence: str,
    **more: Any,
) -> dict[str, Any]:
    return {
        "codes": codes,
        "scores": scores,
        "notes": notes,
        "measure": measure,
        "sentence": sentence,
        **more,
    }


# ---------------------------------------------------------------- views


def tiles_of(checkpoint: Any, codes: list[int]) -> list[Any]:
    """Return the tile of each code, uint8 (f, f, 3)."""
    return list(atlas(open_tokenizer(checkpoint)).look(codes)) if codes else []


def list_view(
    checkpoint: Any, by: Any, value: Any, image: Any, progress: Progress | None = None
) -> dict[str, Any]:
    """Return what the page draws of a search. Raises UserError."""
    found = find_codes(checkpoint, by, value, image, progress)
    tiles = tiles_of(checkpoint, found["codes"])
    return {
        "by": found["by"],
        "value": found["value"],
        "sentence": found["sentence"],
        "found": [
            {"code": code, "note": note, "tile": data_url(tile)}
            for code, note, tile in zip(found["codes"], found["notes"], tiles, strict=True)
        ],
        "stamp": time.monotonic_ns(),
    }


def material_view(checkpoint: Any, image: Any) -> dict[str, Any]:
    """Return what the page needs for a search by patch or by class: the picture with its grid of
    tokens, and the names of the classes. Raises UserError or PictureError."""
    handle = open_tokenizer(checkpoint)
    picture = picture_or_example(handle, image)
    rows, columns = known_tokens(handle, picture).ids.shape
    return {
        "material": {
            "picture": PageFile(original_png(picture), "original"),
            "width": picture.image.width,
            "height": picture.image.height,
            "rows": rows,
            "columns": columns,
            "patch": handle.tokenizer.downsampling,
            "classes": list(class_names()),
        },
        "stamp": time.monotonic_ns(),
    }
