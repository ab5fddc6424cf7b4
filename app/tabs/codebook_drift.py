"""On the tab Codebook: the change of the codebook over training."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services.checkpoints import open_tokenizer
from ..services.drift import drift_history
from ..services.links import TABS
from ..ui.component import INSTANT, html_component
from ..ui.errors import report_user_errors
from .shared_inputs import Shared

TITLE = TABS["codebook"]


@report_user_errors
def show(checkpoint: Any, here: Any = TITLE) -> Any:
    """Return what the page draws: the history, or None for a checkpoint without one."""
    if here != TITLE:
        return gr.skip()
    handle = open_tokenizer(checkpoint)
    return {"checkpoint": handle.name, "history": drift_history(handle)}


def build(tab: gr.Tab, shared: Shared) -> None:
    """Draw the chart and add its listeners."""
    chart = html_component("codebook_drift", elem_id="drift")
    tab.select(show, shared.checkpoint, chart, **INSTANT)
    shared.checkpoint.change(show, [shared.checkpoint, shared.here], chart, **INSTANT)
