"""Usage of the codebook and the details of a single code."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from . import code_stats, precision, scene_counts
from .checkpoints import TokenizerHandle, open_tokenizer
from .code_stats import atlas, patches
from .encoding import data_url, pack, png_file
from .errors import UserError
from .model_lock import LOCK, one_at_a_time
from .scene_counts import Progress
from .token_pictures import highlight_tokens
from .tokenization import tokenize
from .uploads import picture_or_example
from .validation import whole_number

SOURCES = ("bundle", "scenes", "picture")
"""The pictures on which uses can be counted."""
NEIGHBORS = 8


PATIENCE = 0.4
"""Seconds of painting in the answer to a page that asks for tiles; it asks again for the rest."""
MOST_TILES = 1024
"""Tiles that a page can ask for at a time."""


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
        with LOCK:
            ids = tokenize(handle, picture_or_example(image)).ids
        return np.bincount(ids.ravel(), minlength=handle.tokenizer.codebook_size), "this picture"
    raise UserError(f"The source must be one of {', '.join(SOURCES)}, not {str(source)[:40]!r}.")


def usage_figures(counts: np.ndarray, source: str) -> dict[str, Any]:
    """Return the figures of a count, as JSON."""
    from regvq.metrics.codebook_usage import usage_of

    return {**asdict(usage_of(counts)), "source": source}


def codebook_usage(checkpoint: Any, source: Any, image: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the counts int64 (K,) and their figures. Raises UserError."""
    counts, words = counts_on(open_tokenizer(checkpoint), source, image)
    return counts, {**usage_figures(counts, words), "counts": counts.tolist()}


def codebook_view(
    checkpoint: Any, source: Any, image: Any, progress: Progress | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the page draws of the codebook, and the figures of its usage."""
    handle = open_tokenizer(checkpoint)
    counts, words = counts_on(handle, source, image, progress, partly=True)
    figures, known = usage_figures(counts, words), atlas(handle)
    sheet = code_stats.code_sheet(handle)
    return {
        "checkpoint": handle.name,
        "source": words,
        "counts": pack(counts, "<f8"),
        "tokens": figures["tokens"],
        "perplexity": figures["perplexity"],
        "alike": pack(known.alike(), "<u4"),
        "patch": known.patch,
        "sprite": sheet,
        "ramp": code_stats.color_ramp(),
        **painted_view(handle),
    }, figures


# ---------------------------------------------------------------- a large codebook, bit by bit


def painted_view(handle: TokenizerHandle) -> dict[str, Any]:
    """Return the colors of all codes and how much of the codebook is known, for a page."""
    known = atlas(handle)
    progress = known.progress()  # before the colors: what is painted in between is sent again
    return {"colors": pack(known.colors, "u1"), "progress": progress}


def more_tiles(checkpoint: Any, codes: Any) -> dict[str, Any]:
    """Return the tiles of the ``codes`` that a page shows, as far as PATIENCE seconds paint them.

    Raises UserError for what are not codes, or too many.
    """
    handle = open_tokenizer(checkpoint)
    if not isinstance(codes, list) or len(codes) > MOST_TILES:
        raise UserError(f"The codes must be a list of at most {MOST_TILES}.")
    last = handle.tokenizer.codebook_size - 1
    wanted = [whole_number(code, "code", 0, last) for code in codes]
    tiles = code_stats.tiles_view(handle, wanted, PATIENCE) if wanted else None
    return _more(handle, tiles=tiles, **atlas(handle).progress())


def more_known(checkpoint: Any, source: Any, known: Any, counted: Any) -> dict[str, Any]:
    """Return what has become known since a page had ``known`` painted codes and ``counted`` scenes:
    the colors of further codes, and the counts if there are new ones. Nothing is painted here."""
    handle = open_tokenizer(checkpoint)
    codes = atlas(handle)
    progress = codes.progress()
    known = whole_number(known, "number of codes", 0, codes.size)
    fresh = codes.sequence[known : int(progress["painted"])]
    more: dict[str, Any] = {
        **progress,
        "codes": pack(fresh, "<u4"),
        "colors": pack(codes.colors[fresh], "u1"),
    }
    if counted != progress["counted"] and source in ("bundle", "scenes"):
        counts, words = counts_on(handle, source, partly=True)
        figures = usage_figures(counts, words)
        more["counts"] = pack(counts, "<f8")
        more |= {name: figures[name] for name in ("tokens", "perplexity", "source")}
        more["figures"] = figures
    return _more(handle, **more)


def _more(handle: TokenizerHandle, **more: Any) -> dict[str, Any]:
    # A value equal to the previous one would not reach the page.
    return {"checkpoint": handle.name, "more": {**more, "stamp": time.monotonic_ns()}}


# ---------------------------------------------------------------- one code


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
    with LOCK:
        where = where_code(tokenize(handle, picture).ids, code)
    counts, words = counts_on(handle, source, image, partly=True)
    total = int(counts.sum())
    near, distances = nearest_codes(tokenizer.quantizer.codebook(), code, NEIGHBORS)
    real, known = patches(handle), atlas(handle)
    known.look([code])
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
