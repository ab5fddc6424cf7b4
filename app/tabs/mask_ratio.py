"""The tab Mask ratio: the stochastic mask on a picture, and its cost at every ratio."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import mask_draws
from ..services.checkpoints import open_tokenizer
from ..services.encoding import png_file
from ..services.errors import without_paths
from ..services.examples import thumbnails
from ..services.links import TABS
from ..services.validation import number, whole_number
from ..ui.charts import mask_chart
from ..ui.component import (
    INSTANT,
    MODEL_QUEUE,
    PRIVATE,
    SILENT,
    api_row,
    by_name,
    html_component,
    html_text,
)
from ..ui.errors import report_user_errors
from ..ui.figures import mask_figures
from ..ui.pictures import file_path, gallery_paths, publish
from .shared_inputs import Shared, pick_example, picture_parameter

TITLE = TABS["masks"]


@report_user_errors
def mask_sweep(image: Any, checkpoint: Any, seed: Any = 0, temperature: Any = 1.0) -> tuple:
    """/mask_sweep: pictures at some ratios, the curves as a picture, figures."""
    gallery, figures = mask_draws.mask_sweep(image, checkpoint, seed, temperature)
    chart = file_path(png_file(mask_chart(figures), "curve"))
    return gallery_paths(gallery), chart, figures


@report_user_errors
def show(
    image: Any, checkpoint: Any, ratio: Any, temperature: Any, seed: Any, here: Any = TITLE
) -> dict[str, Any]:
    """Return what the page draws: the "stage", the panel of "figures", the known "curve"."""
    from regvq.errors import PictureError

    if here != TITLE:  # the tab asks again when it is opened
        return {}
    try:
        view, figures, curve = mask_draws.tab_view(image, checkpoint, ratio, temperature, seed)
    except mask_draws.NotStochastic as error:
        refusal = {"sentence": str(error), "offer": mask_draws.first_stochastic()}
        return {"stage": refusal, "figures": "", "curve": {}}
    except PictureError as error:
        return {"stage": {"sentence": without_paths(str(error))}, "figures": "", "curve": {}}
    return {"stage": publish(view), "figures": mask_figures(figures), "curve": curve}


@report_user_errors
def more_of_curve(
    image: Any, checkpoint: Any, ratio: Any, temperature: Any, seed: Any
) -> dict[str, Any]:
    """Return more of the curves; the page asks until they are complete."""
    return mask_draws.more_of_curve(image, checkpoint, ratio, temperature, seed)


@report_user_errors
def choose_ratio(event: gr.EventData) -> float:
    """Return the ratio at which the curve was clicked."""
    return number(getattr(event, "ratio", None), "mask ratio", 0, 1)


@report_user_errors
def select_code(checkpoint: Any, event: gr.EventData) -> int:
    """Return the code of the clicked token, which other tabs select as well."""
    size = open_tokenizer(checkpoint).tokenizer.codebook_size
    return whole_number(getattr(event, "index", None), "code", 0, size - 1)


def choose_offer() -> Any:
    """Choose the checkpoint that was offered in the place of one without a stochastic mask."""
    return gr.update(value=mask_draws.first_stochastic())


def fill_examples() -> list[dict[str, str]]:
    """Return the strip of examples, when the tab is opened."""
    return list(thumbnails())


def build(tab: gr.Tab, shared: Shared) -> None:
    """Draw the tab and add its listeners."""
    checkpoint, picture = shared.checkpoint, shared.picture
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            ratio = gr.Slider(
                0,
                1,
                value=0.4,
                step=0.01,
                label="Mask ratio",
                elem_id="mask-share",
                elem_classes="rv-slider",
                info="Share of the tokens that are drawn at random. Reg-VQ trains with 0.4.",
                buttons=["reset"],
            )
            temperature = gr.Slider(
                0,
                mask_draws.HOTTEST,
                value=1,
                step=0.05,
                label="Temperature",
                elem_id="mask-temperature",
                elem_classes="rv-slider",
                info="1 draws as in training; near 0 only the best code is left.",
                buttons=["reset"],
            )
            seed = gr.Number(0, label="Random seed", precision=0, elem_id="mask-seed")
            examples = html_component("examples", value=[], elem_id="mask-examples")
            html_text(
                '<p class="rv-note">To use your own picture, upload it on the tab Reconstruct. '
                f"Here it is shrunk to at most {mask_draws.SIDE} pixels a side, so that the "
                "sliders respond at once.</p>"
            )
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            stage = html_component("mask_ratio", elem_id="mask-stage")
        with gr.Column(scale=0, min_width=290, elem_classes="rv-figures"):
            figures = html_text(mask_figures(None), elem_id="mask-figures")
            curve = html_component("mask_curve")

    settings = [picture, checkpoint, ratio, temperature, seed]
    outputs = {"stage": stage, "figures": figures, "curve": curve}
    latest = {**PRIVATE, **MODEL_QUEUE, "trigger_mode": "always_last"}
    changes = [part.change for part in (shared.picture_changed, *settings[1:])]
    show_all, parts = by_name(show, outputs), list(outputs.values())
    gr.on(changes, show_all, [*settings, shared.here], parts, **latest)
    tab.select(show_all, settings, parts, **latest)
    tab.select(fill_examples, None, examples, **INSTANT)
    curve.more(more_of_curve, settings, curve, **{**latest, **SILENT})
    curve.pick(choose_ratio, None, ratio, **INSTANT)
    stage.pick(select_code, checkpoint, shared.code, **INSTANT)
    stage.offer(choose_offer, None, checkpoint, **INSTANT)
    examples.pick(pick_example, None, picture, **SILENT)

    with api_row() as endpoint:
        endpoint(
            "mask_sweep",
            mask_sweep,
            [
                picture_parameter("image"),
                gr.Textbox(shared.default, label="checkpoint"),
                gr.Number(0, label="seed"),
                gr.Number(1, label="temperature"),
            ],
            [gr.Gallery(label="pictures"), gr.Image(label="curves"), gr.JSON(label="figures")],
        )
