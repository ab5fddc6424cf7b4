"""View models of the code map, and of the maps of several checkpoints beside one another."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checkpoints import TokenizerHandle, names, open_tokenizer
from .code_details import painted_view
from .code_stats import (
    atlas,
    code_colors,
    code_sheet,
    codebook,
    color_ramp,
    dominant_classes,
    norms,
    patches,
)
from .embeddings import METHODS, NEIGHBORS, STORED_NEIGHBORS, has_layout, layout
from .encoding import PageFile, pack
from .scene_counts import Progress
from .validation import one_of, whole_number

COLORS = ("usage", "mean", "norm", "class")
MOST = 4
"""Maps side by side, the chosen checkpoint's included."""
NO_CLASS = 255
"""The class number, in the page's bytes, of a code that covers no class."""


def map_data(
    checkpoint: Any,
    method: Any,
    color: Any,
    axes: Any,
    neighbors: Any,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return the codes' places float32 (K, 2 or 3), their colors uint8 (K, 3), and the figures.

    Raises UserError.
    """
    handle = open_tokenizer(checkpoint)
    one_of(method, "method", METHODS)
    one_of(color, "color", COLORS)
    axes = whole_number(axes, "number of axes", 2, 3)
    one_of(neighbors, "number of neighbors", NEIGHBORS)
    known, colors = atlas(handle), code_colors(handle, color, progress)
    counts, codes = known.counts, codebook(handle)
    places = layout(handle, codes, method, axes, int(neighbors), progress)
    figures = {
        "method": method,
        "colour": color,
        "axes": axes,
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        **({"z": places[:, 2].tolist()} if axes == 3 else {}),
        "uses": counts.tolist(),
        "norm": norms(handle).tolist(),
        "codebook_size": len(places),
        "dead": int((counts == 0).sum()),
        "source": known.source,
        "checkpoint": handle.name,
    }
    if method == "umap":
        figures["neighbours"] = int(neighbors)
    if color == "class":
        most, class_names, _ = dominant_classes(handle)
        figures["class"] = [class_names[one] if one >= 0 else None for one in most]
    return places, colors, figures


def map_view(checkpoint: Any) -> dict[str, Any]:
    """Return what the page draws of every code before it asks for more, with the map by PCA."""
    handle = open_tokenizer(checkpoint)
    known, codes, real = atlas(handle), codebook(handle), patches(handle)
    return {
        "checkpoint": handle.name,
        "real": real
        and {
            "sheet": PageFile(real.sheet, "patches", "webp"),
            "of": pack(np.diff(real.starts), "u1"),
            "side": int(real.tiles.shape[1]),
            "source": real.source,
            "pictures": real.pictures,
        },
        "counts": pack(known.counts, "<f8"),
        "source": known.source,
        "norms": pack(norms(handle), "<f4"),
        "patch": known.patch,
        "sprite": code_sheet(handle),
        "ramp": color_ramp(),
        "pca": pack(layout(handle, codes, "pca", 3), "<f4"),
        "quick": [axes for axes in (2, 3) if has_layout(handle, codes, axes, STORED_NEIGHBORS)],
        **painted_view(handle),
    }


def layout_view(
    handle: TokenizerHandle, axes: Any, neighbors: Any, progress: Progress | None = None
) -> dict[str, Any]:
    """Return a UMAP for the page. Raises UserError; embeddings.TooFewCodes if there
    cannot be one."""
    axes = whole_number(axes, "number of axes", 2, 3)
    count = one_of(neighbors, "number of neighbors", NEIGHBORS)
    codes = codebook(handle)
    places = layout(handle, codes, "umap", axes, count, progress)
    return {
        "checkpoint": handle.name,
        "layout": {"axes": axes, "neighbors": count, "places": pack(places, "<f4")},
    }


def class_view(checkpoint: Any, progress: Progress | None = None) -> dict[str, Any]:
    """Return the class of each code, for a page that colors by it."""
    handle = open_tokenizer(checkpoint)
    most, class_names, palette = dominant_classes(handle, progress)
    classes = {"of": _pack_classes(most), "names": class_names, "colors": palette.tolist()}
    return {"checkpoint": handle.name, "classes": classes}


def _pack_classes(most: np.ndarray) -> str:
    return pack(np.where(most < 0, NO_CLASS, most), "u1")


# ---------------------------------------------------------------- several checkpoints


def other_checkpoints(checkpoint: Any, chosen: Any) -> tuple[list[str], list[str]]:
    """Return the checkpoints that can be shown beside this one, and those that are chosen."""
    known = [name for name in names() if name != checkpoint]
    return known, [name for name in chosen or [] if name in known]


def _handles(checkpoint: Any, others: Any) -> list[TokenizerHandle]:
    wanted = [checkpoint, *(others if isinstance(others, list) else [])]
    return [open_tokenizer(name) for name in dict.fromkeys(wanted)][:MOST]


def gallery_view(checkpoint: Any, others: Any) -> dict[str, Any]:
    """Return the maps of a checkpoint and up to MOST - 1 others. Raises UserError."""
    return {
        "maps": [_small_map(handle) for handle in _handles(checkpoint, others)],
        "ramp": color_ramp(),
    }


def _small_map(handle: TokenizerHandle) -> dict[str, Any]:
    from regvq.metrics.codebook_usage import usage_of

    known, codes = atlas(handle), codebook(handle)
    counts = known.counts
    usage = usage_of(counts)
    umap = None
    if has_layout(handle, codes, 2, STORED_NEIGHBORS):  # a new one would take minutes
        umap = pack(layout(handle, codes, "umap", 2), "<f4")
    return {
        "checkpoint": handle.name,
        "counts": pack(counts, "<f8"),
        "colors": pack(known.colors, "u1"),
        "norms": pack(norms(handle), "<f4"),
        "pca": pack(layout(handle, codes, "pca", 2), "<f4"),
        "umap": umap,
        "used": usage.used,
        "total": usage.total,
        "perplexity": usage.perplexity,
        "source": known.source,
    }


def gallery_class_view(
    checkpoint: Any, others: Any, progress: Progress | None = None
) -> dict[str, Any]:
    """Return the class of each code of each checkpoint, for a page that colors by it."""
    handles = _handles(checkpoint, others)
    found = {handle.name: dominant_classes(handle, progress) for handle in handles}
    _, class_names, palette = next(iter(found.values()))
    return {
        "classes": {
            "of": {name: _pack_classes(most) for name, (most, _, _) in found.items()},
            "names": class_names,
            "colors": palette.tolist(),
        }
    }
