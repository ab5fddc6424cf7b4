"""Usage of the codebook and the details of a single code."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from . import precision, scene_counts
from .channels import picture_or_example, picture_or_stand_in
from .checkpoints import TokenizerHandle, open_tokenizer
from .code_stats import atlas, patches
from .encoding import data_url, png_file
from .errors import UserError
from .scene_counts import Progress
from .token_pictures import highlight_tokens
from .tokenization import known_tokens
from .validation import whole_number

SOURCES = ("bundle", "scenes", "picture")
"""The pictures on which uses can be counted."""
NEIGHBORS = 8


def counts_on(
    handle: TokenizerHandle,
    source: Any,
    image: Any = None,
    progress: Progress | None = None,
    partly: bool = False,
) -> tuple[np.ndarray, str]:
    """Return how often each code occurs, int64 (K,), and the counted pictures in words.

    A count in scenes may take long, so no caller holds ``model_lock.LOCK``. partly: count only
    the first scenes if the network is large; the others follow in quiet moments.
    Raises UserError for a ``source`` that is not in SOURCES.
    """
    if source == "bundle":
        known = atlas(handle)
        return known.counts, known.source
    if source == "scenes":
        if unusable := scene_counts.other_channels(handle):
            raise UserError(f"{unusable}: choose another source.")
        count = scene_counts.count_of(handle)
        if partly and precision.is_large(handle.tokenizer):
            count.begin()
            return count.counts, count.source

        def report(done: int) -> None:
            if progress is not None:
                total = scene_counts.SCENES
                progress((done, total), desc="Counting codes in drawn scenes", unit="scenes")

        return count.finish(report), count.source
    if source == "picture":
        ids = known_tokens(handle, picture_or_example(handle, image)).ids
        return np.bincount(ids.ravel(), minlength=handle.tokenizer.codebook_size), "this picture"
    raise UserError(f"The source must be one of {', '.join(SOURCES)}, not {str(source)[:40]!r}.")


def usage_figures(counts: np.ndarray, source: str) -> dict[str, Any]:
    """Return the figures of a count, as JSON."""
    from regvq.metrics.codebook_usage import usage_of

    return {**asdict(usage_of(counts)), "source": source}


def codebook_usage(checkpoint: Any, source: Any, image: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the counts int64 (K,) and their figures with a chart. Raises UserError."""
    from regvq.plots import figure_json, plot_ranks

    counts, words = counts_on(open_tokenizer(checkpoint), source, image)
    figures = {**usage_figures(counts, words), "counts": counts.tolist()}
    return counts, {**figures, "chart": figure_json(plot_ranks(counts))}


# ---------------------------------------------------------------- one code


def code_detail(
    checkpoint: Any, code: Any, image: Any, source: Any = "bundle"
) -> tuple[TokenizerHandle, Image.Image, dict[str, Any]]:
    """Return a code's handle, the picture with the code's tokens highlighted, and its figures,
    counted on ``source``."""
    from regvq.analysis.codes import nearest_codes, similar_tiles, where_code

    handle = open_tokenizer(checkpoint)
    tokenizer = handle.tokenizer
    size = tokenizer.codebook_size
    code = whole_number(code, "code", 0, size - 1)
    picture = picture_or_stand_in(handle, image)
    where = where_code(known_tokens(handle, picture).ids, code)
    counts, words = counts_on(handle, source, image, partly=True)
    total = int(counts.sum())
    near, distances = nearest_codes(tokenizer.quantizer.codebook(), code, NEIGHBORS)
    real, known = patches(handle), atlas(handle)
    known.look([code])
    alike, differences = similar_tiles(known.tiles, code, NEIGHBORS, known.painted)
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
        "alike": [int(found) for found in alike],
        "differences": [float(difference) for difference in differences],
        "alike_uses": [int(counts[found]) for found in alike],
        "alike_among": int(known.painted.sum()),
        "mean_color": [int(channel) for channel in known.colors[code]],
        "real_patches": len(real.of(code)) if real else None,
        "checkpoint": handle.name,
    }
    return handle, highlight_tokens(picture.image, where, tokenizer.downsampling), figures


def code_card(checkpoint: Any, code: Any, image: Any, source: Any) -> dict[str, Any]:
    """Return what the page draws of a code: its figures, tiles, patches and occurrences."""
    handle, where, figures = code_detail(checkpoint, code, image, source)
    known, real = atlas(handle), patches(handle)
    return {
        **figures,
        "real": real
        and {
            "patches": [data_url(tile) for tile in real.of(figures["code"])],
            "cells": real.cells,
            "source": real.source,
            "pictures": real.pictures,
        },
        "swatch": data_url(known.look([figures["code"]])[0]),
        "near": [data_url(tile) for tile in known.look(figures["nearest"])],
        "near_alike": [data_url(tile) for tile in known.look(figures["alike"])],
        "where": png_file(where, "where"),
    }


def current_code(checkpoint: Any, code: Any, image: Any) -> int:
    """Return the selected code, or the code that the picture uses most if there is none.

    A code can be beyond the end of another checkpoint's codebook; then it counts as none.
    """
    if isinstance(code, int) and code < open_tokenizer(checkpoint).tokenizer.codebook_size:
        return code
    return _most_used_code(checkpoint, image)


def _most_used_code(checkpoint: Any, image: Any) -> int:
    handle = open_tokenizer(checkpoint)
    ids = known_tokens(handle, picture_or_stand_in(handle, image)).ids
    return int(np.bincount(ids.ravel()).argmax())
