"""The tab Generate: what happens on its page. Its layout is ``app.tabs.generate``."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import gradio as gr
import numpy as np

from ..services import canvases, generation, priors, sampling, semantic_maps
from ..services.checkpoints import LOCK
from ..services.generation import Order
from ..services.idle import when_calm
from ..services.priors import TRAINED, Painter
from ..ui.errors import Refused, in_a_sentence
from ..ui.pictures import data_url, page_file, png

log = logging.getLogger("regvq.app")

WAYS = {"From words": "text", "From a map": "semantic", "Repaint": "complete"}
NONE = {
    "text": "No prior that is told by words is here yet.",
    "semantic": "No prior that is told by maps is here yet.",
    "complete": "No prior that completes pictures is here yet.",
}
REMEMBERED = 8
"""Runs of a visitor whose pictures can be repainted and whose settings can be taken up again."""

_run = itertools.count(1)


# ---------------------------------------------------------------- choosing


@in_a_sentence
def turned(way: Any, prior: Any) -> tuple:
    """Another way in: the priors that know it, and the parts of the page that belong to it."""
    kind = WAYS.get(way, "text")
    known = priors.names(kind)
    # A prior that is kept is not set: its visitor may have chosen another one meanwhile.
    kept = {} if prior in known else {"value": known[0] if known else None}
    return (
        gr.update(choices=known, **kept),
        gr.update(visible=kind == "semantic"),
        gr.update(visible=kind == "complete"),
    )


@in_a_sentence
def prepared(
    way: Any, prior: Any, image: Any, plan: Any, source: Any, hole: Any = None, resumed: Any = None
) -> tuple:
    """Another prior: its settings, its examples, and what is painted on. Of a run that is taken up
    ``again`` the settings are that run's, and what it was painted on stays."""
    from regvq.errors import CheckpointError

    kind = WAYS.get(way, "text")
    skip = gr.skip()
    if not priors.names(kind):
        words = f"{NONE[kind]} Train one: {TRAINED}"
        return (
            *(skip,) * 6,
            gr.update(visible=kind == "text"),
            [],
            [],
            skip,
            skip,
            skip,
            {"none": words},
        )
    try:
        with LOCK:
            painter = priors.painter(prior, kind)
            usual, free = sampling.defaults(painter), painter.config.default_steps
            if resumed and (resumed["way"], resumed["prior"]) == (way, painter.name):
                usual = dict(zip(("n", "seed", *usual), resumed["how"], strict=True))
    except (Refused, CheckpointError) as error:
        return *(skip,) * 12, {"problem": str(error)}
    if kind == "text":
        meanwhile(painter)
    stepwise = painter.kind != "autoregressive"
    steps = usual["steps"] or free if stepwise else None
    titles, paper, rest = [], skip, skip
    if kind == "semantic":
        found = semantic_maps.example_maps(painter)
        table = semantic_maps.legend(painter).table
        titles = [
            {
                "caption": title,
                "credit": "a map to start from",
                "thumb": canvases.map_thumb(ids, table),
            }
            for title, ids in found
        ]
        mark = f"{painter.name}:{painter.written}"
        if not isinstance(plan, dict) or not str(plan.get("key", "")).startswith(mark):
            paper = canvases.paper(painter, found[0][1] if found else None)
    if kind == "complete" and not canvases.resumes(hole, painter):
        source, rest = canvases.hole(painter, source, image)
    return (
        usual["guidance"],
        usual["temperature"],
        usual["top_k"],
        usual["top_p"],
        gr.update(value=steps, visible=stepwise),
        gr.update(info=_about(painter)),
        gr.update(visible=kind == "text" or "text" in painter.told),
        list(semantic_maps.prompts(painter)),
        titles,
        paper,
        rest,
        source,
        {"empty": True},
    )


@lru_cache(maxsize=8)
def meanwhile(painter: Painter) -> None:
    """Load a prior, once, as soon as nobody waits: its visitor thinks of words."""
    when_calm(lambda: load(painter), "prior")


def load(painter: Painter) -> None:
    """Load a prior that is told by words, and what it reads them with."""
    from regvq.conditions import import_open_clip

    try:
        import_open_clip()  # not holding the lock: it takes seconds, and no model
        with LOCK:
            _ = painter.prior
    except Exception:  # it will be said to the visitor who asks for a picture
        log.exception("The prior %s could not be loaded", painter.name)


def _about(painter: Painter) -> str:
    kinds = {
        "autoregressive": "autoregressive: a token after the other",
        "masked": "masked: the surest tokens first",
        "diffusion": "discrete diffusion: all tokens at once, out of noise",
        "latent": "latent diffusion: latents, then tokens",
    }
    width, height = painter.size
    first = "a map first, then " if getattr(painter.config, "layout", None) is not None else ""
    return f"{first}{kinds.get(painter.kind, painter.kind)}; {width} × {height} pixels"


@in_a_sentence
def start_from(prior: Any, event: gr.EventData) -> dict[str, Any]:
    """An example map was clicked."""
    painter = priors.painter(prior, "semantic")
    known, index = semantic_maps.example_maps(painter), getattr(event, "index", None)
    if not isinstance(index, int) or not 0 <= index < len(known):
        raise Refused("There is no such example.")
    return canvases.paper(painter, known[index][1])


@in_a_sentence
def say(prior: Any, event: gr.EventData) -> str:
    """An example prompt was clicked."""
    known = [words for each in priors.painters() if each.name == prior
             for words in semantic_maps.prompts(each)]  # fmt: skip
    index = getattr(event, "index", None)
    if not isinstance(index, int) or not 0 <= index < len(known):
        raise Refused("There is no such example.")
    return known[index]


@in_a_sentence
def bring(image: Any, prior: Any) -> tuple:
    """A picture was given to be repainted."""
    if not image:
        return gr.skip(), gr.skip()
    painter = priors.painter(prior, "complete")
    return canvases.hole(
        painter, canvases.source_of(painter, generation.tokens_of(image, painter)), None
    )


# ---------------------------------------------------------------- drawing


def ordered(
    way: Any, prior: Any, prompt: Any, plan: Any, hole: Any, source: Any, *how: Any
) -> Order:
    """The page's request, checked."""
    kind = WAYS.get(way, "text")
    if kind == "text":
        return generation.text_order(prompt, prior, *how)
    painter = priors.painter(prior, kind)
    if kind == "semantic":
        width, height = painter.size
        known = semantic_maps.legend(painter)
        given = plan.get("ids") if isinstance(plan, dict) else None
        ids = semantic_maps.unpacked(given, width * height, len(known.classes) - 1)
        return generation.map_order(ids.reshape(height, width), painter.name, *how, prompt=prompt)
    if source is None or source["tokenizer"] != painter.model.name:
        raise Refused("There is no picture to repaint yet: bring one, or draw one first.")
    ids, given = source["ids"], hole.get("ids") if isinstance(hole, dict) else None
    marked = semantic_maps.unpacked(given, ids.size, 1) if given else np.zeros(ids.size)
    return generation.rest_order(
        ids, marked.reshape(ids.shape) > 0, painter.name, *how, prompt=prompt
    )


@in_a_sentence
def show(
    way: Any, prior: Any, prompt: Any, plan: Any, hole: Any, source: Any, runs: Any, *how: Any
) -> Iterator[tuple]:
    """A run for the page: the growing pictures, then the finished ones with their figures."""
    from regvq.errors import CheckpointError, PictureError

    number = next(_run)
    try:
        order = ordered(way, prior, prompt, plan, hole, source, *how)
        width, height = order.painter.size
        page = {"run": number, "ratio": width / height, "count": order.settings.n, "way": way}
        yield {**page, "drawing": [], "done": 0, "total": 1}, gr.skip()
        began = time.monotonic()
        for step in generation.steps(order):
            grown = [data_url(pixels) for pixels in generation.growing(order, step)]
            value = {"drawing": grown, "done": step.done, "total": step.total}
            yield {**page, **value, "sketch": step.sketching}, gr.skip()
        drawn = generation.finished(order, step, time.monotonic() - began)
    except (Refused, CheckpointError, PictureError) as error:
        yield {"problem": str(error)}, gr.skip()
        return
    files = [page_file(png(one), f"picture-{i + 1}") for i, one in enumerate(drawn.pictures)]
    kept = {
        "run": number,
        "way": way,
        "prior": order.painter.name,
        "tokenizer": order.painter.model.name,
        "mark": order.painter.mark,
        "prompt": order.prompt or str(prompt or ""),
        "how": how,
        "plan": order.plan,
        "source": source,
        "marked": None if order.known is None else order.known < 0,
        "ids": drawn.ids,
        "layout": drawn.layout,
        "pixels": [np.asarray(one) for one in drawn.pictures],
    }
    can = bool(painters_for(order.painter.mark))
    yield (
        {
            **page,
            "pictures": files,
            "figures": drawn.figures,
            "repaint": can,
            "sketched": drawn.layout is not None,
        },
        [*(runs or []), kept][-REMEMBERED:],
    )


def painters_for(mark: str) -> list[str]:
    """The priors that complete pictures in the tokens of the tokenizer of this fingerprint."""
    return [each.name for each in priors.fitting("complete") if each.mark == mark]


def stopped() -> dict[str, Any]:
    """The visitor has seen enough."""
    return {"stopped": True}


def _remembered(runs: Any, event: gr.EventData) -> tuple[dict[str, Any], int]:
    wanted, index = getattr(event, "run", None), getattr(event, "index", 0)
    for kept in runs or []:
        if kept["run"] == wanted and isinstance(index, int) and 0 <= index < len(kept["ids"]):
            return kept, index
    raise Refused(f"Only the last {REMEMBERED} runs are kept; draw it again.")


@in_a_sentence
def repaint(runs: Any, event: gr.EventData) -> tuple:
    """A drawn picture is to be repainted: the prior that can, and the same tokens."""
    kept, index = _remembered(runs, event)
    able = painters_for(kept["mark"])
    if not able:
        raise Refused("No prior here can complete this picture.")
    prior = kept["prior"] if kept["prior"] in able else able[0]
    source = {"tokenizer": kept["tokenizer"], "ids": kept["ids"][index],
              "pixels": kept["pixels"][index]}  # fmt: skip
    _, paper = canvases.hole(priors.painter(prior, "complete"), source, None)
    known = priors.names("complete")
    return gr.update(choices=known, value=prior), source, paper


@in_a_sentence
def sketch(runs: Any, event: gr.EventData) -> tuple:
    """The map that a prior drew before a picture is to be painted on, for the same prior."""
    kept, index = _remembered(runs, event)
    if kept["layout"] is None:
        raise Refused("This picture was drawn without a map.")
    painter = priors.painter(kept["prior"], "semantic")
    width, height = painter.size
    cells = kept["layout"][index]
    cells = np.where(
        cells < len(semantic_maps.legend(painter).classes), cells, 0
    )  # there is no "nothing"
    rows, columns = cells.shape
    ids = cells.repeat(height // rows, 0).repeat(width // columns, 1)
    known = priors.names("semantic")
    words = gr.update(value=kept["prompt"])
    return gr.update(choices=known, value=painter.name), words, canvases.paper(painter, ids)


@in_a_sentence
def again(runs: Any, event: gr.EventData) -> tuple:
    """An earlier run as it was ordered: prior, prompt, map, picture and hole, settings, and for
    what comes next the way, and that these are to stay."""
    kept, _ = _remembered(runs, event)
    kind = WAYS[kept["way"]]
    painter = priors.painter(kept["prior"], kind)
    plan = gr.skip() if kept["plan"] is None else canvases.paper(painter, kept["plan"])
    source, hole = gr.skip(), gr.skip()
    if kept["marked"] is not None:
        source, hole = canvases.hole(painter, kept["source"], None, kept["marked"])
    choice = gr.update(choices=priors.names(kind), value=painter.name)
    resumed = {"way": kept["way"], "prior": painter.name, "how": kept["how"]}
    return choice, kept["prompt"], plan, source, hole, *kept["how"], resumed


def way_of(resumed: dict[str, Any]) -> str:
    """The way of the run that was taken up again."""
    return resumed["way"]
