"""The tab Generate: a prompt, a class, a semantic map or a picture with a hole, and pictures."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import priors
from ..services.sampling import MOST_PICTURES
from ..ui.component import INSTANT, LOOKUP_QUEUE, MODEL_QUEUE, SILENT, by_name, html_component
from . import generate_api, generate_figures
from . import generate_handlers as handlers
from .shared_inputs import example_strip, picture_input

# The canvas of the previous prior is disabled until the new prior's canvas has loaded.
_CLEAR_CANVAS = """(mode, prior, shown, plan, hole) => shown === mode + ":" + prior ? [plan, hole]
  : [mode === "semantic" ? {} : plan, mode === "complete" ? {} : hole]"""
_SETTLE = """async () => {
  const find = (selector) => document.querySelector(selector), button = find("#generate");
  const chosen = () => find("#mode input:checked").value + ":" + find("#prior input").value;
  button.setAttribute("aria-busy", "true");
  for (let i = 0; i < 600 && find("#shown-prior textarea").value !== chosen(); i += 1)
    await new Promise((go) => setTimeout(go, 50));
  button.removeAttribute("aria-busy");
}"""
"""Wait, for half a minute at most, until the page has the settings of the chosen prior: a run that
began before would take those of the one before it."""
_NEW_SEED = "() => Math.floor(Math.random() * 1e6)"


def build(tab: gr.Tab, picture: gr.Image) -> dict[str, Any]:
    """Draw the tab and add its listeners. ``picture`` is shared by all tabs.

    Returns the components that a link fills in: "prior", "prompt" and "prompt_seed".
    """
    known = priors.names("text")
    with gr.Row(elem_classes="rv-split rv-generate", equal_height=False):
        with gr.Column(scale=0, min_width=340, elem_classes="rv-side rv-generate-side"):
            mode = gr.Radio(
                [(title, name) for name, title in handlers.TITLES.items()],
                value="text",
                label="Generate from",
                elem_id="mode",
                elem_classes="rv-pills",
                container=False,
            )
            prior = gr.Dropdown(
                known, value=known[0] if known else None, label="Prior", info=" ", elem_id="prior"
            )
            with gr.Column(visible=True, elem_classes="rv-prompt-column") as prompt_column:
                prompt = gr.Textbox(
                    label="Prompt",
                    placeholder="a lake below mountains at sunset",
                    lines=3,
                    max_lines=6,
                    elem_id="prompt",
                )
                prompts = html_component("prompts", value=[])
            label = gr.Dropdown([], label="Class", visible=False, elem_id="label")
            with gr.Row(elem_classes="rv-go"):
                go = gr.Button("Generate", variant="primary", elem_id="generate")
                stop = gr.Button("Stop", elem_id="stop")
            n = gr.Slider(
                1, MOST_PICTURES, value=4, step=1, label="Number of pictures", elem_id="pictures"
            )
            with gr.Row(elem_classes="rv-seed", equal_height=False):
                seed = gr.Number(0, label="Random seed", precision=0, elem_id="generate-seed")
                new_seed = gr.Button("New seed", elem_id="new-seed", min_width=112, scale=0)
            with gr.Accordion("Sampling settings", open=False, elem_id="sampling"):
                guidance = gr.Slider(
                    0,
                    10,
                    value=1,
                    step=0.1,
                    label="Guidance",
                    buttons=["reset"],
                    info="How strongly the pictures follow the condition; 1 is plain sampling.",
                )
                temperature = gr.Slider(
                    0,
                    2,
                    value=1,
                    step=0.05,
                    label="Temperature",
                    buttons=["reset"],
                    info="Below 1, likely codes are preferred.",
                )
                top_k = gr.Number(0, label="Top-k", precision=0, info="0: all codes.")
                top_p = gr.Slider(0.05, 1, value=1, step=0.01, label="Top-p", buttons=["reset"])
                steps = gr.Number(None, label="Steps", precision=0, elem_id="steps")
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            with gr.Column(visible=False, elem_classes="rv-map-mode") as map_mode:
                plan = html_component("canvas", elem_id="map-canvas")
                examples = example_strip("map-examples")
            with gr.Column(visible=False, elem_classes="rv-inpaint-mode") as inpaint_mode:
                hole = html_component("canvas", elem_id="inpaint-canvas")
                own = picture_input("Inpaint another picture", "inpaint-picture", height=120)
            results = html_component("results", value={"empty": True})
            shown = gr.Textbox("", visible="hidden", elem_id="shown-prior")
            generate_figures.build(prior)
    source, runs, restored = gr.State(None), gr.State([]), gr.State(None)

    settings = {
        "n": n, "seed": seed, "guidance": guidance, "temperature": temperature,
        "top_k": top_k, "top_p": top_p, "steps": steps,
    }  # fmt: skip
    parts = {
        **settings,
        "mode": mode, "prior": prior, "prompt": prompt, "prompt_column": prompt_column,
        "label": label, "prompts": prompts, "examples": examples, "map_mode": map_mode,
        "inpaint_mode": inpaint_mode, "plan": plan, "hole": hole, "source": source,
        "results": results, "runs": runs, "restored": restored, "shown": shown,
    }  # fmt: skip
    latest = {**SILENT, **LOOKUP_QUEUE, "trigger_mode": "always_last"}
    # Not "always_last": what that sends later is the first click's event, not the last one's.
    each = {**latest, "trigger_mode": "multiple"}

    def named(handler: Any, *names: str) -> tuple[Any, list[Any]]:
        """Return a handler that returns values by name, and its outputs."""
        outputs = {name: parts[name] for name in names}
        return by_name(handler, outputs), list(outputs.values())

    change_mode, mode_parts = named(
        handlers.on_mode_change, "prior", "label", "map_mode", "inpaint_mode"
    )
    change_prior, prior_parts = named(
        handlers.on_prior_change,
        "guidance",
        "temperature",
        "top_k",
        "top_p",
        "steps",
        "prior",
        "prompt_column",
        "prompts",
        "examples",
        "plan",
        "hole",
        "source",
        "results",
        "label",
        "shown",
    )
    current = [mode, prior, picture, plan, source, hole, restored, label, shown]
    gr.on([tab.select, mode.input], change_mode, [mode, prior], mode_parts, **INSTANT).then(
        change_prior, current, prior_parts, **latest
    )

    def after_mode(event: Any) -> None:
        """Show the mode that a handler has set and its prior, after ``event``."""
        event.success(change_mode, [mode, prior], mode_parts, **INSTANT).then(
            change_prior, current, prior_parts, **latest
        )

    kept = [mode, prior, shown, plan, hole]
    prior.input(None, kept, [plan, hole], js=_CLEAR_CANVAS, **SILENT).then(
        change_prior, current, prior_parts, **latest
    )
    new_seed.click(None, None, seed, js=_NEW_SEED, **SILENT)
    prompts.pick(handlers.on_prompt_pick, prior, prompt, **INSTANT)
    examples.pick(handlers.on_map_pick, prior, plan, **each)
    upload, upload_parts = named(handlers.on_upload, "source", "hole")
    own.upload(upload, [own, prior], upload_parts, **{**latest, **MODEL_QUEUE})
    generate, generate_parts = named(handlers.generate, "results", "runs")
    running = gr.on([go.click, prompt.submit], None, None, None, js=_SETTLE, **SILENT).then(
        generate,
        [mode, prior, prompt, plan, hole, source, runs, label, *settings.values()],
        generate_parts,
        trigger_mode="once",
        **SILENT,
        **MODEL_QUEUE,
    )
    stop.click(handlers.on_stop, None, results, cancels=[running], **INSTANT)
    # The mode is set last: when it is shown, its prior must be chosen already.
    inpaint, inpaint_parts = named(handlers.inpaint_result, "prior", "source", "hole")
    after_mode(
        results.inpaint(inpaint, runs, inpaint_parts, **each).success(
            None, None, mode, js='() => "complete"', **SILENT
        )
    )
    use_map, map_parts = named(handlers.use_map, "prior", "prompt", "plan")
    after_mode(
        results.sketch(use_map, runs, map_parts, **each).success(
            None, None, mode, js='() => "semantic"', **SILENT
        )
    )
    restore, restored_parts = named(
        handlers.restore_run,
        "prior",
        "prompt",
        "label",
        "plan",
        "source",
        "hole",
        *settings,
        "restored",
    )
    after_mode(
        results.restore(restore, runs, restored_parts, **each).success(
            handlers.restored_mode, restored, mode, **INSTANT
        )
    )
    generate_api.build()
    return {"prior": prior, "prompt": prompt, "prompt_seed": seed}
