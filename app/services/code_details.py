"""Usage of the codebook and the details of a single code."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from . import code_stats
from .checkpoints import TokenizerHandle, open_tokenizer
from .code_stats import Progress, atlas, patches
from .encoding import data_url, pack, png_file
from .errors import UserError
from .model_lock import one_at_a_time
from .token_pictures import highlight_tokens
from .tokenization import tokenize
from .uploads import picture_or_example
from .validation import whole_number

SOURCES = ("bundle", "scenes", "picture")
"""The pictures on which uses can be counted."""
NEIGHBORS = 8


def counts_on(
    handle: TokenizerHandle, source: Any, image: Any = None, progress: Progress | None = None
) -> tuple[np.ndarray, str]:
    """Return how often each code occurs, int64 (K,), and the counted pictures in words.

    Raises UserError for a ``source`` that is not in SOURCES.
    """
    if source == "bundle":
        known = atlas(handle)
        return known["counts"], str(known["source"])
    if source == "scenes":

        def report(done: int) -> None:
            if progress is not None:
                total = code_stats.SCENES
                progress((done, total), desc="Counting codes in drawn scenes", unit="scenes")

        return code_stats.count_in_scenes(handle, report), code_stats.scenes_source()
    if source == "picture":
        ids = tokenize(handle, picture_or_example(image)).ids
        return np.bincount(ids.ravel(), minlength=handle.tokenizer.codebook_size), "this picture"
    raise UserError(f"The source must be one of {', '.join(SOURCES)}, not {str(source)[:40]!r}.")


def usage_figures(counts: np.ndarray, source: str) -> dict[str, Any]:
    """Return the figures of a count, as JSON."""
    from regvq.metrics.codebook_usage import usage_of

    return {**asdict(usage_of(counts)), "source": source}


@one_at_a_time
def codebook_usage(checkpoint: Any, source: Any, image: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the counts int64 (K,) and their figures. Raises UserError."""
    counts, words = counts_on(open_tokenizer(checkpoint), source, image)
    return counts, {**usage_figures(counts, words), "counts": counts.tolist()}


@one_at_a_time
def codebook_view(
    checkpoint: Any, source: Any, image: Any, progress: Progress | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the page draws of the codebook, and the figures of its usage."""
    handle = open_tokenizer(checkpoint)
    counts, words = counts_on(handle, source, image, progress)
    figures, known = usage_figures(counts, words), atlas(handle)
    return {
        "checkpoint": handle.name,
        "source": words,
        "counts": pack(counts, "<f8"),
        "tokens": figures["tokens"],
        "perplexity": figures["perplexity"],
        "alike": pack(known["grid"].argsort(), "<u4"),
        "colors": pack(known["mean_color"], "u1"),
        "patch": int(known["paints"].shape[1]),
        "sprite": code_stats.code_sheet(handle),
        "ramp": code_stats.color_ramp(),
    }, figures


@one_at_a_time
def code_detail(
    checkpoint: Any, code: Any, image: Any, source: Any = "bundle"
) -> tuple[TokenizerHandle, Image.Image, dict[str, Any]]:
    """Return a code's handle, the picture with the code's tokens highlighted, and its figures,
    counted on ``source``."""
    from regvq.analysis.codes import nearest_codes, where_code

    handle = open_tokenizer(checkpoint)
    tokenizer = handle.tokenizer
    size = tokenizer.codebook_size
    code = whole_number(code, "code", 0, size - 1)
    picture = picture_or_example(image)
    where = where_code(tokenize(handle, picture).ids, code)
    counts, words = counts_on(handle, source, image)
    total = int(counts.sum())
    near, distances = nearest_codes(tokenizer.quantizer.codebook(), code, NEIGHBORS)
    real = patches(handle)
    figures = {
        "code": code,
        "codebook_size": size,
        "uses": int(counts[code]),
        "share": float(counts[code] / total) if total else 0.0,
        "rank": int((counts > counts[code]).sum()) + 1,
        "source": words,
        "tokens_counted": total,
        "occurrences": int(where.sum()),
        "picture_tokens": int(where.size),
        "nearest": [int(found) for found in near],
        "distances": [float(distance) for distance in distances],
        "nearest_uses": [int(counts[found]) for found in near],
        "mean_color": [int(channel) for channel in atlas(handle)["mean_color"][code]],
        "real_patches": len(real.of(code)) if real else None,
        "checkpoint": handle.name,
    }
    return handle, highlight_tokens(picture.image, where, tokenizer.downsampling), figures


def code_card(checkpoint: Any, code: Any, image: Any, source: Any) -> dict[str, Any]:
    """Return what the page draws of a code: its figures, tiles, patches and occurrences."""
    handle, where, figures = code_detail(checkpoint, code, image, source)
    tiles, real = atlas(handle)["paints"], patches(handle)
    return {
        **figures,
        "real": real
        and {
            "patches": [data_url(tile) for tile in real.of(figures["code"])],
            "cells": real.cells,
            "source": real.source,
            "pictures": real.pictures,
        },
        "swatch": data_url(tiles[figures["code"]]),
        "near": [data_url(tiles[found]) for found in figures["nearest"]],
        "where": png_file(where, "where"),
    }


def current_code(checkpoint: Any, code: Any, image: Any) -> int:
    """Return the selected code, or the code that the picture uses most if there is none.

    A code can be beyond the end of another checkpoint's codebook; then it counts as none.
    """
    if isinstance(code, int) and code < open_tokenizer(checkpoint).tokenizer.codebook_size:
        return code
    return _most_used_code(checkpoint, image)


@one_at_a_time
def _most_used_code(checkpoint: Any, image: Any) -> int:
    ids = tokenize(open_tokenizer(checkpoint), picture_or_example(image)).ids
    return int(np.bincount(ids.ravel()).argmax())
