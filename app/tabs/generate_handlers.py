"""The handlers of the tab Generate; its layout is ``generate``. They return values by name."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from ..services import (
    canvases,
    checkpoints,
    generation,
    generation_examples,
    generation_runs,
    priors,
    sampling,
    semantic_maps,
    worked_example,
)
from ..services.encoding import data_url, pack, png_file
from ..services.errors import UserError, without_paths
from ..services.generation import GenerationRequest
from ..services.generation_runs import SAMPLED, RestoredSettings, SavedRun
from ..services.model_lock import LOCK
from ..services.priors import PriorHandle
from ..ui.errors import report_user_errors
from ..ui.pictures import publish

TITLES = {"text": "Text", "label": "Class", "semantic": "Semantic map", "complete": "Inpaint"}
"""The modes as the page calls them."""
NO_PRIOR = {
    "text": "No text-conditioned prior is available yet.",
    "label": "No prior that is conditioned on classes is available yet.",
    "semantic": "No prior for semantic maps is available yet.",
    "complete": "No prior that can inpaint is available yet.",
}
KINDS = {
    "autoregressive": "autoregressive: one token after another",
    "masked": "masked: the most certain tokens first",
    "diffusion": "discrete diffusion: all tokens at once, from noise",
    "latent": "latent diffusion: latents, then tokens",
}

_run_numbers = itertools.count(1)


# ---------------------------------------------------------------- choosing


@report_user_errors
def on_mode_change(mode: Any, prior: Any) -> dict[str, Any]:
    """Offer the priors of a mode, and show the parts of the page that belong to it."""
    known = priors.names(_mode(mode))
    # A prior that stays is not set: its user may have chosen another one in the meantime.
    kept = {} if prior in known else {"value": known[0] if known else None}
    return {
        "prior": gr.update(choices=known, **kept),
        "label": gr.update(visible=mode == "label"),
        "map_mode": gr.update(visible=mode == "semantic"),
        "inpaint_mode": gr.update(visible=mode == "complete"),
    }


def _mode(mode: Any) -> str:
    return mode if mode in priors.MODES else "text"


@report_user_errors
def on_prior_change(
    mode: Any,
    prior: Any,
    image: Any,
    plan: Any,
    source: Any,
    hole: Any = None,
    restored: RestoredSettings | None = None,
    label: Any = None,
    shown: Any = "",
) -> dict[str, Any]:
    """Show a prior's settings, examples and canvas; of a restored run, the run's settings and the
    canvas that is there already.

    "shown" names the mode and the prior whose settings the page has. If they are these already,
    what the visitor has set, drawn and generated stays: a list reports a choice again when it loses
    the focus, and the tab when it is opened again.
    """
    from regvq.errors import CheckpointError

    mode = _mode(mode)
    now = {"shown": f"{mode}:{prior or ''}"}
    again = shown == now["shown"]
    if not priors.names(mode):
        command = checkpoints.train_command(priors.TRAIN_RECIPE)
        return {
            **now,
            "prompt_column": gr.update(visible=mode == "text"),
            "prompts": [],
            "examples": [],
            "results": {"none": f"{NO_PRIOR[mode]} Train one: {command}"},
        }
    try:
        with LOCK:
            handle = priors.open_prior(prior, mode)
            values = {} if again else _settings(handle, mode, restored)
    except (UserError, CheckpointError) as error:
        return {**now, "results": {"problem": without_paths(str(error))}}
    if mode == "text":
        priors.preload_prior(handle)
    if mode == "label":
        first = handle.labels[worked_example.example_class(handle)]
        chosen = {} if label in handle.labels else {"value": first}
        values["label"] = gr.update(choices=list(handle.labels), **chosen)
    examples: list[dict[str, str]] = []
    if mode == "semantic":
        known = generation_examples.example_maps(handle)
        table = semantic_maps.legend(handle).table
        examples = [
            {
                "caption": title,
                "credit": "example map",
                "thumb": canvases.map_thumbnail(ids, table),
            }
            for title, ids in known
        ]
        if not canvases.is_map_of(plan, handle):
            values["plan"] = canvases.map_canvas(handle, known[0][1] if known else None)
    kept = canvases.is_hole_of(hole, handle) or (again and canvases.has_picture(hole))
    if mode == "complete" and not kept:
        values["source"], values["hole"] = canvases.inpaint_canvas(handle, source, image)
    if example := mode in ("text", "label") and worked_example.example_view(handle):
        values["results"] = publish(example)
    elif not again:
        values["results"] = {"empty": True}
    return {
        **now,
        **values,
        "prior": gr.update(info=_about(handle)),
        "prompt_column": gr.update(visible=mode == "text" or "text" in handle.conditions),
        "prompts": list(generation_examples.example_prompts(handle)),
        "examples": examples,
    }


def _settings(handle: PriorHandle, mode: str, restored: RestoredSettings | None) -> dict[str, Any]:
    """Return the values of the page's sampling settings, without the number and the seed."""
    values = sampling.defaults(handle)
    if restored and restored.fits(mode, handle.name):
        saved = dict(zip(SAMPLED, restored.sampled, strict=True))
        values = {name: saved[name] for name in values}
    stepwise = handle.kind != "autoregressive"
    steps = (values["steps"] or handle.config.default_steps) if stepwise else None
    return {**values, "steps": gr.update(value=steps, visible=stepwise)}


def _about(handle: PriorHandle) -> str:
    width, height = handle.size
    two_stage = getattr(handle.config, "layout", None) is not None
    first = "a semantic map first, then " if two_stage else ""
    decoder = handle.tokenizer_handle.name
    return (
        f"{first}{KINDS.get(handle.kind, handle.kind)}; {width} × {height} pixels, decoded by the "
        f"checkpoint {decoder}"
    )


@report_user_errors
def on_map_pick(prior: Any, event: gr.EventData) -> dict[str, Any]:
    """Return a canvas with the example map that was clicked."""
    handle = priors.open_prior(prior, "semantic")
    known, index = generation_examples.example_maps(handle), getattr(event, "index", None)
    if not isinstance(index, int) or not 0 <= index < len(known):
        raise UserError("There is no such example.")
    return canvases.map_canvas(handle, known[index][1])


@report_user_errors
def on_prompt_pick(prior: Any, event: gr.EventData) -> str:
    """Return the example prompt that was clicked."""
    known = [
        prompt
        for each in priors.all_priors()
        if each.name == prior
        for prompt in generation_examples.example_prompts(each)
    ]
    index = getattr(event, "index", None)
    if not isinstance(index, int) or not 0 <= index < len(known):
        raise UserError("There is no such example.")
    return known[index]


@report_user_errors
def on_upload(image: Any, prior: Any) -> dict[str, Any]:
    """Show the picture that was uploaded for inpainting."""
    if not image:
        return {}
    handle = priors.open_prior(prior, "complete")
    source = canvases.encode_source(handle, image)
    source, hole = canvases.inpaint_canvas(handle, source)
    return {"source": source, "hole": hole}


# ---------------------------------------------------------------- generating


def parse_page(
    mode: Any,
    prior: Any,
    prompt: Any,
    plan: Any,
    hole: Any,
    source: Any,
    label: Any,
    *sampled: Any,
) -> GenerationRequest:
    """Return the page's request, checked. Raises UserError, CheckpointError or PictureError."""
    mode = _mode(mode)
    if mode == "text":
        return generation.text_request(prompt, prior, *sampled)
    if mode == "label":
        return generation.label_request(label, prior, *sampled)
    handle = priors.open_prior(prior, mode)
    if mode == "semantic":
        width, height = handle.size
        classes = semantic_maps.legend(handle).classes
        cells = plan.get("ids") if isinstance(plan, dict) else None
        ids = semantic_maps.unpack_cells(cells, width * height, len(classes) - 1)
        ids = ids.reshape(height, width)
        return generation.map_request(ids, handle.name, *sampled, prompt=prompt)
    if source is None or source.tokenizer != handle.tokenizer_handle.name:
        raise UserError("There is no picture to inpaint yet: upload one, or generate one first.")
    ids, cells = source.ids, hole.get("ids") if isinstance(hole, dict) else None
    marked = semantic_maps.unpack_cells(cells, ids.size, 1) if cells else np.zeros(ids.size)
    marked = marked.reshape(ids.shape) > 0
    return generation.inpaint_request(ids, marked, handle.name, *sampled, prompt=prompt)


@report_user_errors
def generate(
    mode: Any,
    prior: Any,
    prompt: Any,
    plan: Any,
    hole: Any,
    source: Any,
    runs: list[SavedRun] | None,
    label: Any,
    *sampled: Any,
) -> Iterator[dict[str, Any]]:
    """Yield the unfinished pictures, then the finished ones with their figures."""
    from regvq.errors import CheckpointError, PictureError

    number, mode = next(_run_numbers), _mode(mode)
    try:
        request = parse_page(mode, prior, prompt, plan, hole, source, label, *sampled)
        width, height = request.handle.size
        page = {
            "run": number,
            "ratio": width / height,
            "count": request.settings.n,
            "title": TITLES[mode],
        }
        yield {"results": {**page, "drawing": [], "done": 0, "total": 1}}
        started = time.monotonic()
        for step in generation.shown_steps(request):
            drawing = [data_url(pixels) for pixels in generation.preview_images(request, step)]
            progress = {"done": step.done, "total": step.total, "sketch": step.sketching}
            yield {"results": {**page, "drawing": drawing, **progress}}
        result = generation.finish(request, step, time.monotonic() - started)
    except (UserError, CheckpointError, PictureError) as error:
        yield {"results": {"problem": without_paths(str(error))}}
        return
    files = [png_file(one, f"picture-{i + 1}") for i, one in enumerate(result.pictures)]
    saved = generation_runs.saved_run(number, mode, request, result, prompt, source, sampled)
    yield {
        "results": {
            **page,
            "pictures": publish(files),
            "ids": pack(result.ids, "<u4"),
            "shape": list(result.ids.shape),
            "figures": result.figures,
            "inpaint": bool(priors.inpainting_names(saved.fingerprint)),
            "sketched": result.layout is not None,
        },
        "runs": generation_runs.add_run(runs, saved),
    }


def on_stop() -> dict[str, Any]:
    """Tell the page that its run was cancelled."""
    return {"stopped": True}


# ---------------------------------------------------------------- earlier runs


def _find(runs: list[SavedRun] | None, event: gr.EventData) -> tuple[SavedRun, int]:
    index = getattr(event, "index", 0)
    return generation_runs.find_run(runs, getattr(event, "run", None), index), index


def _choose(handle: PriorHandle, mode: str) -> Any:
    return gr.update(choices=priors.names(mode), value=handle.name)


@report_user_errors
def inpaint_result(runs: list[SavedRun] | None, event: gr.EventData) -> dict[str, Any]:
    """Put a generated picture on the canvas, to inpaint a part of it."""
    handle, source = generation_runs.inpainting_of(*_find(runs, event))
    source, hole = canvases.inpaint_canvas(handle, source)
    return {"prior": _choose(handle, "complete"), "source": source, "hole": hole}


@report_user_errors
def use_map(runs: list[SavedRun] | None, event: gr.EventData) -> dict[str, Any]:
    """Put the map that a two-stage prior generated on the canvas, for the same prior."""
    saved, index = _find(runs, event)
    handle, canvas = generation_runs.map_of(saved, index)
    prompt = gr.update(value=saved.prompt)
    return {"prior": _choose(handle, "semantic"), "prompt": prompt, "plan": canvas}


@report_user_errors
def restore_run(runs: list[SavedRun] | None, event: gr.EventData) -> dict[str, Any]:
    """Restore an earlier run: prior, prompt, map, picture and hole, sampling settings.

    "restored" tells ``on_prior_change`` to keep these settings.
    """
    saved, _ = _find(runs, event)
    handle = priors.open_prior(saved.prior, saved.mode)
    values: dict[str, Any] = dict(zip(SAMPLED, saved.sampled, strict=True))
    if saved.label is not None:
        values["label"] = gr.update(choices=list(handle.labels), value=handle.labels[saved.label])
    if saved.plan is not None:
        values["plan"] = canvases.map_canvas(handle, saved.plan)
    if saved.marked is not None:
        values["source"], values["hole"] = canvases.inpaint_canvas(
            handle, saved.source, marked=saved.marked
        )
    return {
        **values,
        "prior": _choose(handle, saved.mode),
        "prompt": saved.prompt,
        "restored": RestoredSettings(saved.mode, handle.name, saved.sampled),
    }


def restored_mode(restored: RestoredSettings | None) -> Any:
    """Return the mode of the run that was restored; no change if none was."""
    return gr.skip() if restored is None else restored.mode
