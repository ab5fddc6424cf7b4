"""The tab Codebook: how often each code is used, and what a single code stands for."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import code_details
from ..services.code_stats import atlas, patches
from ..services.encoding import png_file
from ..services.links import TABS
from ..services.token_pictures import enlarge_tile, heat_picture
from ..ui.component import (
    INSTANT,
    MODEL_QUEUE,
    PRIVATE,
    PROGRESS,
    SILENT,
    TILE_QUEUE,
    api_row,
    html_component,
    html_text,
)
from ..ui.errors import report_user_errors
from ..ui.figures import usage_figures
from ..ui.pictures import file_path, gallery_paths, publish
from . import codebook_drift
from .shared_inputs import Shared, picture_parameter

TITLE = TABS["codebook"]
SOURCES = [("Checkpoint's own", "bundle"), ("Drawn scenes", "scenes"), ("This picture", "picture")]
"""The choices of what codes are counted in."""


@report_user_errors
def codebook_usage(checkpoint: Any, source: Any = "bundle", image: Any = None) -> tuple:
    """/codebook_usage: heat map, figures."""
    counts, figures = code_details.codebook_usage(checkpoint, source, image)
    return file_path(png_file(heat_picture(counts), "usage")), figures


@report_user_errors
def code_detail(checkpoint: Any, code: Any, image: Any = None, source: Any = "bundle") -> tuple:
    """/code_detail: the code's tile, its occurrences, its nearest codes, figures, real patches."""
    handle, where, figures = code_details.code_detail(checkpoint, code, image, source)
    known, real = atlas(handle), patches(handle)
    own = figures["code"]
    nearest = [
        (
            png_file(enlarge_tile(known.look([found])[0]), f"code-{found}"),
            f"code {found}, distance {distance:.3f}",
        )
        for found, distance in zip(figures["nearest"], figures["distances"], strict=True)
    ]
    return (
        file_path(png_file(enlarge_tile(known.look([own])[0]), f"code-{own}")),
        file_path(png_file(where, "where")),
        gallery_paths(nearest),
        figures,
        [
            file_path(png_file(enlarge_tile(tile), f"patch-{place}"))
            for place, tile in enumerate(real.of(own) if real else ())
        ],
    )


@report_user_errors
def show_usage(
    checkpoint: Any,
    source: Any,
    image: Any,
    here: Any = TITLE,
    progress: gr.Progress = PROGRESS,
) -> tuple:
    """Return what the page draws of the codebook, and the strip of figures."""
    if here != TITLE:  # the tab asks again when it is opened
        return gr.skip(), gr.skip()
    view, figures = code_details.codebook_view(checkpoint, source, image, progress)
    return publish(view), usage_figures(figures)


@report_user_errors
def show_tiles(checkpoint: Any, event: gr.EventData) -> dict[str, Any]:
    """Return the tiles that the page asks for, as far as they are painted in a moment."""
    return publish(code_details.more_tiles(checkpoint, getattr(event, "codes", None)))


@report_user_errors
def show_known(checkpoint: Any, source: Any, event: gr.EventData) -> tuple[dict[str, Any], Any]:
    """Return what has become known of the codes since the page asked last, and the figures."""
    known, counted = getattr(event, "known", None), getattr(event, "counted", None)
    view = code_details.more_known(checkpoint, source, known, counted)
    figures = view["more"].pop("figures", None)
    return view, gr.skip() if figures is None else usage_figures(figures)


@report_user_errors
def select_code(
    checkpoint: Any, image: Any, source: Any, event: gr.EventData
) -> tuple[int, dict[str, Any]]:
    """Return the code that was clicked (in the codebook or among nearest codes) and its card."""
    card = code_details.code_card(checkpoint, getattr(event, "index", None), image, source)
    return card["code"], publish(card)


@report_user_errors
def show_code(
    checkpoint: Any, code: Any, image: Any, source: Any, here: Any = TITLE
) -> tuple[Any, Any]:
    """Return the selected code and its card for the current picture, checkpoint and count."""
    if here != TITLE:
        return gr.skip(), gr.skip()
    code = code_details.current_code(checkpoint, code, image)
    return code, publish(code_details.code_card(checkpoint, code, image, source))


def build(tab: gr.Tab, shared: Shared) -> None:
    """Draw the tab and add its listeners."""
    checkpoint, picture, code, here = shared.checkpoint, shared.picture, shared.code, shared.here
    strip = html_text(usage_figures(None), elem_id="usage")
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=1, min_width=320, elem_classes="rv-atlas"):
            source = gr.Radio(
                SOURCES,
                value="bundle",
                label="Count the codes in",
                elem_id="source",
                elem_classes="rv-pills",
                container=False,
            )
            chart = html_component("codebook")
            codebook_drift.build(tab, shared)
        with gr.Column(scale=0, min_width=380, elem_classes="rv-detail"):
            card = html_component("code_card", elem_id="code")
    # A tab is filled when it is opened, and again when its inputs change.
    latest = {**PRIVATE, **MODEL_QUEUE, "trigger_mode": "always_last"}
    usage, selected = [checkpoint, source, picture], [checkpoint, code, picture, source]
    gr.on([tab.select, source.change], show_usage, usage, [chart, strip], **latest)
    gr.on([tab.select, source.change], show_code, selected, [code, card], **latest)
    checkpoint.change(show_usage, [*usage, here], [chart, strip], **latest)
    checkpoint.change(show_code, [*selected, here], [code, card], **latest)
    # Not "always_last": what that sends later is the first click's event, not the last one's.
    each = {**latest, "trigger_mode": "multiple"}
    chart.tiles(show_tiles, checkpoint, chart, **{**each, **SILENT, **TILE_QUEUE})
    chart.known(show_known, [checkpoint, source], [chart, strip], **INSTANT)
    for part in (chart, card):
        part.pick(select_code, [checkpoint, picture, source], [code, card], **each)

    with api_row() as endpoint:
        endpoint(
            "codebook_usage",
            codebook_usage,
            [
                gr.Textbox(shared.default, label="checkpoint"),
                gr.Textbox("bundle", label="source"),
                picture_parameter("image"),
            ],
            [gr.Image(label="heat map"), gr.JSON(label="figures")],
        )
        endpoint(
            "code_detail",
            code_detail,
            [
                gr.Textbox(shared.default, label="checkpoint"),
                gr.Number(0, label="code"),
                picture_parameter("image"),
                gr.Textbox("bundle", label="source"),
            ],
            [
                gr.Image(label="what it paints"),
                gr.Image(label="where it occurs"),
                gr.Gallery(label="nearest codes"),
                gr.JSON(label="figures"),
                gr.Gallery(label="real patches"),
            ],
        )
