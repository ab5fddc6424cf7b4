"""On the tab Codebook: the change of the codebook over training, and the run's curves."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services.checkpoints import open_tokenizer
from ..services.drift import drift_figure
from ..services.training import NO_LOG, training_figure
from ..ui.errors import report_user_errors
from ..ui.plot import chart, no_chart, plot


@report_user_errors
def show(checkpoint: Any, code: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the chart of the codebook's change and the run's curves, or a sentence for each."""
    handle = open_tokenizer(checkpoint)
    drift, curves = drift_figure(handle, code), training_figure(handle)
    return (
        no_chart(drift) if isinstance(drift, str) else chart(drift),
        no_chart(NO_LOG) if curves is None else chart(curves),
    )


def build() -> list[gr.HTML]:
    """Draw the two charts; the tab's listeners fill them."""
    drift = "codes in use, and how far codes move between saves"
    return [
        plot("drift", "Change over training", drift),
        plot("training", "Training curves", "the figures of the run's log.jsonl"),
    ]
