"""Below the code map: the maps of other checkpoints beside this one's, in one colour scale."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from ..services import checkpoints
from ..services.checkpoints import MODEL_QUEUE, Model, one_at_a_time
from ..services.code_stats import atlas
from ..services.embeddings import NEIGHBOURS, has_layout, layout
from ..ui.errors import in_a_sentence
from ..ui.pictures import FLOOR, packed
from ..ui.theme import asset
from .code_map import classes_of, codebook, norms

TAB = "Code map"
MOST = 4
"""Maps side by side, the chosen checkpoint's among them."""
PROGRESS = gr.Progress()


def chosen(checkpoint: Any, others: Any) -> list[Model]:
    """The checkpoint and up to MOST - 1 others, each once. Raises Refused for an unknown one."""
    names = [checkpoint, *(others if isinstance(others, list) else [])]
    return [checkpoints.model(name) for name in dict.fromkeys(names)][:MOST]


def _map(which: Model) -> dict[str, Any]:
    """What the page draws of one checkpoint."""
    from regvq.metrics.codebook_usage import usage_of

    known, codes = atlas(which), codebook(which)
    usage = usage_of(known["counts"])
    umap = None
    if has_layout(which, codes, 2, NEIGHBOURS[1]):  # here none is laid out anew: that takes minutes
        umap = packed(layout(which, codes, "umap", 2), "<f4")
    return {
        "checkpoint": which.name,
        "counts": packed(known["counts"], "<f8"),
        "colours": packed(known["mean_color"], "u1"),
        "norms": packed(norms(which), "<f4"),
        "pca": packed(layout(which, codes, "pca", 2), "<f4"),
        "umap": umap,
        "used": usage.used,
        "total": usage.total,
        "perplexity": usage.perplexity,
        "source": str(known["source"]),
    }


@in_a_sentence
@one_at_a_time
def show(checkpoint: Any, others: Any, here: Any = TAB) -> Any:
    """For the page: the maps side by side, or none while no other is chosen."""
    from regvq.analysis.rendering import ramp

    if here != TAB:
        return gr.skip()
    if not others:
        return {"maps": []}
    if len(others) > MOST - 1:
        gr.Info(f"{MOST} maps at most stand side by side; the first ones are shown.")
    return {
        "maps": [_map(which) for which in chosen(checkpoint, others)],
        "ramp": ramp(np.linspace(FLOOR, 1, 64)).tolist(),
    }


@in_a_sentence
@one_at_a_time
def show_classes(checkpoint: Any, others: Any, progress: gr.Progress = PROGRESS) -> dict[str, Any]:
    """The class on which each code of each checkpoint stands, when the page colours by it."""
    found = {which.name: classes_of(which, progress) for which in chosen(checkpoint, others)}
    _, names, palette = next(iter(found.values()))
    return {
        "classes": {
            "of": {
                name: packed(np.where(most < 0, 255, most), "u1")
                for name, (most, _, _) in found.items()
            },
            "names": names,
            "colours": palette.tolist(),
        }
    }


def choices(checkpoint: Any, others: Any) -> Any:
    """The checkpoints that can stand beside this one; what was chosen stays chosen."""
    names = [name for name in checkpoints.names() if name != checkpoint]
    kept = [name for name in others or [] if name in names]
    return gr.update(choices=names, value=kept, visible=bool(names))


@in_a_sentence
def open_map(event: gr.EventData) -> str:
    """The checkpoint whose map was clicked becomes the one that all tabs show."""
    return checkpoints.bundle(getattr(event, "name", None)).name


def build(tab: gr.Tab, checkpoint: gr.Dropdown, default: str, here: gr.State) -> None:
    """Draw it and wire it."""
    names = [name for name in checkpoints.names() if name != default]
    gr.HTML('<h3 class="rv-h rv-beside-h">Beside other checkpoints</h3>', apply_default_css=False)
    others = gr.CheckboxGroup(
        names,
        value=[],
        label="Beside other checkpoints",
        elem_id="beside-choice",
        elem_classes="rv-pills",
        container=False,
        visible=bool(names),
    )
    wall = gr.HTML(
        value={"maps": []},
        html_template=asset("beside.html"),
        js_on_load=asset("beside.js"),
        elem_id="beside",
        apply_default_css=False,
    )
    own = {"api_visibility": "private", "show_progress": "hidden"}
    drawn = {**own, **MODEL_QUEUE, "trigger_mode": "always_last"}
    shown = [checkpoint, others]
    gr.on([tab.select, checkpoint.change], choices, shown, others, queue=False, **own).then(
        show, [*shown, here], wall, **drawn
    )
    others.input(show, [*shown, here], wall, **drawn)
    wall.classes(show_classes, shown, wall, **own, **MODEL_QUEUE, trigger_mode="multiple")
    wall.open(open_map, None, checkpoint, queue=False, trigger_mode="multiple", **own)
