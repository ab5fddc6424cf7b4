"""The tab Code map: every code as a point, with similar codes near one another."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import code_details
from ..services.checkpoints import open_tokenizer
from ..services.code_map import class_view, layout_view, map_data, map_view
from ..services.embeddings import TooFewCodes
from ..services.encoding import png_file
from ..services.links import TABS
from ..ui.charts import scatter
from ..ui.component import (
    INSTANT,
    MAP_QUEUE,
    MODEL_QUEUE,
    PRIVATE,
    PROGRESS,
    SILENT,
    TILE_QUEUE,
    api_row,
    html_component,
)
from ..ui.errors import report_user_errors
from ..ui.pictures import file_path, publish
from . import code_map_gallery
from .codebook import show_known, show_tiles
from .shared_inputs import Shared

TITLE = TABS["codemap"]
COUNTED_ON = "bundle"
"""The count of the code's card on this tab."""


@report_user_errors
def code_map(
    checkpoint: Any,
    method: Any = "umap",
    colour: Any = "usage",
    axes: Any = 2,
    neighbours: Any = 15,
    progress: gr.Progress = PROGRESS,
) -> tuple:
    """/code_map: the map as a picture, and figures with each code's place."""
    places, colors, figures = map_data(checkpoint, method, colour, axes, neighbours, progress)
    return file_path(png_file(scatter(places, colors), "map")), figures


@report_user_errors
def show(checkpoint: Any, here: Any = TITLE) -> dict[str, Any]:
    """Return what the page draws of every code, with the map by PCA."""
    if here != TITLE:  # the tab asks again when it is opened
        return gr.skip()
    return publish(map_view(checkpoint))


@report_user_errors
def show_layout(checkpoint: Any, event: gr.EventData, progress: gr.Progress = PROGRESS) -> dict:
    """Return the UMAP that the page asks for, from the cache or computed now."""
    handle = open_tokenizer(checkpoint)
    axes, neighbors = getattr(event, "axes", None), getattr(event, "neighbors", None)
    try:
        return layout_view(handle, axes, neighbors, progress)
    except TooFewCodes as error:  # the page returns to its previous map
        gr.Warning(str(error), title="This map is not available")
        return {"checkpoint": handle.name, "refused": True}


@report_user_errors
def show_classes(checkpoint: Any, progress: gr.Progress = PROGRESS) -> dict[str, Any]:
    """Return the class of each code when the page colors by it."""
    return class_view(checkpoint, progress)


@report_user_errors
def more_known(checkpoint: Any, event: gr.EventData) -> dict[str, Any]:
    """Return what has become known of the codes since the page asked last."""
    return show_known(checkpoint, COUNTED_ON, event)[0]


@report_user_errors
def select_code(checkpoint: Any, image: Any, event: gr.EventData) -> tuple[int, dict[str, Any]]:
    """Return the code that was clicked, on the map, in a selection or among the nearest codes, and
    its card."""
    card = code_details.code_card(checkpoint, getattr(event, "index", None), image, COUNTED_ON)
    return card["code"], publish(card)


@report_user_errors
def show_code(checkpoint: Any, code: Any, image: Any, here: Any = TITLE) -> tuple[Any, Any]:
    """Return the selected code and its card."""
    if here != TITLE:
        return gr.skip(), gr.skip()
    code = code_details.current_code(checkpoint, code, image)
    return code, publish(code_details.code_card(checkpoint, code, image, COUNTED_ON))


def build(tab: gr.Tab, shared: Shared) -> None:
    """Draw the tab and add its listeners."""
    checkpoint, picture, code, here = shared.checkpoint, shared.picture, shared.code, shared.here
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            chart = html_component("code_map")
            code_map_gallery.build(tab, shared)
        with gr.Column(scale=0, min_width=380, elem_classes="rv-detail rv-aside"):
            card = html_component("code_card", elem_id="map-code")

    latest = {**PRIVATE, **MODEL_QUEUE, "trigger_mode": "always_last"}
    selected = [checkpoint, code, picture]
    tab.select(show, checkpoint, chart, **latest)
    tab.select(show_code, selected, [code, card], **latest)
    checkpoint.change(show, [checkpoint, here], chart, **latest)
    checkpoint.change(show_code, [*selected, here], [code, card], **latest)
    # Not "always_last": what that sends later is the first event again, not the last one.
    each = {**PRIVATE, "trigger_mode": "multiple"}
    chart.layout(show_layout, checkpoint, chart, **each, **MAP_QUEUE)
    chart.classes(show_classes, checkpoint, chart, **each, **MAP_QUEUE)
    chart.tiles(show_tiles, checkpoint, chart, **{**each, **SILENT, **TILE_QUEUE})
    chart.known(more_known, checkpoint, chart, **INSTANT)
    for part in (chart, card):
        part.pick(select_code, [checkpoint, picture], [code, card], **each, **MODEL_QUEUE)

    with api_row() as endpoint:
        endpoint(
            "code_map",
            code_map,
            [
                gr.Textbox(shared.default, label="checkpoint"),
                gr.Textbox("umap", label="method"),
                gr.Textbox("usage", label="colour"),
                gr.Number(2, label="axes"),
                gr.Number(15, label="neighbours"),
            ],
            [gr.Image(label="plot"), gr.JSON(label="figures")],
            **MAP_QUEUE,
        )
