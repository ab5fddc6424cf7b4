"""The tab Collapse lab: quantizers trained on points or on small pictures while the user watches.

The page asks for a few steps at a time and draws them. To pause, it stops asking; and no user's lab
delays another request for longer than a few steps take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ..services import lab_data, lab_sessions, lab_training
from ..services.idle import run_when_idle
from ..services.lab_sessions import KINDS, MOST, NAMES, POINTS, SIZES, SOURCES
from ..ui.component import (
    INSTANT,
    LAB_QUEUE,
    MODEL_QUEUE,
    SILENT,
    api_row,
    html_component,
    html_text,
)
from ..ui.errors import report_user_errors
from ..ui.pictures import gallery_paths
from ..ui.plot import chart, no_chart, plot
from .shared_inputs import picture_input, picture_parameter

FIRST = ("VQ", "EMA", "Gumbel", "Reg-VQ", "SimVQ", "NSVQ")
"""The quantizers that are chosen at first."""
CURVES = {
    "used": ("Codes in use", "% of the codebook, by step"),
    "perplexity": ("Perplexity", "by step"),
    "psnr": ("PSNR", "dB, by step"),
}
"""The curves: titles and captions."""


@report_user_errors
def restart(event: gr.EventData, *inputs: Any) -> tuple:
    """Return the key and the view of a new session, and its curves. ``inputs``: a session's key,
    then the inputs of ``lab_sessions.answer``."""
    return _answer("restart", event, inputs)


@report_user_errors
def tick(event: gr.EventData, *inputs: Any) -> tuple:
    """Return the session after some more steps with the current settings."""
    return _answer("tick", event, inputs)


@report_user_errors
def look(event: gr.EventData, *inputs: Any) -> tuple:
    """Return the session as it is, or a new one if the choices have changed."""
    return _answer("look", event, inputs)


def _answer(how: str, event: gr.EventData, inputs: tuple) -> tuple:
    key, view, curves = lab_sessions.answer(how, getattr(event, "number", None), *inputs)
    if not curves:
        return key, view, *[gr.skip()] * len(CURVES)
    charts = (no_chart() if figure is None else chart(figure) for figure in curves.values())
    return key, view, *charts


@report_user_errors
def lab_pictures(
    image: Any,
    quantizers: Any,
    codes: Any = 64,
    seed: Any = 0,
    steps: Any = 100,
    rate: Any = 3e-3,
    prior: Any = 0.1,
    mask: Any = 0.4,
    temperature: Any = 1.0,
    alpha: Any = 0.1,
) -> Iterator[tuple]:
    """/lab_pictures: tiny tokenizers trained on scenes or on ``image``; streams their figures."""
    settings = (rate, prior, mask, temperature, alpha)
    for pictures, codebooks, figures in lab_training.train_on_pictures(
        image, quantizers, codes, seed, steps, *settings
    ):
        galleries = [
            gr.skip() if one is None else gallery_paths(one) for one in (pictures, codebooks)
        ]
        yield *galleries, figures


def _show_choices(kind: str) -> tuple:
    """Show the choices of points, or of pictures."""
    return gr.update(visible=kind == "points"), gr.update(visible=kind == "pictures")


def _show_upload(source: str) -> Any:
    return gr.update(visible=source == "picture")


def _open_tab(shared: Any, own: Any) -> Any:
    """Return the picture of the other tabs; draw the lab's scenes while nobody waits for them."""
    run_when_idle(lab_data.drawn_scenes, "scenes")
    return gr.skip() if own else shared


def build(tab: gr.Tab, picture: gr.Image) -> None:
    """Draw the tab and add its listeners. It needs no checkpoint; all tabs share ``picture``."""
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            names = gr.CheckboxGroup(
                list(NAMES),
                value=list(FIRST),
                label=f"Quantizers, up to {MOST}",
                elem_id="lab-names",
            )
            points = gr.Radio(
                list(POINTS),
                value=POINTS[0],
                label="Points",
                elem_id="lab-data",
            )
            with gr.Column(visible=False, elem_classes="rv-lab-source") as sources:
                source = gr.Radio(
                    [("Drawn scenes", "scenes"), ("Your picture", "picture")],
                    value=SOURCES[0],
                    label="Pictures of 32 × 32 pixels",
                    elem_id="lab-source",
                )
                own = picture_input(
                    "Your picture, cut into patches", "lab-picture", height=170, visible=False
                )
            size = gr.Slider(
                *SIZES, value=64, step=8, label="Number of codes", elem_classes="rv-slider"
            )
            seed = gr.Number(0, label="Random seed", precision=0, elem_id="lab-seed")
            html_text(
                '<h3 class="rv-h">During training</h3><p class="rv-note">Changes apply from the '
                "next step on, without a restart; the curves mark them.</p>",
                elem_classes="rv-lab-live",
            )
            rate = gr.Slider(
                0.0001,
                0.02,
                value=0.003,
                step=0.0001,
                label="Learning rate",
                elem_classes="rv-slider",
                elem_id="lab-rate",
            )
            prior = gr.Slider(
                0,
                1,
                value=0.1,
                step=0.01,
                label="Reg-VQ: prior",
                info="Weight of the regularization",
                elem_classes="rv-slider",
                elem_id="lab-prior",
            )
            mask = gr.Slider(
                0,
                1,
                value=0.4,
                step=0.05,
                label="Reg-VQ: mask ratio",
                elem_classes="rv-slider",
                elem_id="lab-mask",
            )
            temperature = gr.Slider(
                0.1,
                3,
                value=1,
                step=0.05,
                label="Temperature",
                info="Reg-VQ and Gumbel",
                elem_classes="rv-slider",
                elem_id="lab-temperature",
            )
            alpha = gr.Slider(
                0,
                1,
                value=0.1,
                step=0.01,
                label="NSVQ: alpha",
                info="Weight of the dense loss",
                elem_classes="rv-slider",
                elem_id="lab-alpha",
            )
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            kind = gr.Radio(
                [("Points in a plane", "points"), ("Small pictures", "pictures")],
                value=KINDS[0],
                label="Training data",
                show_label=False,
                container=False,
                elem_id="lab-kind",
                elem_classes="rv-pills",
            )
            stage = html_component("lab", scripts=("points.js", "pictures.js"))
            with gr.Row(elem_classes="rv-curves", equal_height=False):
                curves = []
                for name, title in CURVES.items():
                    with gr.Column(scale=1, min_width=300):
                        curves.append(plot(f"lab-{name}", *title))
    key = gr.State(None, time_to_live=900, delete_callback=lab_sessions.discard)
    spec = [kind, points, source, own, size, names, seed]
    settings = [key, *spec, rate, prior, mask, temperature, alpha]
    # Not "always_last": the page would wait for a request that is dropped.
    each = {**SILENT, **MODEL_QUEUE, "trigger_mode": "multiple"}
    shown = [key, stage, *curves]
    stage.tick(tick, settings, shown, **each)
    stage.restart(restart, settings, shown, **each)
    stage.look(look, settings, shown, **each)
    kind.input(_show_choices, kind, [points, sources], **INSTANT)
    source.input(_show_upload, source, own, **INSTANT)
    own.upload(lambda path: path, own, picture, **INSTANT)
    # The choices have changed: the page asks for a new session, also while it is paused.
    new_spec: dict[str, Any] = {
        "js": "() => { document.dispatchEvent(new Event('rv-lab-spec')); }",
        **INSTANT,
    }
    gr.on([*(part.input for part in spec), size.release], None, None, None, **new_spec)
    tab.select(_open_tab, [picture, own], own, **INSTANT).success(None, None, None, **new_spec)

    with api_row() as endpoint:
        endpoint(
            "lab_pictures",
            lab_pictures,
            [
                picture_parameter("image"),
                gr.JSON(list(FIRST), label="quantizers"),
                gr.Number(64, label="codes"),
                gr.Number(0, label="seed"),
                gr.Number(100, label="steps"),
                gr.Number(0.003, label="rate"),
                gr.Number(0.1, label="prior"),
                gr.Number(0.4, label="mask"),
                gr.Number(1, label="temperature"),
                gr.Number(0.1, label="alpha"),
            ],
            [
                gr.Gallery(label="reconstructions"),
                gr.Gallery(label="codebooks"),
                gr.JSON(label="figures"),
            ],
            **LAB_QUEUE,
        )
