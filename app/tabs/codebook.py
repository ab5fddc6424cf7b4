"""The tab Codebook: how often each code is used, and what a single code stands for."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import code_details, code_selection
from ..services.checkpoints import at_level, open_tokenizer
from ..services.code_stats import atlas, patches
from ..services.codebook_chart import codebook_chart, places_on_page
from ..services.encoding import drawn_once, png_file
from ..services.token_pictures import enlarge_tile, heat_picture
from ..services.windows import codes_within
from ..ui.component import (
    INSTANT,
    LOOKUP_QUEUE,
    PRIVATE,
    PROGRESS,
    api_row,
    html_component,
    html_text,
)
from ..ui.errors import report_user_errors
from ..ui.figures import usage_figures
from ..ui.pictures import file_path, gallery_paths, publish
from ..ui.plot import chart, plot
from . import code_group, code_search, codebook_drift
from .shared_inputs import Shared, level_parameter, picture_of_codes, picture_parameter

RANKS = "both axes are logarithmic; a flat line is even use, a steep one is collapse"
SOURCES = [("Checkpoint's own", "bundle"), ("Drawn scenes", "scenes"), ("This picture", "picture")]
"""The choices of what codes are counted in."""


@report_user_errors
def codebook_usage(
    checkpoint: Any, source: Any = "bundle", image: Any = None, level: Any = 0
) -> tuple:
    """/codebook_usage: heat map, figures."""
    counts, figures = code_details.codebook_usage(at_level(checkpoint, level), source, image)
    return file_path(drawn_once(heat_picture, "usage", counts)), figures


@report_user_errors
def code_detail(
    checkpoint: Any, code: Any, image: Any = None, source: Any = "bundle", level: Any = 0
) -> tuple:
    """/code_detail: the code's tile, its occurrences, its nearest codes, figures, real patches."""
    name = at_level(checkpoint, level)
    handle, where, figures = code_details.code_detail(name, code, image, source)
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
    view: Any,
    order: Any,
    code: Any,
    selection: Any,
    progress: gr.Progress = PROGRESS,
) -> tuple:
    """Return the chart of the whole codebook, and the strip of figures."""
    return _chart(checkpoint, source, image, view, order, code, selection, progress=progress)


@report_user_errors
def show_view(
    checkpoint: Any,
    source: Any,
    image: Any,
    view: Any,
    order: Any,
    code: Any,
    selection: Any,
    event: gr.EventData,
) -> tuple:
    """Return the chart with the picture and the marks of the window that the page shows; and the
    strip, if the page asks for what has become known."""
    value, strip = _chart(checkpoint, source, image, view, order, code, selection, event)
    return value, strip if getattr(event, "follow", None) else gr.skip()


@report_user_errors
def select(
    checkpoint: Any,
    source: Any,
    image: Any,
    view: Any,
    order: Any,
    code: Any,
    selection: Any,
    event: gr.EventData,
) -> tuple:
    """Return the codes in the polygon that was drawn, their panel, and the chart."""
    polygon, chosen = getattr(event, "polygon", None), None
    if polygon is not None:
        places, counts = places_on_page(checkpoint, source, image, order)
        chosen = code_selection.select(checkpoint, codes_within(places, polygon), counts)
    elif selection is None:
        return gr.skip(), gr.skip(), gr.skip()
    group = publish(code_selection.group_view(checkpoint, chosen))
    value, _ = _chart(checkpoint, source, image, view, order, code, chosen, event)
    return chosen, group, value


def _chart(
    checkpoint: Any,
    source: Any,
    image: Any,
    view: Any,
    order: Any,
    code: Any,
    selection: Any,
    event: Any = None,
    progress: Any = None,
) -> tuple[dict[str, Any], str]:
    selected = code_selection.codes_of(selection, checkpoint)
    figure, note, figures = codebook_chart(
        checkpoint, source, image, view, order, code, selected, event, progress
    )
    value = chart(
        figure,
        listens=("pick", "view", "select", "tile"),
        note=note,
        of=str(checkpoint),
        progress=atlas(open_tokenizer(checkpoint)).progress(),
        exact=event is not None,
        place=f"{checkpoint} {order}",
    )
    return value, usage_figures(figures)


@report_user_errors
def select_code(
    checkpoint: Any, image: Any, source: Any, event: gr.EventData
) -> tuple[int, dict[str, Any]]:
    """Return the code that was clicked (in the codebook or among nearest codes) and its card."""
    if source != "picture":  # whose codes cannot be counted in another picture
        image = picture_of_codes(checkpoint, image, warn=False)
    card = code_details.code_card(checkpoint, getattr(event, "index", None), image, source)
    return card["code"], publish(card)


@report_user_errors
def show_code(checkpoint: Any, code: Any, image: Any, source: Any) -> tuple[Any, Any]:
    """Return the selected code and its card for the current picture, checkpoint and count."""
    if source != "picture":
        image = picture_of_codes(checkpoint, image)
    code = code_details.current_code(checkpoint, code, image)
    return code, publish(code_details.code_card(checkpoint, code, image, source))


@report_user_errors
def show_ranks(checkpoint: Any, code: Any, image: Any, source: Any) -> dict[str, Any]:
    """Return the chart of the uses by rank, in which the selected code is marked."""
    from regvq.plots import plot_ranks

    counts, _ = code_details.counts_on(open_tokenizer(checkpoint), source, image, partly=True)
    return chart(plot_ranks(counts, code if isinstance(code, int) else None), listens=("pick",))


def build(shared: Shared) -> None:
    """Draw the tab and add its listeners."""
    checkpoint, picture, code = shared.level, shared.picture, shared.code
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
            with gr.Row(elem_classes="rv-choices"):
                view = gr.Dropdown(
                    [("Usage", "usage"), ("Decoded tile", "tiles")],
                    value="usage",
                    label="Show each code as",
                    elem_id="book-view",
                )
                order = gr.Dropdown(
                    [
                        ("By likeness", "alike"),
                        ("By use", "usage"),
                        ("By color", "color"),
                        ("By number", "number"),
                    ],
                    value="alike",
                    label="Order of the codes",
                    elem_id="book-order",
                )
            book = plot("codebook", "Codebook", "each cell is a code; brighter is used more often")
            group, selection = code_group.build("book-group")
            ranks = plot("ranks", "Uses by rank", RANKS)
            history = codebook_drift.build()
        with gr.Column(scale=0, min_width=380, elem_classes="rv-detail"):
            search = code_search.build(shared, "find-code")
            card = html_component("code_card", elem_id="code")
    latest = {**PRIVATE, **LOOKUP_QUEUE, "trigger_mode": "always_last"}
    selected = [checkpoint, code, picture, source]

    def follow(event: Any) -> None:
        """Draw the charts in which the selected code is marked, after ``event``."""
        event.success(show_ranks, selected, ranks, **INSTANT)
        event.success(codebook_drift.show, [checkpoint, code], history, **INSTANT)

    usage = [checkpoint, source, picture, view, order, code, selection]
    for change in (shared.changed.codebook, source.input):
        change(show_usage, usage, [book, strip], **latest)
        follow(change(show_code, selected, [code, card], **latest))
    shared.changed.codebook(code_group.show_selection, [checkpoint, selection], group, **INSTANT)
    gr.on([view.input, order.input], show_usage, usage, [book, strip], **latest)
    # Not "always_last": what that sends later is the first click's event, not the last one's.
    each = {"trigger_mode": "multiple"}
    book.view(show_view, usage, [book, strip], **each, **INSTANT)
    for act in (book.select, group.clear):
        act(select, usage, [selection, group, book], **each, **INSTANT)
    code_group.listen(book, group, selection, checkpoint)
    for part in (book, search, card, ranks, group):
        follow(
            part.pick(
                select_code, [checkpoint, picture, source], [code, card], **{**latest, **each}
            )
        )

    with api_row() as endpoint:
        endpoint(
            "codebook_usage",
            codebook_usage,
            [
                gr.Textbox(shared.default, label="checkpoint"),
                gr.Textbox("bundle", label="source"),
                picture_parameter("image"),
                level_parameter(),
            ],
            [gr.Image(label="heat map"), gr.JSON(label="figures")],
            **LOOKUP_QUEUE,
        )
        endpoint(
            "code_detail",
            code_detail,
            [
                gr.Textbox(shared.default, label="checkpoint"),
                gr.Number(0, label="code"),
                picture_parameter("image"),
                gr.Textbox("bundle", label="source"),
                level_parameter(),
            ],
            [
                gr.Image(label="what it paints"),
                gr.Image(label="where it occurs"),
                gr.Gallery(label="nearest codes"),
                gr.JSON(label="figures"),
                gr.Gallery(label="real patches"),
            ],
            **LOOKUP_QUEUE,
        )
