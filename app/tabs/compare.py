"""The tab Compare: several checkpoints on one picture, side by side and in figures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..services import comparison
from ..services.channels import picture_for
from ..services.checkpoints import names as checkpoint_names
from ..services.comparison import FEWEST, FIRST, MOST
from ..services.encoding import PageFile
from ..services.errors import UserError, without_paths
from ..services.examples import thumbnails
from ..services.uploads import original_png
from ..ui.component import INSTANT, MODEL_QUEUE, PRIVATE, PROGRESS, api_row, html_component
from ..ui.errors import report_user_errors
from ..ui.model_line import newest_only
from ..ui.pictures import gallery_paths, publish
from . import compare_study
from .shared_inputs import example_strip, pick_example, picture_input, picture_parameter

BREATH = 0.25
"""Seconds that a browser on this machine gets to draw the frames, before the models use all CPU
cores."""


@report_user_errors
def compare(image: Any, checkpoints: Any = None) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """/compare: gallery of the original and the reconstructions, figures as a table in JSON."""
    chosen = comparison.parse_checkpoints(checkpoints)
    pictures = [picture_for(handle, image) for handle in chosen]
    picture = comparison.frame_picture(chosen, pictures)
    found = list(map(comparison.compare_on, chosen, pictures))
    gallery = [(PageFile(original_png(picture), "original"), "original")]
    for handle, one in zip(chosen, found, strict=True):
        gallery.append((PageFile(one.decoded, "reconstruction"), handle.name))
    width, height = picture.image.size
    table = [comparison.row_figures(one) for one in found]
    return gallery_paths(gallery), {"width": width, "height": height, "table": table}


@newest_only
@report_user_errors
def show(image: Any, chosen: Any, progress: gr.Progress = PROGRESS) -> Iterator[dict[str, Any]]:
    """Yield what the page draws, checkpoint by checkpoint.

    Known results are there at once: the tab opened again, or one more checkpoint, never goes back
    to empty frames.
    """
    from regvq.errors import PictureError

    if not image:
        yield {"empty": "No picture yet. Upload one, paste one, or choose an example."}
        return
    if len(chosen or []) < FEWEST:
        yield {"empty": comparison.too_few_text()}
        return
    try:
        handles = comparison.parse_checkpoints(chosen)
        pictures = [picture_for(handle, image) for handle in handles]
    except (PictureError, UserError) as error:
        yield {"problem": without_paths(str(error))}
        return
    known = list(map(comparison.compared, handles, pictures))
    rows = [
        publish(comparison.row_view(handle, one))
        for handle, one in zip(handles, known, strict=True)
    ]
    page = publish(comparison.frame_view(comparison.frame_picture(handles, pictures)))
    yield {**page, "rows": rows}  # the frames, at once: loading and decoding take time
    if None in known:
        time.sleep(BREATH)
    for place, handle in enumerate(handles):
        if known[place] is None:
            words = f"Reconstructing with {handle.name}"
            progress((place, len(handles)), desc=words, unit="checkpoints")
            row = comparison.row_view(handle, comparison.compare_on(handle, pictures[place]))
            rows = [*rows[:place], publish(row), *rows[place + 1 :]]
            yield {**page, "rows": rows}


def open_tab(path: Any, chosen: Any, checkpoint: Any) -> tuple[Any, list[dict[str, str]], Any]:
    """Return the picture of the other tabs, the examples, and the available checkpoints."""
    known, kept = comparison.keep_choice(chosen, checkpoint)
    return path, list(thumbnails()), gr.update(choices=known, value=kept)


def choose_example(event: gr.EventData) -> tuple[str, str]:
    """Return the clicked example as the picture of this tab and of the other tabs."""
    path = pick_example(event)
    return path, path


def build(tab: gr.Tab, checkpoint: gr.Dropdown, picture: gr.Image) -> None:
    """Draw the tab and add its listeners. ``checkpoint`` and ``picture`` are shared by all tabs."""
    known = checkpoint_names()
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            chosen = gr.Dropdown(
                known,
                value=known[:FIRST],
                multiselect=True,
                max_choices=MOST,
                label="Checkpoints",
                info=f"Choose {FEWEST} to {MOST} to compare on one picture.",
                elem_id="compare-checkpoints",
            )
            own = picture_input("Your picture", "compare-picture")
            examples = example_strip("compare-examples")
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            wall = html_component("compare")
    compare_study.build(tab)

    # The picture is the same in every tab, whichever it was given to.
    opened = tab.select(open_tab, [picture, chosen, checkpoint], [own, examples, chosen], **INSTANT)
    gr.on([own.upload, own.clear], lambda path: path, own, picture, **INSTANT)
    picked = examples.pick(choose_example, None, [own, picture], **INSTANT)
    each = {**PRIVATE, **MODEL_QUEUE, "trigger_mode": "multiple"}
    opened.then(show, [picture, chosen], wall, **each)
    picked.then(show, [own, chosen], wall, **each)
    # Not their change: it also fires, one after another, when the opened tab is filled in.
    gr.on([own.upload, own.clear, chosen.input], show, [own, chosen], wall, **each)

    with api_row() as endpoint:
        endpoint(
            "compare",
            compare,
            [picture_parameter("image"), gr.JSON(None, label="checkpoints")],
            [gr.Gallery(label="original, reconstructions"), gr.JSON(label="figures")],
        )
