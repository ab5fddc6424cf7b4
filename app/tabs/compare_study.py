"""Below the comparison: the charts of the study's results."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import study_results
from ..ui.component import INSTANT, html_component
from ..ui.errors import report_user_errors


@report_user_errors
def show() -> dict[str, Any]:
    """Return what the charts draw, or a sentence without results."""
    return study_results.study_view()


def build(tab: gr.Tab) -> None:
    """Draw the charts and add their listener."""
    charts = html_component("compare_study", elem_id="study")
    tab.select(show, None, charts, **INSTANT)
