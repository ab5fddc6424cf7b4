"""On the tab Generate: the figures of the priors, below the pictures."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services.prior_figures import attribute_figure, bits_figure
from ..ui.component import INSTANT
from ..ui.errors import report_user_errors
from ..ui.plot import chart, no_chart, plot

NO_BITS = "None of the priors states its bits per token."
NO_ANSWERS = (
    "This prior was not questioned by a judge; those of drawn scenes with captions were. Choose "
    "another prior."
)


@report_user_errors
def show(prior: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the bits per token of all priors, and what a judge recognizes in one's pictures."""
    bits, attributes = bits_figure(), attribute_figure(prior)
    return (
        no_chart(NO_BITS) if bits is None else chart(bits),
        no_chart(NO_ANSWERS) if attributes is None else chart(attributes),
    )


def build(prior: gr.Dropdown) -> None:
    """Draw the charts and add their listeners."""
    with gr.Accordion("Figures of the priors", open=False, elem_id="prior-figures") as more:
        charts = [
            plot("prior-bits", "Bits per token", "of held-out pictures"),
            plot(
                "prior-attributes",
                "What a judge recognizes",
                "share of the captions' statements, by subject",
            ),
        ]
    gr.on([more.expand, prior.input], show, prior, charts, **INSTANT)
