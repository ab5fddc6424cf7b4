"""The tab Code map: every code as a point, with similar codes near one another."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import code_details, code_selection, windows
from ..services.checkpoints import at_level, open_tokenizer
from ..services.code_map import map_chart, map_data, places_on_page, shown_codes
from ..services.code_stats import atlas
from ..services.embeddings import TooFewCodes
from ..services.encoding import drawn_once
from ..ui.charts import scatter
from ..ui.component import (
    INSTANT,
    LOOKUP_QUEUE,
    MAP_QUEUE,
    PRIVATE,
    PROGRESS,
    api_row,
    html_component,
)
from ..ui.errors import report_user_errors
from ..ui.pictures import file_path, publish
from ..ui.plot import chart, plot
from . import code_group, code_map_gallery, code_search
from .shared_inputs import Shared, level_parameter, picture_of_codes

COUNTED_ON = "bundle"
"""The count of the code's card on this tab."""
LISTENS = ("pick", "view", "select", "tile")
LAYOUT_TITLES = [
    ("PCA: main axes", "pca"),
    ("UMAP, 15 neighbors", "umap"),
    ("UMAP, 5: local detail", "umap-5"),
    ("UMAP, 50: global structure", "umap-50"),
]
COLOR_TITLES = [
    ("Usage", "usage"),
    ("Color of the tile", "mean"),
    ("Norm of the vector", "norm"),
    ("Class in drawn scenes", "class"),
]


@report_user_errors
def code_map(
    checkpoint: Any,
    method: Any = "umap",
    colour: Any = "usage",
    axes: Any = 2,
    neighbours: Any = 15,
    level: Any = 0,
    progress: gr.Progress = PROGRESS,
) -> tuple:
    """/code_map: the map as a picture, and figures with each code's place and the chart."""
    name = at_level(checkpoint, level)
    shown, figures = map_data(name, method, colour, axes, neighbours, progress)
    return file_path(drawn_once(scatter, "map", shown.places, shown.coloring.colors)), figures


@report_user_errors
def show(
    checkpoint: Any,
    layout: Any,
    axes: Any,
    color: Any,
    marks: Any,
    code: Any,
    selection: Any,
    progress: gr.Progress = PROGRESS,
) -> tuple[dict[str, Any], Any]:
    """Return the chart of the whole map, and the layout: PCA where there are too few codes."""
    choice, back = (axes, color, marks, code, selection), gr.skip()
    try:
        value = _chart(checkpoint, layout, *choice, progress=progress)
    except TooFewCodes as error:
        gr.Warning(str(error), title="This map is not available")
        value, back = _chart(checkpoint, "pca", *choice), gr.update(value="pca")
    return value, back


@report_user_errors
def show_view(
    checkpoint: Any,
    layout: Any,
    axes: Any,
    color: Any,
    marks: Any,
    code: Any,
    selection: Any,
    event: gr.EventData,
) -> dict[str, Any]:
    """Return the chart with the picture and the marks of the window that the page shows."""
    return _chart(checkpoint, layout, axes, color, marks, code, selection, event)


@report_user_errors
def select(
    checkpoint: Any,
    layout: Any,
    axes: Any,
    color: Any,
    marks: Any,
    code: Any,
    selection: Any,
    event: gr.EventData,
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the codes in the polygon that was drawn, their panel, and the chart."""
    polygon, chosen = getattr(event, "polygon", None), None
    if polygon is not None:
        codes = windows.codes_within(places_on_page(checkpoint, layout), polygon)
        codes = shown_codes(checkpoint, color, event, codes)
        chosen = code_selection.select(checkpoint, codes)
    elif selection is None:
        return gr.skip(), gr.skip(), gr.skip()
    group = publish(code_selection.group_view(checkpoint, chosen))
    return chosen, group, _chart(checkpoint, layout, axes, color, marks, code, chosen, event)


def _chart(
    checkpoint: Any,
    layout: Any,
    axes: Any,
    color: Any,
    marks: Any,
    code: Any,
    selection: Any,
    window: Any = None,
    progress: Any = None,
) -> dict[str, Any]:
    selected = code_selection.codes_of(selection, checkpoint)
    figure, note = map_chart(
        checkpoint, layout, axes, color, marks, code, selected, window, progress
    )
    known = atlas(open_tokenizer(checkpoint))
    return chart(
        figure,
        listens=LISTENS,
        note=note,
        of=str(checkpoint),
        progress=known.progress(),
        exact=window is not None,
        place=f"{checkpoint} {layout} {axes}",
    )


@report_user_errors
def select_code(checkpoint: Any, image: Any, event: gr.EventData) -> tuple[int, dict[str, Any]]:
    """Return the code that was clicked, on the map, in a selection or among the nearest codes, and
    its card."""
    image = picture_of_codes(checkpoint, image, warn=False)
    card = code_details.code_card(checkpoint, getattr(event, "index", None), image, COUNTED_ON)
    return card["code"], publish(card)


@report_user_errors
def show_code(checkpoint: Any, code: Any, image: Any) -> tuple[Any, Any]:
    """Return the selected code and its card."""
    image = picture_of_codes(checkpoint, image)
    code = code_details.current_code(checkpoint, code, image)
    return code, publish(code_details.code_card(checkpoint, code, image, COUNTED_ON))


def build(shared: Shared) -> None:
    """Draw the tab and add its listeners."""
    checkpoint, picture, code = shared.level, shared.picture, shared.code
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            with gr.Row(elem_classes="rv-choices"):
                layout = gr.Dropdown(
                    LAYOUT_TITLES, value="pca", label="Layout", elem_id="map-layout"
                )
                color = gr.Dropdown(COLOR_TITLES, value="usage", label="Color", elem_id="map-color")
                axes = gr.Dropdown(
                    [("2-D", 2), ("3-D", 3)], value=2, label="Dimensions", elem_id="map-axes"
                )
                marks = gr.Dropdown(
                    [("Dots", "dots"), ("Tiles, where they fit", "tiles")],
                    value="dots",
                    label="Marks",
                    elem_id="map-marks",
                )
            cloud = plot("code-map", "Code map", "each point is a code; similar codes are close")
            group, selection = code_group.build("map-group")
            follow = code_map_gallery.build(shared, layout, color, selection)
        with gr.Column(scale=0, min_width=380, elem_classes="rv-detail rv-aside"):
            search = code_search.build(shared, "find-map-code")
            card = html_component("code_card", elem_id="map-code")

    chosen = [checkpoint, layout, axes, color, marks, code, selection]
    latest = {**PRIVATE, **LOOKUP_QUEUE, "trigger_mode": "always_last"}
    maps = {**PRIVATE, **MAP_QUEUE, "trigger_mode": "always_last"}
    # Not "always_last": what that sends later is the first event again, not the last one's.
    each = {**PRIVATE, "trigger_mode": "multiple"}
    shared.changed.codemap(show_code, [checkpoint, code, picture], [code, card], **latest).success(
        show, chosen, [cloud, layout], **maps
    ).success(code_group.show_selection, [checkpoint, selection], group, **INSTANT)
    gr.on(
        [part.input for part in (layout, axes, color, marks)],
        show,
        chosen,
        [cloud, layout],
        **maps,
    )
    cloud.view(show_view, chosen, cloud, trigger_mode="multiple", **INSTANT)
    code_group.listen(cloud, group, selection, checkpoint)
    shown = [selection, group, cloud]
    follow(cloud.select(select, chosen, shown, trigger_mode="multiple", **INSTANT))
    follow(group.clear(select, chosen, shown, trigger_mode="multiple", **INSTANT))
    for part in (cloud, search, card, group):
        part.pick(select_code, [checkpoint, picture], [code, card], **each, **LOOKUP_QUEUE)

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
                level_parameter(),
            ],
            [gr.Image(label="plot"), gr.JSON(label="figures")],
            **MAP_QUEUE,
        )
    code_search.build_api(shared)
