"""The parts that Codebook and Code map share: tiles under the pointer and selections of codes."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import code_selection
from ..services.checkpoints import open_tokenizer
from ..services.code_stats import atlas
from ..services.encoding import data_url
from ..services.validation import whole_number
from ..ui.component import INSTANT, html_component
from ..ui.errors import report_user_errors
from ..ui.pictures import publish


@report_user_errors
def show_tile(checkpoint: Any, event: gr.EventData) -> dict[str, Any]:
    """Return the tile of the code under the pointer."""
    handle = open_tokenizer(checkpoint)
    known = atlas(handle)
    code = whole_number(getattr(event, "code", None), "code", 0, known.size - 1)
    return {"tile": {"code": code, "of": handle.name, "source": data_url(known.look([code])[0])}}


@report_user_errors
def show_group(checkpoint: Any, selection: Any, event: gr.EventData) -> Any:
    """Return another page of the selection, as tiles or as real patches."""
    page, view = getattr(event, "page", None), getattr(event, "view", None)
    return publish(code_selection.group_view(checkpoint, selection, page, view))


@report_user_errors
def show_selection(checkpoint: Any, selection: Any) -> Any:
    """Return the panel of the selection, which is empty for another checkpoint's."""
    return publish(code_selection.group_view(checkpoint, selection))


def build(elem_id: str) -> tuple[gr.HTML, gr.State]:
    """Draw the panel of a selection; return it and the selection."""
    return html_component("code_group", code_selection.NOTHING, elem_id), gr.State(None)


def listen(chart: gr.HTML, group: gr.HTML, selection: gr.State, checkpoint: Any) -> None:
    """Add the listeners of tiles and of the panel's pages."""
    each = {"trigger_mode": "multiple", **INSTANT}
    chart.tile(show_tile, checkpoint, chart, **each)
    group.turn(show_group, [checkpoint, selection], group, **each)
