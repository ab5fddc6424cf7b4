"""The tab Mask ratio: the stochastic mask on a picture, and its cost at every ratio."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import mask_draws
from ..services.checkpoints import open_tokenizer
from ..services.encoding import png_file
from ..services.errors import without_paths
from ..services.examples import thumbnails
from ..services.validation import number, whole_number
from ..ui.changes import PICTURE_CHOSEN
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
from ..ui.model_line import newest_only
from ..ui.pictures import file_path, gallery_paths, publish
from ..ui.plot import chart, no_chart, plot
from .shared_inputs import Shared, announce, example_strip, pick_example, picture_parameter


@report_user_errors
def mask_sweep(image: Any, checkpoint: Any, seed: Any = 0, temperature: Any = 1.0) -> tuple:
    """/mask_sweep: pictures at some ratios, the curves as a picture, figures with their chart."""
    from regvq.plots import figure_json, plot_mask_sweep

    gallery, points, figures = mask_draws.mask_sweep(image, checkpoint, seed, temperature)
    picture = file_path(png_file(mask_chart(figures), "curve"))
    figures["chart"] = figure_json(plot_mask_sweep(points))
    return gallery_paths(gallery), picture, figures


@newest_only
@report_user_errors
def show(image: Any, checkpoint: Any, ratio: Any, temperature: Any, seed: Any) -> dict[str, Any]:
    """Return what the page draws: the "stage", the panel of "figures", the known "curve"."""
    from regvq.errors import PictureError

    try:
        view, figures, curve = mask_draws.tab_view(image, checkpoint, ratio, temperature, seed)
    except mask_draws.NotStochastic as error:
        refusal = {"sentence": str(error), "offer": mask_draws.first_stochastic()}
        return {"stage": refusal, "figures": "", "curve": no_chart()}
    except PictureError as error:
        sentence = {"sentence": without_paths(str(error))}
        return {"stage": sentence, "figures": "", "curve": no_chart()}
    return {"stage": publish(view), "figures": mask_figures(figures), "curve": curve_chart(curve)}


def curve_chart(curve: mask_draws.Curve) -> dict[str, Any]:
    """Return the chart of the known part of the curves."""
    from regvq.plots import plot_mask_sweep

    note = f"{len(curve.points)} of {len(curve.points) + curve.left} ratios. " if curve.left else ""
    return chart(
        plot_mask_sweep(curve.points, curve.ratio),
        listens=("pick", "more"),
        note=f"{note}One draw for all ratios: the ratio sets how many tokens use it. Click to "
        "choose a ratio.",
        more=curve.left,
    )


@report_user_errors
def more_of_curve(
    image: Any, checkpoint: Any, ratio: Any, temperature: Any, seed: Any
) -> dict[str, Any]:
    """Return more of the curves; the page asks until they are complete."""
    return curve_chart(mask_draws.more_of_curve(image, checkpoint, ratio, temperature, seed))


@report_user_errors
def choose_ratio(event: gr.EventData) -> float:
    """Return the ratio at which the curve was clicked."""
    return number(getattr(event, "x", None), "mask ratio", 0, 1)


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
            examples = example_strip("mask-examples")
            html_text(
                '<p class="rv-note">To use your own picture, upload it on the tab Reconstruct. '
                f"Here it is shrunk to at most {mask_draws.SIDE} pixels a side, so that the "
                "sliders respond at once.</p>"
            )
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            stage = html_component("mask_ratio", elem_id="mask-stage")
        with gr.Column(scale=0, min_width=290, elem_classes="rv-figures"):
            figures = html_text(mask_figures(None), elem_id="mask-figures")
            curve = plot("mask-curve", "Every mask ratio")

    settings = [picture, checkpoint, ratio, temperature, seed]
    outputs = {"stage": stage, "figures": figures, "curve": curve}
    latest = {**SILENT, **MODEL_QUEUE, "trigger_mode": "always_last"}
    # Every press is sent: the line replaces a waiting one, and the page would hold the newer back.
    each = {**PRIVATE, **MODEL_QUEUE, "trigger_mode": "multiple"}
    show_all, parts = by_name(show, outputs), list(outputs.values())
    # A slider's button that resets it, and its field that corrects a number, only "release".
    changes = [ratio.input, ratio.release, temperature.input, temperature.release, seed.input]
    gr.on(changes, show_all, settings, parts, **each)
    shared.changed.masks(show_all, settings, parts, **each)
    tab.select(fill_examples, None, examples, **INSTANT)
    curve.more(more_of_curve, settings, curve, **latest)
    curve.pick(choose_ratio, None, ratio, **INSTANT).success(show_all, settings, parts, **each)
    stage.pick(select_code, checkpoint, shared.code, **INSTANT)
    offered = stage.offer(choose_offer, None, checkpoint, **INSTANT)
    announce(offered.success, checkpoint, shared.level)
    examples.pick(pick_example, None, picture, **INSTANT).success(
        None, None, None, **PICTURE_CHOSEN, **SILENT
    )

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
