"""The tab Mask ratio: the stochastic mask on a picture, and what it costs at every ratio."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

from ..services import checkpoints
from ..services.checkpoints import MODEL_QUEUE, Model, one_at_a_time
from ..services.mask_draws import (
    HOTTEST,
    SIDE,
    STEPS,
    checked,
    curve_of,
    draws,
    finite,
    painted,
    picture_of,
    point_at,
    stage_of,
)
from ..ui.charts import mask_chart
from ..ui.errors import Refused, in_a_sentence
from ..ui.figures import mask_figures
from ..ui.pictures import PictureInput, page_file, png
from ..ui.theme import asset
from .reconstruct import pick_example

TAB = "Mask ratio"
BUDGET = 0.15
"""Seconds of the curve that are computed in one go; between two, other requests have their turn."""
SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Ratios whose pictures /mask_sweep returns."""


def _posterior(checkpoint: Any) -> Model:
    """The checkpoint, if its quantizer has a distribution to draw from. Raises Refused."""
    which = checkpoints.model(checkpoint)
    if not which.tokenizer.quantizer.is_stochastic:
        raise Refused(no_posterior(which))
    return which


def no_posterior(which: Model) -> str:
    """Why this checkpoint has no mask, in a sentence."""
    return (
        f"{which.name} takes the best code everywhere: its quantizer has no token distribution, "
        "so there is nothing to draw from and no mask ratio to turn."
    )


def _drawing() -> str | None:
    """The first checkpoint that does draw, to be offered instead; found without loading any."""
    for name in checkpoints.names():
        quantizer = checkpoints.bundle(name).config.get("tokenizer", {}).get("quantizer", {})
        if "mask_ratio" in quantizer:
            return name
    return None


@in_a_sentence
@one_at_a_time
def mask_sweep(image: Any, checkpoint: Any, seed: Any = 0, temperature: Any = 1.0) -> tuple:
    """/mask_sweep: pictures at some ratios, the curves as a picture, figures."""
    which, picture = (
        _posterior(checkpoint),
        checkpoints.smaller(checkpoints.open_picture(image), SIDE),
    )
    _, heat, number = checked(0, temperature, seed)
    points, gallery = [], []
    for step in range(STEPS + 1):
        point = point_at(which, picture, step / STEPS, heat, number)
        points.append(point)
        if point.ratio in SHOWN:
            pixels = painted(which, picture, point.ratio, heat, number)[1]
            data = png(Image.fromarray(pixels))
            file = page_file(data, f"ratio-{100 * point.ratio:.0f}")["path"]
            gallery.append((file, f"ratio {point.ratio:g}, {point.psnr:.2f} dB"))
    found = draws(which, picture, heat, number)
    figures = {
        "ratio": [point.ratio for point in points],
        "psnr": [finite(point.psnr) for point in points],
        "drawn": [point.drawn for point in points],
        "changed": [point.changed for point in points],
        "entropy_bits": float(found.entropy.mean()),
        "tokens": int(found.best.size),
        "codebook_size": which.tokenizer.codebook_size,
        "width": picture.image.width,
        "height": picture.image.height,
        "temperature": heat,
        "seed": number,
        "checkpoint": which.name,
    }
    chart = page_file(png(mask_chart(figures)), "curve")["path"]
    return gallery, chart, figures


@in_a_sentence
@one_at_a_time
def show(
    image: Any, checkpoint: Any, ratio: Any, temperature: Any, seed: Any, here: Any = TAB
) -> tuple:
    """For the page: what the stage draws, the panel of figures, the curves as far as known."""
    from regvq.errors import PictureError

    if here != TAB:  # opening the tab will ask again
        return gr.skip(), gr.skip(), gr.skip()
    which = checkpoints.model(checkpoint)
    if not which.tokenizer.quantizer.is_stochastic:
        refusal = {"sentence": no_posterior(which), "offer": _drawing()}
        return refusal, "", {}
    try:
        picture = picture_of(image)
    except PictureError as error:
        return {"sentence": str(error)}, "", {}
    settings = checked(ratio, temperature, seed)
    stage, figures = stage_of(which, picture, *settings)
    return stage, mask_figures(figures), curve_of(which, picture, *settings, budget=0)


@in_a_sentence
@one_at_a_time
def more(image: Any, checkpoint: Any, ratio: Any, temperature: Any, seed: Any) -> dict[str, Any]:
    """Some more of the curves; the page asks until they are whole."""
    settings = checked(ratio, temperature, seed)
    return curve_of(_posterior(checkpoint), picture_of(image), *settings, budget=BUDGET)


@in_a_sentence
def choose_ratio(event: gr.EventData) -> float:
    """A point of the curve was clicked."""
    return checkpoints.number(getattr(event, "ratio", None), "mask ratio", 0, 1)


@in_a_sentence
def choose_code(checkpoint: Any, event: gr.EventData) -> int:
    """A token was clicked: its code is picked in the other tabs as well."""
    size = checkpoints.model(checkpoint).tokenizer.codebook_size
    return checkpoints.whole_number(getattr(event, "index", None), "code", 0, size - 1)


def choose_offer() -> Any:
    """The checkpoint that was offered instead of one that draws nothing."""
    return gr.update(value=_drawing())


def fill_examples() -> list[dict[str, str]]:
    """The strip of pictures, when the tab is opened."""
    from ..services.examples import thumbnails

    return list(thumbnails())


def build(
    tab: gr.Tab,
    checkpoint: gr.Dropdown,
    default: str,
    picture: gr.Image,
    code: gr.State,
    here: gr.State,
    chosen: gr.Textbox,
) -> None:
    """Draw the tab and wire it. Checkpoint, picture and picked code are shared by all tabs;
    ``chosen`` changes with the picture."""
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
                info="Share of tokens drawn at random. Reg-VQ trains at 0.4.",
                buttons=["reset"],
            )
            temperature = gr.Slider(
                0,
                HOTTEST,
                value=1,
                step=0.05,
                label="Temperature",
                elem_id="mask-temperature",
                elem_classes="rv-slider",
                info="1 draws as in training; towards 0 only the best code is left.",
                buttons=["reset"],
            )
            seed = gr.Number(0, label="Seed of the draw", precision=0, elem_id="mask-seed")
            examples = gr.HTML(
                value=[],
                html_template=asset("examples.html"),
                js_on_load=asset("examples.js"),
                elem_id="mask-examples",
                apply_default_css=False,
            )
            gr.HTML(
                f'<p class="rv-note">Your own picture: upload it under Reconstruct. Here it is '
                f"looked at with at most {SIDE} pixels a side, so that the sliders answer at once."
                "</p>",
                apply_default_css=False,
            )
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            stage = gr.HTML(
                value={},
                html_template=asset("masks.html"),
                js_on_load=asset("masks.js"),
                elem_id="mask-stage",
                apply_default_css=False,
            )
        with gr.Column(scale=0, min_width=290, elem_classes="rv-figures"):
            figures = gr.HTML(mask_figures(None), elem_id="mask-figures", apply_default_css=False)
            curve = gr.HTML(
                value={},
                html_template=asset("curve.html"),
                js_on_load=asset("curve.js"),
                elem_id="mask-curve",
                apply_default_css=False,
            )

    settings = [picture, checkpoint, ratio, temperature, seed]
    own = {"api_visibility": "private", "trigger_mode": "always_last", **MODEL_QUEUE}
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    changes = [part.change for part in (chosen, *settings[1:])]
    gr.on(changes, show, [*settings, here], [stage, figures, curve], **own)
    tab.select(show, settings, [stage, figures, curve], **own)
    tab.select(fill_examples, None, examples, queue=False, **quiet)
    curve.more(more, settings, curve, show_progress="hidden", **own)
    curve.pick(choose_ratio, None, ratio, queue=False, **quiet)
    stage.pick(choose_code, checkpoint, code, queue=False, **quiet)
    stage.offer(choose_offer, None, checkpoint, queue=False, **quiet)
    examples.pick(pick_example, None, picture, **quiet)

    with gr.Row(visible=False):  # the tab as an API: plain inputs, plain outputs
        gr.Button().click(
            mask_sweep,
            [
                PictureInput(type="filepath", label="image"),
                gr.Textbox(default, label="checkpoint"),
                gr.Number(0, label="seed"),
                gr.Number(1, label="temperature"),
            ],
            [gr.Gallery(label="pictures"), gr.Image(label="curves"), gr.JSON(label="figures")],
            api_name="mask_sweep",
            **MODEL_QUEUE,
        )
