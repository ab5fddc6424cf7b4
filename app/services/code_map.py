"""The code map, and the maps of several checkpoints beside one another, as charts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .checkpoints import TokenizerHandle, names, open_tokenizer, split_level
from .code_stats import atlas, codebook, dominant_classes, norms
from .embeddings import METHODS, NEIGHBORS, STORED_NEIGHBORS, has_layout, layout
from .errors import UserError
from .scene_counts import Progress
from .validation import one_of, whole_number
from .windows import chosen_mask, is_painted, parse_hidden, parse_window, tiles_in

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from regvq.plots.code_map import CodeMap
    from regvq.plots.coloring import Coloring
    from regvq.plots.windows import Window

COLORS = ("usage", "mean", "norm", "class")
MARKS = ("dots", "tiles")
LAYOUTS = {
    "pca": ("pca", STORED_NEIGHBORS),
    "umap": ("umap", STORED_NEIGHBORS),
    "umap-5": ("umap", 5),
    "umap-50": ("umap", 50),
}
"""The page's layouts: method, and the number of neighbors that UMAP keeps together."""
MOST = 4
"""Maps side by side, the chosen checkpoint's included."""


def coloring_of(handle: TokenizerHandle, color: str, progress: Progress | None = None) -> Coloring:
    """Return the colors of a checkpoint's codes; ``color`` is one of COLORS."""
    from regvq.plots.coloring import DEAD, Coloring, by_norm, by_usage

    known = atlas(handle)
    if color == "usage":
        return by_usage(known.counts)
    if color == "norm":
        return by_norm(norms(handle))
    if color == "mean":
        return Coloring(known.colors)
    most, titles, palette = dominant_classes(handle, progress)
    colors = np.where(most[:, None] >= 0, palette[most], DEAD).astype(np.uint8)
    found, uses = np.unique(most[most >= 0], return_counts=True)
    order = found[np.argsort(-uses, kind="stable")]
    numbers = np.full(len(titles) + 1, -1)  # the last one is that of codes without a class
    numbers[order] = np.arange(len(order))
    return Coloring(
        colors,
        classes={f"{titles[one]} {(most == one).sum():,}": tuple(palette[one]) for one in order},
        members=numbers[most],
    )


def code_map_of(
    handle: TokenizerHandle,
    method: str,
    axes: int,
    neighbors: int,
    color: str,
    progress: Progress | None = None,
) -> CodeMap:
    """Return the map of a checkpoint. Raises embeddings.TooFewCodes if there cannot be one."""
    from regvq.plots.code_map import CodeMap

    codes = codebook(handle)
    places = layout(handle, codes, method, axes, neighbors, progress)
    labels = None
    if color == "class":
        most, titles, _ = dominant_classes(handle, progress)
        labels = [f"mostly {titles[one]}" if one >= 0 else "no class" for one in most]
    return CodeMap(
        places, atlas(handle).counts, norms(handle), coloring_of(handle, color, progress), labels
    )


def map_chart(
    checkpoint: Any,
    chosen_layout: Any,
    axes: Any,
    color: Any,
    marks: Any,
    code: Any = None,
    selected: np.ndarray | None = None,
    window: Any = None,
    progress: Progress | None = None,
) -> tuple[Figure, str]:
    """Return the page's map, and the sentence below it.

    window: what ``windows.parse_window`` accepts, None for all codes. selected: codes, int (n,).
    Raises UserError.
    """
    from regvq.plots.code_map import map_figure, space_figure
    from regvq.plots.windows import MOST_MARKS, whole_window

    handle = open_tokenizer(checkpoint)
    method, neighbors = LAYOUTS[one_of(chosen_layout, "layout", LAYOUTS)]
    axes = whole_number(axes, "number of axes", 2, 3)
    one_of(color, "color", COLORS)
    one_of(marks, "mark", MARKS)
    shown = code_map_of(handle, method, axes, neighbors, color, progress)
    shown = replace(shown, coloring=replace(shown.coloring, hidden=parse_hidden(window)))
    words = []
    if away := len(shown.places) - len(shown.order):
        words.append(f"{away:,} codes of the classes that the legend hides are not shown.")
    if method == "pca":
        share = 100 * sum(explained(shown.places, codebook(handle)))
        words.append(f"The {axes} axes explain {share:.2g} % of the variance of the code vectors.")
    picked = code if isinstance(code, int) else None
    about = {"layout": f"{method}{axes}-{neighbors}" if method == "umap" else f"pca{axes}"}
    about |= {"color": color, "method": method}
    if axes == 3:
        figure = space_figure(shown, picked)
        if figure.layout.meta["inside"] < len(shown.order):
            words.append(f"The {MOST_MARKS:,} codes used most are shown.")
    else:
        # The axes of a UMAP have no unit, so that each fills its side of the plot.
        whole = whole_window(shown.places, fit=method == "umap")
        box: Window = whole if window is None else parse_window(window)
        zoom = (whole.right - whole.left) / max(box.right - box.left, 1e-12)
        tiles = None
        if marks == "tiles":
            tiles = tiles_in(handle, shown.places, shown.counts, box)
            about["marks"] = "dots" if tiles is None else "tiles"
        figure = map_figure(
            shown, box, tiles, zoom=zoom, whole=whole, picked=picked, equal=method == "pca",
            chosen=chosen_mask(selected, len(shown.places)),
            painted=is_painted(handle) if tiles is not None else None,
        )  # fmt: skip
        inside = figure.layout.meta["inside"]
        if inside > MOST_MARKS:
            words.append(
                f"{MOST_MARKS:,} of these {inside:,} codes answer to the pointer: those used most. "
                "Zoom in for the others; a lasso takes all."
            )
    about["chosen"] = None if selected is None or not len(selected) else len(selected)
    figure.layout.meta = {**figure.layout.meta, **about}
    return figure, " ".join(words)


def map_data(
    checkpoint: Any,
    method: Any,
    color: Any,
    axes: Any,
    neighbors: Any,
    progress: Progress | None = None,
) -> tuple[CodeMap, dict[str, Any]]:
    """Return the map of an API call, and its figures. Raises UserError."""
    from regvq.plots.code_map import map_figure, space_figure
    from regvq.plots.style import figure_json
    from regvq.plots.windows import whole_window

    handle = open_tokenizer(checkpoint)
    one_of(method, "method", METHODS)
    one_of(color, "color", COLORS)
    axes = whole_number(axes, "number of axes", 2, 3)
    one_of(neighbors, "number of neighbors", NEIGHBORS)
    shown = code_map_of(handle, method, axes, int(neighbors), color, progress)
    places, counts, known = shown.places, shown.counts, atlas(handle)
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
    else:
        figures["explained"] = explained(places, codebook(handle))
    if color == "class":
        most, class_names, _ = dominant_classes(handle)
        figures["class"] = [class_names[one] if one >= 0 else None for one in most]
    chart = space_figure(shown) if axes == 3 else map_figure(shown, whole_window(places))
    figures["chart"] = figure_json(chart)
    return shown, figures


def explained(places: np.ndarray, codes: np.ndarray) -> list[float]:
    """Return the share of the variance of the ``codes`` (K, D) that each axis of their map by PCA
    (K, axes) explains."""
    total = float(codes.astype(np.float64).var(axis=0).sum())
    return [float(one) / total if total else 0.0 for one in places.astype(np.float64).var(axis=0)]


def shown_codes(checkpoint: Any, color: Any, event: Any, codes: np.ndarray) -> np.ndarray:
    """Return those of some codes, int64 (n,), that a page's map shows. Raises UserError."""
    hidden = parse_hidden(event)
    if not hidden:
        return codes
    coloring = coloring_of(open_tokenizer(checkpoint), one_of(color, "color", COLORS))
    return codes[replace(coloring, hidden=hidden).visible()[codes]]


def places_on_page(checkpoint: Any, chosen_layout: Any) -> np.ndarray:
    """Return the codes' places on the page's map in a plane, float32 (K, 2). Raises UserError."""
    handle = open_tokenizer(checkpoint)
    method, neighbors = LAYOUTS[one_of(chosen_layout, "layout", LAYOUTS)]
    return layout(handle, codebook(handle), method, 2, neighbors)


# ---------------------------------------------------------------- several checkpoints


def other_checkpoints(checkpoint: Any, chosen: Any) -> tuple[list[str], list[str]]:
    """Return the checkpoints that can be shown beside this one, and those that are chosen."""
    known = [name for name in names() if name != split_level(checkpoint)[0]]
    return known, [name for name in chosen or [] if name in known]


def gallery_figure(
    checkpoint: Any,
    others: Any,
    chosen_layout: Any,
    color: Any,
    code: Any = None,
    selected: np.ndarray | None = None,
    progress: Progress | None = None,
) -> tuple[Figure, str]:
    """Return the maps of a checkpoint and up to MOST - 1 others in one color scale, and a sentence.

    A UMAP that no bundle or cache holds would take minutes: PCA stands in its place. The picked
    code and the selection are those of the same numbers in every map. Raises UserError.
    """
    from regvq.metrics.codebook_usage import usage_of
    from regvq.plots.code_map import CodeMap
    from regvq.plots.coloring import by_norms, by_shares
    from regvq.plots.gallery import gallery_figure as figure_of

    wanted = [checkpoint, *(others if isinstance(others, list) else [])]
    handles = [open_tokenizer(name) for name in dict.fromkeys(wanted)][:MOST]
    method, _ = LAYOUTS[one_of(chosen_layout, "layout", LAYOUTS)]
    one_of(color, "color", COLORS)
    if color == "usage":
        colorings = by_shares([atlas(handle).counts for handle in handles])
    elif color == "norm":
        colorings = by_norms([norms(handle) for handle in handles])
    else:
        colorings = [coloring_of(handle, color, progress) for handle in handles]
    maps, replaced = {}, []
    for handle, coloring in zip(handles, colorings, strict=True):
        codes, counts = codebook(handle), atlas(handle).counts
        own = method
        if method == "umap" and not has_layout(handle, codes, 2, STORED_NEIGHBORS):
            own = "pca"
            replaced.append(handle.name)
        usage = usage_of(counts)
        title = (
            f"<b>{handle.name}</b><br>{usage.used:,} of {usage.total:,} codes used, "
            f"perplexity {usage.perplexity:,.0f}"
        )
        places = layout(handle, codes, own, 2)
        shown = CodeMap(places, counts, norms(handle), coloring)
        maps[handle.name] = (title, shown, chosen_mask(selected, len(places)))
    picked = code if isinstance(code, int) else None
    figure = figure_of(maps, picked, equal=method == "pca")
    figure.layout.meta = {
        **figure.layout.meta, "method": method, "color": color, "codes": len(maps),
    }  # fmt: skip
    words = "Click a map's name to show its checkpoint in all tabs."
    if replaced:
        words += f" No UMAP is stored for {', '.join(replaced)}: PCA is shown."
    return figure, words


def opened_checkpoint(name: Any) -> str:
    """Return the name of the map that was clicked, a known checkpoint. Raises UserError."""
    if not isinstance(name, str):
        raise UserError("There is no checkpoint of that name.")
    return open_tokenizer(name).bundle.name
