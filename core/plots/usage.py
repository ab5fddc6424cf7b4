"""The uses of all codes: as a heat map, and by rank."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .code_map import CodeMap, window_figure
from .coloring import Coloring, by_usage
from .sources import codes_of
from .style import ink, make_figure, note, plain_axis, rule
from .windows import Window, draw_cells

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from torch import Tensor

    from ..bundles.bundle import Bundle
    from ..tokenizer import Tokenizer


def plot_usage(
    source: Bundle | Tokenizer | str | Path, pictures: Iterable[Tensor] | None = None
) -> Figure:
    """Return the uses of all codes as a heat map, similar codes adjacent, dead ones crossed out.

    source: a tokenizer, or the folder of a bundle or of a run. pictures: images (3, H, W) in
    [-1, 1] to count codes on; without them a bundle's own count is used, and a tokenizer is counted
    on 48 drawn scenes.
    """
    codes = codes_of(source, pictures)
    size = len(codes.counts)
    columns, code_at = math.ceil(math.sqrt(size)), np.arange(size)
    if len(codes.atlas.get("grid", ())) == size:
        code_at, columns = codes.atlas["grid"].argsort(), int(codes.atlas["grid_columns"])
    figure = cells_figure(codes.counts, code_at, columns, by_usage(codes.counts))
    title = f"{codes.name}: uses of {size:,} codes, counted on {codes.counted_on}"
    return figure.update_layout(title={"text": title}, margin={"t": 40})


def cells_figure(
    counts: np.ndarray,
    code_at: np.ndarray,
    columns: int,
    coloring: Coloring,
    window: Window | None = None,
    tiles: np.ndarray | None = None,
    *,
    chosen: np.ndarray | None = None,
    picked: int | None = None,
    painted: np.ndarray | None = None,
) -> Figure:
    """Return codes as the cells of a grid: a picture of those in the window, and marks above it.

    counts: (K,). code_at: int (K,), the code in each cell, row by row from the top, ``columns`` per
    row. window: in cells, by default all of them; the cell in column c and row r covers c to c + 1
    and -r - 1 to -r. tiles: uint8 (K, f, f, 3), shown in place of the colors. chosen: bool (K,),
    codes of a selection; the others are dark. picked: a code that is marked. painted: bool (K,),
    False for codes without a tile, which are shown in their color.
    """
    size = len(counts)
    rows = -(-size // columns)
    whole = Window(0, columns, -rows, 0)
    if window is None:
        scale = max(1, 1024 // max(columns, rows))
        window = Window(0, columns, -rows, 0, columns * scale, rows * scale)
    faces = coloring.colors if tiles is None else tiles
    if tiles is not None and painted is not None and not painted.all():
        faces = tiles.copy()
        faces[~painted] = coloring.colors[~painted][:, None, None]
    if chosen is not None:
        faces = np.where(chosen.reshape(-1, *[1] * (faces.ndim - 1)), faces, faces // 5)
    picture = draw_cells(window, code_at, columns, faces, np.asarray(counts) == 0)
    places = cell_places(code_at, columns)
    shown = CodeMap(places, counts, None, coloring)
    inside = shown.order[window.holds(places[shown.order])]
    return window_figure(shown, window, picture, inside, whole=whole, picked=picked)


def cell_places(code_at: np.ndarray, columns: int) -> np.ndarray:
    """Return the middle of each code's cell, float32 (K, 2)."""
    row, column = np.divmod(np.arange(len(code_at)), columns)
    places = np.empty((len(code_at), 2), np.float32)
    places[code_at] = np.stack([column + 0.5, -row - 0.5], 1)
    return places


def plot_ranks(counts: np.ndarray, code: int | None = None) -> Figure:
    """Return the uses of each code by rank, on logarithmic axes.

    counts: int (K,). A flat line is even use, a steep one collapse; the dotted lines are the uses
    of each code if all were used equally, and the rank that equals the perplexity. At most
    1,024 ranks are drawn, evenly on the logarithmic axis. code: one that is marked.
    """
    from ..metrics.codebook_usage import usage_of

    counts = np.asarray(counts)
    usage, size = usage_of(counts), len(counts)
    order = np.argsort(-counts, kind="stable")
    alive = max(1, int((counts > 0).sum()))
    ranks = np.unique(np.rint(np.geomspace(1, alive, min(alive, 1024))).astype(np.int64))
    chosen = order[ranks - 1]
    tokens = max(1, int(counts.sum()))
    even = max(tokens / size, 1e-9)
    hover = "code %{customdata[0]}: %{y:,} uses, %{customdata[1]:.2g} %, no. %{x:,}<extra></extra>"
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers" if alive <= 64 else "lines",
            "name": "uses",
            "x": ranks,
            "y": counts[chosen],
            "customdata": np.stack([chosen, 100 * counts[chosen] / tokens], 1),
            "line": {"color": ink("accent"), "width": 2},
            "hovertemplate": hover,
        }
    ]
    if code is not None and 0 <= code < size and counts[code] > 0:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"code {code}",
                "x": [int((counts > counts[code]).sum()) + 1],
                "y": [int(counts[code])],
                "customdata": [[code, 100 * float(counts[code]) / tokens]],
                "marker": {
                    "color": ink("accent"),
                    "size": 11,
                    "line": {"color": ink("surface"), "width": 2},
                },
                "hovertemplate": hover,
            }
        )
    marks = [rule(x0=1, x1=size, y0=even, y1=even)]
    words = [note("even use", x=0, y=math.log10(even), xanchor="left", yanchor="bottom")]
    if usage.perplexity >= 1:
        at = float(usage.perplexity)
        marks.append(rule("warm", x0=at, x1=at, y0=0, y1=1, yref="y domain"))
        words.append(
            note(f"perplexity {at:,.0f}", color=ink("warm"), x=math.log10(at), y=0, yref="y domain",
                 xanchor="right", yanchor="bottom")
        )  # fmt: skip
    top = max(2.0, float(counts.max(initial=1)))
    return make_figure(
        traces,
        columns=("code", "share of the tokens in percent"),
        showlegend=False,
        xaxis=plain_axis(
            "rank", type="log", dtick=1, range=[-0.02, math.log10(max(2, size)) + 0.05]
        ),
        yaxis=plain_axis("uses", type="log", dtick=1, range=[-0.15, math.log10(top) + 0.1]),
        shapes=marks,
        annotations=words,
        height=250,
        meta={"about": f"Uses of each code by rank; perplexity {usage.perplexity:,.0f}"},
    )
