"""The codebook as a chart: a cell per code, by its uses or with its tile, in several orders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .checkpoints import TokenizerHandle, open_tokenizer
from .code_details import counts_on, usage_figures
from .code_stats import atlas
from .scene_counts import Progress
from .validation import one_of
from .windows import PATIENCE, chosen_mask, parse_window

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

VIEWS = ("usage", "tiles")
ORDERS = ("alike", "usage", "color", "number")
SMALLEST = 5
"""Pixels of a cell from which codes are shown as their tiles; below, in their mean color."""


def ordered(handle: TokenizerHandle, counts: np.ndarray, order: Any) -> np.ndarray:
    """Return the code in each cell, int64 (K,), row by row. Raises UserError."""
    from regvq.analysis.arrangement import order_by_color

    one_of(order, "order", ORDERS)
    if order == "alike":
        return atlas(handle).alike()
    if order == "usage":
        return np.argsort(-counts, kind="stable")
    return order_by_color(atlas(handle).colors) if order == "color" else np.arange(len(counts))


def codebook_chart(
    checkpoint: Any,
    source: Any,
    image: Any,
    view: Any,
    order: Any,
    code: Any = None,
    selected: np.ndarray | None = None,
    event: Any = None,
    progress: Progress | None = None,
) -> tuple[Figure, str, dict[str, Any]]:
    """Return the chart of a codebook, the sentence below it, and the figures of its usage.

    event: the window that the page shows, see ``windows.parse_window``; None for all codes.
    selected: codes, int (n,). Raises UserError.
    """
    from regvq.plots.coloring import Coloring, by_usage
    from regvq.plots.usage import cells_figure
    from regvq.plots.windows import MOST_MARKS

    handle = open_tokenizer(checkpoint)
    counts, words = counts_on(handle, source, image, progress, partly=True)
    one_of(view, "view", VIEWS)
    code_at, known = ordered(handle, counts, order), atlas(handle)
    columns = math.ceil(math.sqrt(len(counts)))
    window = None if event is None else parse_window(event)
    coloring, tiles, painted = by_usage(counts), None, None
    if view == "tiles":
        coloring = Coloring(known.colors)
        cell = window.width / (window.right - window.left) if window else 1024 / columns
        if cell >= SMALLEST:
            tiles, painted = known.tiles, known.painted
            if not known.complete:
                known.look(_inside(window, code_at, columns, counts), PATIENCE)
    figure = cells_figure(
        counts, code_at, columns, coloring, window, tiles,
        chosen=chosen_mask(selected, len(counts)), picked=code if isinstance(code, int) else None,
        painted=painted,
    )  # fmt: skip
    figure.layout.meta = {
        **figure.layout.meta,
        "view": view,
        "order": order,
        "chosen": None if selected is None or not len(selected) else len(selected),
        "about": f"The uses of {len(counts):,} codes, a cell per code",
    }
    note = "A crossed-out cell is a code without uses." if (counts == 0).any() else ""
    inside = figure.layout.meta["inside"]
    if inside > MOST_MARKS:
        note += (
            f" {MOST_MARKS:,} of these {inside:,} codes answer to the pointer: those used most. "
            "Zoom in for the others; a box takes all."
        )
    return figure, note.strip(), usage_figures(counts, words)


def _inside(window: Any, code_at: np.ndarray, columns: int, counts: np.ndarray) -> np.ndarray:
    """Return the codes of a window, those used most first."""
    from regvq.plots.usage import cell_places

    inside = np.arange(len(code_at))
    if window is not None:
        inside = np.flatnonzero(window.holds(cell_places(code_at, columns)))
    return inside[np.argsort(-counts[inside], kind="stable")]


def places_on_page(
    checkpoint: Any, source: Any, image: Any, order: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of each code's cell, float32 (K, 2), and the counts (K,)."""
    from regvq.plots.usage import cell_places

    handle = open_tokenizer(checkpoint)
    counts, _ = counts_on(handle, source, image, partly=True)
    columns = math.ceil(math.sqrt(len(counts)))
    return cell_places(ordered(handle, counts, order), columns), counts
