"""Below the code map: the maps of other checkpoints beside this one's, in one color scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ..services import code_selection
from ..services.code_map import MOST, gallery_figure, opened_checkpoint, other_checkpoints
from ..ui.component import INSTANT, MAP_QUEUE, PROGRESS, SILENT, html_text
from ..ui.errors import report_user_errors
from ..ui.plot import chart, no_chart, plot
from .shared_inputs import Shared, announce

HEADING = "Compare with other checkpoints"
PILLS = 8
"""Checkpoints up to which each has a button of its own; more are in a list with a search."""
EMPTY = (
    "Choose up to three checkpoints: their maps appear here beside this one, in one color scale, "
    "with the layout and the color that are chosen above."
)


@report_user_errors
def show(
    checkpoint: Any,
    pills: Any,
    listed: Any,
    layout: Any,
    color: Any,
    code: Any,
    selection: Any,
    progress: gr.Progress = PROGRESS,
) -> Any:
    """Return the maps side by side, or a sentence while no other checkpoint is chosen."""
    others = chosen(checkpoint, pills, listed)
    if not others:
        return no_chart(EMPTY)
    if len(others) > MOST - 1:
        gr.Info(f"At most {MOST} maps are shown side by side; these are the first ones.")
    selected = code_selection.codes_of(selection, checkpoint)
    figure, note = gallery_figure(checkpoint, others, layout, color, code, selected, progress)
    return chart(figure, listens=("pick", "open"), note=note)


def chosen(checkpoint: Any, pills: Any, listed: Any) -> list[str]:
    """Return the other checkpoints that are chosen, in the list if there are many, as now shown."""
    known, _ = other_checkpoints(checkpoint, [])
    return list((listed if len(known) > PILLS else pills) or [])


def choices(checkpoint: Any, pills: Any, listed: Any) -> tuple[Any, Any]:
    """Update the checkpoints that can be chosen; the chosen ones stay chosen."""
    known, kept = other_checkpoints(checkpoint, pills or listed)
    many = len(known) > PILLS
    return (
        gr.update(choices=known, value=[] if many else kept, visible=bool(known) and not many),
        gr.update(choices=known, value=kept if many else [], visible=many),
    )


@report_user_errors
def open_map(event: gr.EventData) -> str:
    """Return the checkpoint whose map was clicked; all tabs switch to it."""
    return opened_checkpoint(getattr(event, "name", None))


def build(shared: Shared, layout: Any, color: Any, selection: gr.State) -> Callable[[Any], None]:
    """Draw the gallery and add its listeners; return a function that adds it after an event."""
    checkpoint = shared.level
    known, _ = other_checkpoints(shared.default, [])
    html_text(f'<h3 class="rv-h rv-gallery-h">{HEADING}</h3>')
    pills = gr.CheckboxGroup(
        known,
        value=[],
        label=HEADING,
        elem_id="gallery-choice",
        elem_classes="rv-pills",
        container=False,
        visible=0 < len(known) <= PILLS,
    )
    listed = gr.Dropdown(
        known,
        value=[],
        multiselect=True,
        max_choices=MOST - 1,
        label="Checkpoints",
        info=f"Type a part of a name; up to {MOST - 1} can be chosen.",
        elem_id="gallery-list",
        visible=len(known) > PILLS,
    )
    wall = plot("gallery", "Maps side by side")
    shown = [checkpoint, pills, listed, layout, color, shared.code, selection]
    latest = {**SILENT, **MAP_QUEUE, "trigger_mode": "always_last"}
    chosen_now = [checkpoint, pills, listed]
    shared.changed.codemap(choices, chosen_now, [pills, listed], **INSTANT).then(
        show, shown, wall, **latest
    )
    gr.on([pills.input, listed.input, layout.input, color.input], show, shown, wall, **latest)
    opened = wall.open(open_map, None, shared.checkpoint, trigger_mode="multiple", **INSTANT)
    announce(opened.success, shared.checkpoint, checkpoint)

    def follow(event: Any) -> None:
        """Draw the maps anew after ``event`` has changed the selection."""
        event.success(show, shown, wall, **latest)

    return follow
