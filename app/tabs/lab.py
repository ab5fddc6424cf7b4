"""The tab Collapse lab: quantizers trained on points or on small pictures while one watches.

The page asks for a few steps at a time and draws them, so that a pause is a page that does not ask,
and no visitor's lab keeps another's request waiting for longer than a few steps take.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ..services import checkpoints, lab_sessions
from ..services.checkpoints import LOCK, MODEL_QUEUE
from ..services.idle import when_calm
from ..services.lab_sessions import (
    KINDS,
    MOST,
    NAMES,
    POINTS,
    SIZES,
    SOURCES,
    Lab,
    made_of,
    weights_of,
)
from ..ui.errors import Refused, in_a_sentence
from ..ui.pictures import PictureInput, page_file, png, sprite
from ..ui.theme import asset

TAB = "Collapse lab"
FIRST = tuple(name for name in NAMES if "without" not in name)
LAB_QUEUE: dict[str, Any] = {"concurrency_id": "lab", "concurrency_limit": 1}
"""For the API's long runs, which hold the lock only some steps at a time."""
MOST_STEPS = 400
"""Of one call of the API."""
BREATH = 0.02
"""Seconds between two goes of a long run, in which whoever waits for the lock gets it."""
LARGER = 4
"""The API's pictures are so many times as large as those that are learnt."""
WEIGHTS = 5
"""The last of a lab's inputs, those that can change while it runs."""


def _answer(how: str, number: Any, key: int | None, *inputs: Any) -> tuple[int | None, dict]:
    """What the page is to draw, and the lab it belongs to. ``how``: ``tick`` goes on with a lab,
    ``look`` leaves it as it is, ``again`` begins anew, and so do all if it is made otherwise.
    ``number``, the page's own of its request, goes back with the answer."""
    from regvq.errors import PictureError

    try:
        made = made_of(*inputs[:-WEIGHTS])
        weights = weights_of(*inputs[-WEIGHTS:])
        pictures = lab_sessions.pictures_of(made, inputs[3])
    except (Refused, PictureError) as error:
        return key, {"sentence": str(error), "number": number}
    if how == "tick":
        # The first optimizer brings this along, and nobody shall wait for the lock meanwhile.
        import torch._dynamo  # noqa: F401
    with LOCK:
        lab = lab_sessions.kept(key)
        if how == "again" or lab is None or lab.made != made:
            lab = Lab(made, weights, pictures)
            key = lab_sessions.keep(key, lab)
        elif how == "tick":
            lab.weigh(weights)
            lab.advance()
        return key, {**lab.value(), "number": number}


@in_a_sentence
def again(event: gr.EventData, *inputs: Any) -> tuple[int | None, dict]:
    """A new lab. ``inputs``: the lab's key, then those of ``made_of`` and of ``weights_of``."""
    return _answer("again", getattr(event, "number", None), *inputs)


@in_a_sentence
def tick(event: gr.EventData, *inputs: Any) -> tuple[int | None, dict]:
    """Some more steps, with the weights as they now stand."""
    return _answer("tick", getattr(event, "number", None), *inputs)


@in_a_sentence
def look(event: gr.EventData, *inputs: Any) -> tuple[int | None, dict]:
    """The lab as it stands, or a new one if what it is made of has changed; also while paused."""
    return _answer("look", getattr(event, "number", None), *inputs)


@in_a_sentence
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
    """/lab_pictures: tiny tokenizers trained on scenes, or on ``image``; figures as they grow."""
    source = "picture" if image else "scenes"
    made = made_of("pictures", None, source, image, codes, quantizers, seed)
    weights = weights_of(rate, prior, mask, temperature, alpha)
    count = checkpoints.whole_number(steps, "number of steps", 0, MOST_STEPS)
    pictures = lab_sessions.pictures_of(made, image)
    with LOCK:
        lab = Lab(made, weights, pictures)
        figures: dict[str, Any] = {
            "codes": made.size, "seed": made.seed, **vars(weights), "step": [],
            "runs": {name: {"used": [], "perplexity": [], "psnr": []} for name in made.names},
        }  # fmt: skip
        frames = _note(figures, lab)
    while lab.step < count:
        yield gr.skip(), gr.skip(), figures
        time.sleep(BREATH)
        with LOCK:
            lab.advance(count)
            frames = _note(figures, lab)
    yield _gallery(lab, frames), _codebooks(frames), figures


def _note(figures: dict[str, Any], lab: Lab) -> dict[str, Any]:
    """Add how the runs now stand to ``figures``; the frames of all runs."""
    frames = {name: run.look() for name, run in lab.runs.items()}
    figures["step"].append(lab.step)
    for name, frame in frames.items():
        own = figures["runs"][name]
        own["used"].append(frame.usage.utilization)
        own["perplexity"].append(frame.usage.perplexity)
        own["psnr"].append(frame.psnr)
        own["counts"] = frame.counts.tolist()
    return frames


def _gallery(lab: Lab, frames: dict[str, Any]) -> list[tuple[str, str]]:
    """The pictures that are watched, and what each run makes of them."""
    from regvq.analysis.lab.pictures import sheet_of

    watched = next(iter(lab.runs.values())).pictures.watched
    shown = [(sheet_of(watched), "Originals")]
    for name, frame in frames.items():
        words = f"{name}: {frame.psnr:.2f} dB, {frame.usage.used} of {frame.usage.total} codes"
        shown.append((frame.sheet, words))
    return [(_file(Image.fromarray(pixels), "pictures"), words) for pixels, words in shown]


def _codebooks(frames: dict[str, Any]) -> list[tuple[str, str]]:
    """Each run's codebook, dead codes black."""
    return [
        (_file(sprite(frame.paints * (frame.counts > 0)[:, None, None, None]), "codes"), name)
        for name, frame in frames.items()
    ]


def _file(picture: Image.Image, name: str) -> str:
    large = np.asarray(picture).repeat(LARGER, axis=0).repeat(LARGER, axis=1)
    return page_file(png(Image.fromarray(large)), name)["path"]


def _parts(kind: str) -> tuple:
    """What is to be chosen depends on what is trained."""
    return gr.update(visible=kind == "points"), gr.update(visible=kind == "pictures")


def _own(source: str) -> Any:
    return gr.update(visible=source == "picture")


def _prepare(shared: Any, own: Any) -> Any:
    """When the tab is opened: the picture of the other tabs; scenes for when they are wanted."""
    when_calm(lab_sessions.drawn_scenes, "scenes")
    return gr.skip() if own else shared


def build(tab: gr.Tab, picture: gr.Image) -> None:
    """Draw the tab and wire it. It needs no checkpoint; ``picture`` is shared by all tabs."""
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            names = gr.CheckboxGroup(
                list(NAMES),
                value=list(FIRST),
                label=f"Quantizers, up to {MOST}",
                elem_id="lab-names",
            )
            points = gr.Radio(
                list(POINTS), value=POINTS[0], label="Points", elem_id="lab-data",
            )  # fmt: skip
            with gr.Column(visible=False, elem_classes="rv-lab-source") as sources:
                source = gr.Radio(
                    [("Drawn scenes", "scenes"), ("Your picture", "picture")],
                    value=SOURCES[0], label="Pictures of 32 × 32 pixels", elem_id="lab-source",
                )  # fmt: skip
                own = PictureInput(
                    type="filepath", label="Your picture, cut into patches", height=170,
                    sources=["upload", "clipboard"], visible=False, elem_id="lab-picture",
                )  # fmt: skip
            size = gr.Slider(*SIZES, value=64, step=8, label="Codes", elem_classes="rv-slider")
            seed = gr.Number(0, label="Seed", precision=0, elem_id="lab-seed")
            gr.HTML(
                '<h3 class="rv-h">While it runs</h3><p class="rv-note">From the next step on, '
                "without a restart; the curves mark where.</p>",
                apply_default_css=False, elem_classes="rv-lab-live",
            )  # fmt: skip
            rate = gr.Slider(
                0.0001, 0.02, value=0.003, step=0.0001, label="Learning rate",
                elem_classes="rv-slider", elem_id="lab-rate",
            )  # fmt: skip
            prior = gr.Slider(
                0, 1, value=0.1, step=0.01, label="Reg-VQ: prior",
                info="Weight of the regularization", elem_classes="rv-slider", elem_id="lab-prior",
            )  # fmt: skip
            mask = gr.Slider(
                0, 1, value=0.4, step=0.05, label="Reg-VQ: mask ratio",
                elem_classes="rv-slider", elem_id="lab-mask",
            )  # fmt: skip
            temperature = gr.Slider(
                0.1, 3, value=1, step=0.05, label="Temperature", info="Reg-VQ and Gumbel",
                elem_classes="rv-slider", elem_id="lab-temperature",
            )  # fmt: skip
            alpha = gr.Slider(
                0, 1, value=0.1, step=0.01, label="NSVQ: alpha", info="Weight of the dense loss",
                elem_classes="rv-slider", elem_id="lab-alpha",
            )  # fmt: skip
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            kind = gr.Radio(
                [("Points of a plane", "points"), ("Small pictures", "pictures")],
                value=KINDS[0], label="What is trained", show_label=False, container=False,
                elem_id="lab-kind", elem_classes="rv-pills",
            )  # fmt: skip
            painters = ("lab_points.js", "lab_pictures.js", "lab.js")
            stage = gr.HTML(
                value={},
                html_template=asset("lab.html"),
                js_on_load="\n".join(asset(name) for name in painters),
                elem_id="lab",
                apply_default_css=False,
            )
    key = gr.State(None, time_to_live=900, delete_callback=lab_sessions.let_go)
    made = [kind, points, source, own, size, names, seed]
    settings = [key, *made, rate, prior, mask, temperature, alpha]
    # Not "always_last": a request that is dropped is one that the page waits for.
    listen = {"api_visibility": "private", "trigger_mode": "multiple", "show_progress": "hidden"}
    stage.tick(tick, settings, [key, stage], **listen, **MODEL_QUEUE)
    stage.again(again, settings, [key, stage], **listen, **MODEL_QUEUE)
    stage.look(look, settings, [key, stage], **listen, **MODEL_QUEUE)
    quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    kind.change(_parts, kind, [points, sources], **quiet)
    source.change(_own, source, own, **quiet)
    own.upload(lambda path: path, own, picture, **quiet)
    # What it is made of has changed: the page asks for a new lab, also while it is paused.
    gr.on(
        [part.change for part in made], None, None, None,
        js="() => { document.dispatchEvent(new Event('rv-lab-made')); }", **quiet,
    )  # fmt: skip
    tab.select(_prepare, [picture, own], own, **quiet)

    with gr.Row(visible=False):  # the tab as an API: plain inputs, plain outputs
        gr.Button().click(
            lab_pictures,
            [
                PictureInput(type="filepath", label="image"),
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
            api_name="lab_pictures",
            **LAB_QUEUE,
        )
