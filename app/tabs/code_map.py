"""The tab Code map: every code a point, drawn by what it is, where its likes are near it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gradio as gr
import numpy as np

from ..services import checkpoints
from ..services.checkpoints import MODEL_QUEUE, Model, one_at_a_time
from ..services.code_stats import atlas, class_counts, patches, sprite_png
from ..services.embeddings import METHODS, NEIGHBOURS, has_layout, layout
from ..ui.charts import scatter
from ..ui.errors import Refused, in_a_sentence
from ..ui.pictures import FLOOR, heat_levels, packed, page_file, png
from ..ui.theme import asset
from .codebook import card_of, show_again

TAB = "Code map"
COLOURS = ("usage", "mean", "norm", "class")
MAP_QUEUE: dict[str, Any] = {"concurrency_id": "map", "concurrency_limit": 1}
"""A UMAP takes its time and no model: reconstructions need not wait for it."""
PROGRESS = gr.Progress()
OWN = "Checkpoint's own"


def _choice(value: Any, what: str, among: tuple) -> Any:
    if value not in among:
        names = ", ".join(str(one) for one in among)
        raise Refused(f"The {what} must be one of {names}, not {str(value)[:40]!r}.")
    return value


@lru_cache(maxsize=6)
def norms(which: Model) -> np.ndarray:
    """The length of each code, float32 (K,)."""
    return np.linalg.norm(codebook(which), axis=1)


@lru_cache(maxsize=6)
def codebook(which: Model) -> np.ndarray:
    """The codes, float32 (K, D)."""
    return which.tokenizer.quantizer.codebook().detach().cpu().numpy()


def classes_of(which: Model, progress: gr.Progress | None = None) -> tuple[np.ndarray, list, Any]:
    """The class on which each code stands most, int64 (K,), -1 for none; their names; colours."""
    from regvq.analysis.rendering import number_colors

    counts, names = class_counts(which, progress)
    most = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    return most, list(names), number_colors(len(names))


def colours_of(which: Model, colour: str, progress: gr.Progress | None = None) -> np.ndarray:
    """A colour for each code, uint8 (K, 3)."""
    from regvq.analysis.rendering import ramp

    known = atlas(which)
    if colour == "mean":
        return known["mean_color"]
    if colour == "class":
        most, _, palette = classes_of(which, progress)
        return np.where(most[:, None] >= 0, palette[most], 90).astype(np.uint8)
    if colour == "norm":
        long = norms(which)
        span = max(float(np.ptp(long)), 1e-9)
        return ramp(FLOOR + (1 - FLOOR) * (long - long.min()) / span)
    counts = known["counts"]
    found = ramp(FLOOR + (1 - FLOOR) * heat_levels(counts))
    found[counts == 0] = 90
    return found


@in_a_sentence
def code_map(
    checkpoint: Any,
    method: Any = "umap",
    colour: Any = "usage",
    axes: Any = 2,
    neighbours: Any = 15,
    progress: gr.Progress = PROGRESS,
) -> tuple:
    """/code_map: the map as a picture, and figures with each code's place."""
    which = checkpoints.model(checkpoint)
    _choice(method, "method", METHODS)
    _choice(colour, "colour", COLOURS)
    axes = checkpoints.whole_number(axes, "number of axes", 2, 3)
    _choice(neighbours, "number of neighbours", NEIGHBOURS)
    with checkpoints.LOCK:
        known, paint = atlas(which), colours_of(which, colour, progress)
        codes = codebook(which)
    places = layout(which, codes, method, axes, int(neighbours), progress)
    figures = {
        "method": method,
        "colour": colour,
        "axes": axes,
        "x": places[:, 0].tolist(),
        "y": places[:, 1].tolist(),
        **({"z": places[:, 2].tolist()} if axes == 3 else {}),
        "uses": known["counts"].tolist(),
        "norm": norms(which).tolist(),
        "codebook_size": len(places),
        "dead": int((known["counts"] == 0).sum()),
        "source": str(known["source"]),
        "checkpoint": which.name,
    }
    if method == "umap":
        figures["neighbours"] = int(neighbours)
    if colour == "class":
        most, names, _ = classes_of(which)
        figures["class"] = [names[one] if one >= 0 else None for one in most]
    return page_file(png(scatter(places, paint)), "map")["path"], figures


@in_a_sentence
@one_at_a_time
def show(checkpoint: Any, here: Any = TAB) -> dict[str, Any]:
    """For the page: what is known of every code at once, and the map by PCA."""
    from regvq.analysis.rendering import ramp

    if here != TAB:  # opening the tab will ask again
        return gr.skip()
    which = checkpoints.model(checkpoint)
    known, codes, real = atlas(which), codebook(which), patches(which)
    return {
        "checkpoint": which.name,
        "real": real
        and {
            "sheet": page_file(real.sheet, "patches", "webp"),
            "of": packed(np.diff(real.starts), "u1"),
            "side": int(real.tiles.shape[1]),
            "source": real.source,
            "pictures": real.pictures,
        },
        "counts": packed(known["counts"], "<f8"),
        "source": str(known["source"]),
        "colours": packed(known["mean_color"], "u1"),
        "norms": packed(norms(which), "<f4"),
        "patch": int(known["paints"].shape[1]),
        "sprite": page_file(sprite_png(which), "codes"),
        "ramp": ramp(np.linspace(FLOOR, 1, 64)).tolist(),
        "pca": packed(layout(which, codes, "pca", 3), "<f4"),
        "quick": [axes for axes in (2, 3) if has_layout(which, codes, axes, NEIGHBOURS[1])],
    }


@in_a_sentence
def show_layout(checkpoint: Any, event: gr.EventData, progress: gr.Progress = PROGRESS) -> dict:
    """A UMAP that the page asked for: remembered, or laid out now."""
    which = checkpoints.model(checkpoint)
    axes = checkpoints.whole_number(getattr(event, "axes", None), "number of axes", 2, 3)
    count = _choice(getattr(event, "neighbours", None), "number of neighbours", NEIGHBOURS)
    with checkpoints.LOCK:
        codes = codebook(which)
    try:
        places = layout(which, codes, "umap", axes, count, progress)
    except Refused as refusal:  # the page goes back to what it has
        gr.Warning(str(refusal), title="There is no such map")
        return {"checkpoint": which.name, "refused": True}
    return {
        "checkpoint": which.name,
        "layout": {"axes": axes, "neighbours": count, "places": packed(places, "<f4")},
    }


@in_a_sentence
@one_at_a_time
def show_classes(checkpoint: Any, progress: gr.Progress = PROGRESS) -> dict[str, Any]:
    """The class on which each code stands, when the page asks to colour by it."""
    which = checkpoints.model(checkpoint)
    most, names, palette = classes_of(which, progress)
    return {
        "checkpoint": which.name,
        "classes": {
            "of": packed(np.where(most < 0, 255, most), "u1"),
            "names": names,
            "colours": palette.tolist(),
        },
    }


@in_a_sentence
def show_picked(checkpoint: Any, image: Any, event: gr.EventData) -> tuple[int, dict[str, Any]]:
    """A code was clicked in the map, in a lassoed group, or among another code's neighbours."""
    card = card_of(checkpoint, getattr(event, "index", None), image, OWN)
    return card["code"], card


@in_a_sentence
def show_card(checkpoint: Any, code: Any, image: Any, here: Any = TAB) -> tuple[Any, Any]:
    """The code that was picked last, in whatever tab."""
    if here != TAB:
        return gr.skip(), gr.skip()
    return show_again(checkpoint, code, image, OWN)


def build(
    tab: gr.Tab,
    checkpoint: gr.Dropdown,
    default: str,
    picture: gr.Image,
    code: gr.State,
    here: gr.State,
) -> None:
    """Draw the tab and wire it. Checkpoint, picture and picked code are shared by all tabs."""
    from . import code_map_gallery  # draws with what stands here

    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            chart = gr.HTML(
                value={},
                html_template=asset("codemap.html"),
                js_on_load=asset("codemap.js"),
                elem_id="code-map",
                apply_default_css=False,
            )
            code_map_gallery.build(tab, checkpoint, default, here)
        with gr.Column(scale=0, min_width=380, elem_classes="rv-detail rv-aside"):
            card = gr.HTML(
                value={},
                html_template=asset("code.html"),
                js_on_load=asset("code.js"),
                elem_id="map-code",
                apply_default_css=False,
            )

    own = {"api_visibility": "private", "trigger_mode": "always_last"}
    tab.select(show, checkpoint, chart, **own, **MODEL_QUEUE)
    tab.select(show_card, [checkpoint, code, picture], [code, card], **own, **MODEL_QUEUE)
    checkpoint.change(show, [checkpoint, here], chart, **own, **MODEL_QUEUE)
    checkpoint.change(
        show_card, [checkpoint, code, picture, here], [code, card], **own, **MODEL_QUEUE
    )
    # Not "always_last": what that sends later is the first event again, not the last one.
    own["trigger_mode"] = "multiple"
    chart.layout(show_layout, checkpoint, chart, **own, **MAP_QUEUE)
    chart.classes(show_classes, checkpoint, chart, **own, **MODEL_QUEUE)
    for part in (chart, card):
        part.pick(show_picked, [checkpoint, picture], [code, card], **own, **MODEL_QUEUE)

    with gr.Row(visible=False):  # the tab as an API: plain inputs, plain outputs
        gr.Button().click(
            code_map,
            [
                gr.Textbox(default, label="checkpoint"),
                gr.Textbox("umap", label="method"),
                gr.Textbox("usage", label="colour"),
                gr.Number(2, label="axes"),
                gr.Number(15, label="neighbours"),
            ],
            [gr.Image(label="plot"), gr.JSON(label="figures")],
            api_name="code_map",
            **MAP_QUEUE,
        )
