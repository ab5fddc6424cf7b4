"""The tab Generate: words, a painted map or a picture with a hole, and the easel they go to."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import generation, priors
from ..services.checkpoints import MODEL_QUEUE
from ..services.sampling import MOST_PICTURES
from ..ui.pictures import PictureInput
from ..ui.theme import asset
from . import generate_handlers as page

_CLEARED = """(way, plan, hole) =>
  [way === "From a map" ? {} : plan, way === "Repaint" ? {} : hole]"""


def build(tab: gr.Tab, picture: gr.Image) -> tuple[gr.Dropdown, gr.Textbox, gr.Number]:
    """Draw the tab and wire it. ``picture`` is shared by all tabs.

    Returns what a link to a painting holds: its prior, prompt and seed.
    """
    known = priors.names("text")
    with gr.Row(elem_classes="rv-split rv-generate", equal_height=False):
        with gr.Column(scale=0, min_width=340, elem_classes="rv-side rv-order"):
            way = gr.Radio(
                list(page.WAYS),
                value=next(iter(page.WAYS)),
                label="Paint",
                elem_id="way",
                elem_classes="rv-pills",
                container=False,
            )
            prior = gr.Dropdown(
                known, value=known[0] if known else None, label="Prior", info=" ", elem_id="prior"
            )
            with gr.Column(visible=True, elem_classes="rv-words") as words:
                prompt = gr.Textbox(
                    label="Prompt",
                    placeholder="a lake below mountains at sunset",
                    lines=3,
                    max_lines=6,
                    elem_id="prompt",
                )
                prompts = _html("prompts", value=[])
            n = gr.Slider(1, MOST_PICTURES, value=4, step=1, label="Pictures", elem_id="pictures")
            with gr.Row(elem_classes="rv-seed", equal_height=False):
                seed = gr.Number(0, label="Seed", precision=0, elem_id="generate-seed")
                other = gr.Button("Another", elem_id="another-seed", min_width=90, scale=0)
            with gr.Accordion("Sampling", open=False, elem_id="sampling"):
                guidance = gr.Slider(
                    0, 10, value=1, step=0.1, label="Guidance", buttons=["reset"],
                    info="How strongly to keep to what was asked; 1 is as learnt.",
                )  # fmt: skip
                temperature = gr.Slider(
                    0, 2, value=1, step=0.05, label="Temperature", buttons=["reset"],
                    info="Below 1 the likelier codes gain.",
                )  # fmt: skip
                top_k = gr.Number(0, label="Top-k", precision=0, info="0: all codes.")
                top_p = gr.Slider(0.05, 1, value=1, step=0.01, label="Top-p", buttons=["reset"])
                steps = gr.Number(None, label="Steps", precision=0, elem_id="steps")
            with gr.Row(elem_classes="rv-go"):
                go = gr.Button("Paint", variant="primary", elem_id="paint")
                stop = gr.Button("Stop", elem_id="stop")
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            with gr.Column(visible=False, elem_classes="rv-map-way") as map_way:
                plan = _html("painter", elem_id="map-painter", value={})
                examples = _html("examples", elem_id="map-examples", value=[])
            with gr.Column(visible=False, elem_classes="rv-rest-way") as rest_way:
                hole = _html("painter", elem_id="mask-painter", value={})
                own = PictureInput(
                    type="filepath",
                    label="Another picture to repaint",
                    sources=["upload", "clipboard"],
                    height=120,
                    elem_id="repaint-picture",
                    buttons=[],
                )
            easel = _html("easel", elem_id="easel", value={"empty": True})
    source, runs, resumed = gr.State(None), gr.State([]), gr.State(None)

    how = [n, seed, guidance, temperature, top_k, top_p, steps]
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    own_queue = {**quiet, "trigger_mode": "always_last", **MODEL_QUEUE}
    # Not "always_last": what that sends later is the first click's event, not the last one's.
    each = {**quiet, "trigger_mode": "multiple", **MODEL_QUEUE}
    ready = [guidance, temperature, top_k, top_p, steps, prior, words, prompts, examples, plan,
             hole, source, easel]  # fmt: skip
    ways = gr.on([tab.select, way.change], page.turned, [way, prior], [prior, map_way, rest_way],
                 queue=False, **quiet)  # fmt: skip
    asked = [way, prior, picture, plan, source, hole, resumed]
    ways.then(page.prepared, asked, ready, **own_queue)
    # What is on the easel belongs to the prior before: nobody shall paint on what is to go.
    chosen = prior.input(None, [way, plan, hole], [plan, hole], js=_CLEARED, **quiet)
    chosen.then(page.prepared, asked, ready, **own_queue)
    other.click(None, None, seed, js="() => Math.floor(Math.random() * 1e6)", **quiet)
    prompts.pick(page.say, prior, prompt, queue=False, **quiet)
    examples.pick(page.start_from, prior, plan, **each)
    own.upload(page.bring, [own, prior], [source, hole], **own_queue)
    drawing = gr.on(
        [go.click, prompt.submit],
        page.show,
        [way, prior, prompt, plan, hole, source, runs, *how],
        [easel, runs],
        trigger_mode="once",
        **quiet,
        **MODEL_QUEUE,
    )
    stop.click(page.stopped, None, easel, cancels=[drawing], queue=False, **quiet)
    # The way last: when it turns, its prior must stand there already.
    rubbed = easel.repaint(page.repaint, runs, [prior, source, hole], **each)
    rubbed.success(None, None, way, js='() => "Repaint"', **quiet)
    drafted = easel.sketch(page.sketch, runs, [prior, prompt, plan], **each)
    drafted.success(None, None, way, js='() => "From a map"', **quiet)
    taken = easel.again(
        page.again, runs, [prior, prompt, plan, source, hole, *how, resumed], **each
    )
    turned = taken.success(page.way_of, resumed, way, queue=False, **quiet)
    turned.then(page.prepared, asked, ready, **own_queue)
    _apis()
    return prior, prompt, seed


def _html(name: str, elem_id: str = "", value: Any = None) -> gr.HTML:
    """A piece of the page with its template and script in app/static."""
    return gr.HTML(
        value=value,
        html_template=asset(f"{name}.html"),
        js_on_load=asset(f"{name}.js"),
        elem_id=elem_id or name,
        apply_default_css=False,
    )


def _apis() -> None:
    """The tab as an API: plain inputs, plain outputs."""

    def how(*first: Any) -> list[Any]:
        sampling = ("guidance", "temperature", "top_k", "top_p", "steps")
        return [*first, *(gr.Number(None, label=name) for name in sampling)]

    def outputs() -> list[Any]:
        return [gr.Gallery(label="pictures"), gr.JSON(label="ids"), gr.JSON(label="figures")]

    with gr.Row(visible=False):
        gr.Button().click(
            generation.generate_text,
            how(gr.Textbox(label="prompt"), gr.Textbox("", label="prior"),
                gr.Number(1, label="n"), gr.Number(0, label="seed")),
            outputs(), api_name="generate_text", **MODEL_QUEUE,
        )  # fmt: skip
        gr.Button().click(
            generation.generate_semantic,
            [*how(PictureInput(type="filepath", label="map"), gr.Textbox("", label="prior"),
                  gr.Number(1, label="n"), gr.Number(0, label="seed")),
             gr.Textbox("", label="prompt")],
            outputs(), api_name="generate_semantic", **MODEL_QUEUE,
        )  # fmt: skip
        gr.Button().click(
            generation.complete,
            [*how(PictureInput(type="filepath", label="image"),
                  PictureInput(type="filepath", label="mask"), gr.Textbox("", label="prior"),
                  gr.Number(0, label="seed"), gr.Number(1, label="n")),
             gr.Textbox("", label="prompt")],
            outputs(), api_name="complete", **MODEL_QUEUE,
        )  # fmt: skip
