"""Below the code map: the maps of other checkpoints beside this one's, in one color scale."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import checkpoints
from ..services.code_map import MOST, gallery_class_view, gallery_view, other_checkpoints
from ..services.links import TABS
from ..ui.component import (
    INSTANT,
    MAP_QUEUE,
    MODEL_QUEUE,
    PROGRESS,
    SILENT,
    html_component,
    html_text,
)
from ..ui.errors import report_user_errors
from ..ui.pictures import publish
from .shared_inputs import Shared

TITLE = TABS["codemap"]
HEADING = "Compare with other checkpoints"


@report_user_errors
def show(checkpoint: Any, others: Any, here: Any = TITLE) -> Any:
    """Return the maps side by side, or none while no other checkpoint is chosen."""
    if here != TITLE:
        return gr.skip()
    if not others:
        return {"maps": []}
    if len(others) > MOST - 1:
        gr.Info(f"At most {MOST} maps are shown side by side; these are the first ones.")
    return publish(gallery_view(checkpoint, others))


@report_user_errors
def show_classes(checkpoint: Any, others: Any, progress: gr.Progress = PROGRESS) -> dict[str, Any]:
    """Return the class of each code of each checkpoint when the page colors by it."""
    return gallery_class_view(checkpoint, others, progress)


def choices(checkpoint: Any, others: Any) -> Any:
    """Update the checkpoints that can be chosen; the chosen ones stay chosen."""
    known, kept = other_checkpoints(checkpoint, others)
    return gr.update(choices=known, value=kept, visible=bool(known))


@report_user_errors
def open_map(event: gr.EventData) -> str:
    """Return the checkpoint whose map was clicked; all tabs switch to it."""
    return checkpoints.bundle(getattr(event, "name", None)).name


def build(tab: gr.Tab, shared: Shared) -> None:
    """Draw the gallery and add its listeners."""
    checkpoint, here = shared.checkpoint, shared.here
    known, _ = other_checkpoints(shared.default, [])
    html_text(f'<h3 class="rv-h rv-gallery-h">{HEADING}</h3>')
    others = gr.CheckboxGroup(
        known,
        value=[],
        label=HEADING,
        elem_id="gallery-choice",
        elem_classes="rv-pills",
        container=False,
        visible=bool(known),
    )
    wall = html_component("code_map_gallery", value={"maps": []}, elem_id="gallery")
    latest = {**SILENT, **MODEL_QUEUE, "trigger_mode": "always_last"}
    shown = [checkpoint, others]
    gr.on([tab.select, checkpoint.change], choices, shown, others, **INSTANT).then(
        show, [*shown, here], wall, **latest
    )
    others.input(show, [*shown, here], wall, **latest)
    classes = {**latest, **MAP_QUEUE, "trigger_mode": "multiple"}
    wall.classes(show_classes, shown, wall, **classes)
    wall.open(open_map, None, checkpoint, trigger_mode="multiple", **INSTANT)
