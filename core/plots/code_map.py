"""The codes as a map: similar codes near one another, in two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .coloring import Coloring, by_norm, by_usage, legend_traces
from .sources import codes_of
from .style import ink, make_figure, plain_axis
from .windows import (
    MOST_MARKS,
    MOST_TILES,
    Window,
    dot_radius,
    draw_dots,
    draw_tiles,
    image_of,
    tile_side,
    whole_window,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from ..bundles.bundle import Bundle
    from ..tokenizer import Tokenizer


@dataclass(frozen=True)
class CodeMap:
    """The contents of a map of K codes."""

    places: np.ndarray
    """float32 (K, 2 or 3)"""
    counts: np.ndarray
    """(K,)"""
    norms: np.ndarray | None
    """float32 (K,); None where they are not shown"""
    coloring: Coloring
    labels: Sequence[str] | None = None
    """A further word about each code, such as its class."""

    @property
    def order(self) -> np.ndarray:
        """The codes that are shown, from the least used to the most used one: a later one is drawn
        above."""
        codes = np.argsort(self.counts, kind="stable")
        return codes[self.coloring.visible()[codes]]

    def shares(self) -> np.ndarray:
        """Return the share of each code in all uses, in percent."""
        return 100 * self.counts / max(1, int(self.counts.sum()))


def plot_code_map(
    source: Bundle | Tokenizer | str | Path,
    method: Literal["umap", "pca"] = "umap",
    color: Literal["usage", "norm", "mean"] = "usage",
    axes: Literal[2, 3] = 2,
    neighbors: int = 15,
    marks: Literal["dots", "tiles"] = "dots",
) -> Figure:
    """Return the map of a tokenizer's codes.

    source: a tokenizer, or the folder of a bundle or of a run. method: the UMAP that the bundle
    stores, or one that is computed now, which takes seconds to minutes; or PCA. color: by uses, by
    the length of the vectors, or the mean color of the codes' tiles. marks: with two axes, codes
    can be drawn as their tiles. The last two need a bundle with an atlas. Raises ValueError without
    one.
    """
    from ..analysis.embedding import pca_map, umap_map

    codes = codes_of(source)
    book, atlas = codes.codebook(), codes.atlas
    stored = atlas.get(f"umap{axes}")
    if method == "pca":
        places = pca_map(book, axes)
    elif neighbors == 15 and stored is not None and stored.shape == (len(book), axes):
        places = stored.astype(np.float32)
    else:
        places = umap_map(book, axes, neighbors, uses=codes.counts)
    if (color == "mean" or marks == "tiles") and "paints" not in atlas:
        raise ValueError(f"{codes.name} has no atlas with the codes' tiles.")
    norms = np.linalg.norm(book, axis=1)
    if color == "usage":
        coloring = by_usage(codes.counts)
    else:
        coloring = by_norm(norms) if color == "norm" else Coloring(atlas["mean_color"])
    shown = CodeMap(places, codes.counts, norms, coloring)
    if axes == 3:
        return space_figure(shown)
    tiles = atlas["paints"] if marks == "tiles" else None
    return map_figure(shown, whole_window(places), tiles)


PLATE: dict[str, Any] = {
    "legend": {"y": -0.02, "font": {"color": ink("on-plate")}},
    "modebar": {"color": "#8b93a0", "activecolor": "#6fe0e2", "bgcolor": "rgba(0,0,0,0)"},
}
"""The legend and the tools on the dark plate of a map, in both themes."""
COLUMNS = ("code", "uses", "share in percent", "rank", "norm")


def map_figure(
    shown: CodeMap,
    window: Window,
    tiles: np.ndarray | None = None,
    *,
    zoom: float = 1.0,
    chosen: np.ndarray | None = None,
    picked: int | None = None,
    whole: Window | None = None,
    equal: bool = True,
    painted: np.ndarray | None = None,
) -> Figure:
    """Return a map in two dimensions: a picture of all codes in the window, and marks above it.

    tiles: uint8 (K, f, f, 3), if codes are drawn as tiles where no more than MOST_TILES are inside.
    zoom: the enlargement of the window. chosen: bool (K,), codes of a selection; others are dark.
    picked: a code that is marked. whole: the window of all codes, to which the axes are reset.
    equal: False if the axes need no common unit. painted: bool (K,), False for codes without a
    tile, which are drawn in their color.
    """
    count, own = len(shown.places), shown.order
    inside = own[window.holds(shown.places[own])]
    # Smaller on a phone, where the same codes share fewer pixels.
    radius = dot_radius(count, zoom) * min(1.5, max(0.5, window.width / 1200))
    faint = None if chosen is None else ~chosen[inside]
    at = shown.places[inside]
    if tiles is not None and len(inside) <= MOST_TILES:
        side = tile_side(window, len(inside), radius)
        own = tiles[inside]
        if painted is not None and not painted[inside].all():
            missing = inside[~painted[inside]]
            own = own.copy()
            own[~painted[inside]] = shown.coloring.colors[missing][:, None, None]
        picture = draw_tiles(window, at, own, side, faint)
        # A scale of colors would explain nothing here.
        shown = replace(shown, coloring=Coloring(shown.coloring.colors))
    else:
        picture = draw_dots(window, at, shown.coloring.colors[inside], radius, faint)
    return window_figure(shown, window, picture, inside, whole=whole, picked=picked, equal=equal)


def window_figure(
    shown: CodeMap,
    window: Window,
    picture: np.ndarray,
    inside: np.ndarray,
    *,
    whole: Window | None = None,
    picked: int | None = None,
    equal: bool = True,
) -> Figure:
    """Return the figure of a window's picture with the marks of the codes ``inside``, int (n,), at
    most MOST_MARKS of them, the last ones. whole: the window of all codes, for the axes."""
    traces = [mark_trace(shown, inside[-MOST_MARKS:]), *legend_traces(shown.coloring)]
    if picked is not None and 0 <= picked < len(shown.places):
        traces.append(picked_mark(shown.places[picked], picked))
    else:
        traces.append({**picked_mark(np.zeros(2), -1), "x": [None], "y": [None]})
    whole = whole or whole_window(shown.places)
    axis = {"visible": False, "showgrid": False}
    return make_figure(
        traces,
        columns=COLUMNS if shown.norms is not None else COLUMNS[:4],
        images=[image_of(window, picture)],
        plot_bgcolor=ink("plate"),
        xaxis={**axis, "range": [whole.left, whole.right]},
        yaxis={
            **axis,
            "range": [whole.bottom, whole.top],
            **({"scaleanchor": "x"} if equal else {}),
        },
        dragmode="pan",
        hoverdistance=24,
        margin={"l": 0, "r": 0, "t": 30, "b": 0},
        **PLATE,
        height=640,
        meta={
            "keys": "map",
            "inside": len(inside),
            "codes": len(shown.places),
            "window": [window.left, window.right, window.bottom, window.top],
            "whole": [whole.left, whole.right, whole.bottom, whole.top],
            "pixels": [window.width, window.height],
            "about": f"Map of {len(shown.places):,} codes",
        },
    )


def rows_of(shown: CodeMap, codes: np.ndarray) -> np.ndarray:
    """Return the rows of the figure's table for some codes, float64 (n, 5): see COLUMNS; without
    norms (n, 4). Codes with equally many uses share a rank."""
    uses = shown.counts[codes]
    ranks = 1 + len(shown.counts) - np.searchsorted(np.sort(shown.counts), uses, side="right")
    columns = [codes, uses, shown.shares()[codes], ranks]
    if shown.norms is not None:
        columns.append(shown.norms[codes])
    return np.stack(columns, 1)


def mark_trace(shown: CodeMap, codes: np.ndarray) -> dict[str, Any]:
    """Return the trace of the marks that answer to the pointer; the picture shows them."""
    trace: dict[str, Any] = {
        "type": "scatter",
        # Plotly draws nothing for them: 4,096 elements block a page for half a second.
        "mode": "none",
        "hoveron": "points",
        "name": "codes",
        "x": shown.places[codes, 0],
        "y": shown.places[codes, 1],
        "customdata": rows_of(shown, codes),
        "hoverinfo": "none",
        "showlegend": False,
    }
    if shown.labels is not None:
        trace["text"] = [shown.labels[code] for code in codes]
    return trace


def picked_mark(place: np.ndarray, code: int) -> dict[str, Any]:
    """Return the ring around a code that is picked."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"code {code}",
        "x": [float(place[0])],
        "y": [float(place[1])],
        "meta": {"table": False, "picked": code},
        "marker": {
            "size": 18,
            "symbol": "circle-open",
            "color": "#6fe0e2",
            "line": {"width": 2.5},
        },
        "hoverinfo": "skip",
        "showlegend": False,
    }


def space_figure(shown: CodeMap, picked: int | None = None) -> Figure:
    """Return a map in three dimensions: the MOST_MARKS codes that are used most, as marks."""
    codes = shown.order[::-1][:MOST_MARKS]
    colors = [f"rgb({r},{g},{b})" for r, g, b in shown.coloring.colors[codes].tolist()]
    x, y, z = shown.places[codes].T
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter3d",
            "mode": "markers",
            "name": "codes",
            "x": x,
            "y": y,
            "z": z,
            "customdata": rows_of(shown, codes),
            "marker": {
                "size": 3.2 if len(codes) <= 1500 else 2.4,
                "color": colors,
                "line": {"width": 0},
            },
            "hoverinfo": "none",
            "showlegend": False,
        }
    ]
    if picked is not None and 0 <= picked < len(shown.places):
        place = shown.places[picked]
        traces.append(
            {
                "type": "scatter3d",
                "mode": "markers",
                "name": f"code {picked}",
                "x": [float(place[0])],
                "y": [float(place[1])],
                "z": [float(place[2])],
                "meta": {"table": False, "picked": picked},
                "marker": {"size": 10, "symbol": "circle-open", "color": "#6fe0e2"},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
    traces += legend_traces(shown.coloring)
    # On the dark plate of both themes, behind the codes.
    axis = plain_axis("", showticklabels=False, gridcolor="#333b46", linecolor="#333b46")
    return make_figure(
        traces,
        columns=COLUMNS,
        scene={"xaxis": axis, "yaxis": axis, "zaxis": axis, "aspectmode": "data",
               "camera": {"eye": {"x": 1.0, "y": 1.0, "z": 0.75}}, "bgcolor": ink("plate")},
        xaxis={"visible": False},
        yaxis={"visible": False},
        **PLATE,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        height=640,
        meta={"codes": len(shown.places), "inside": len(codes), "space": True,
              "about": f"Map of {len(codes):,} of {len(shown.places):,} codes in three dimensions"},
    )  # fmt: skip
