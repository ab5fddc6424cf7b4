"""On the tab Codebook: how usage and codes drifted while the checkpoint was trained."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from ..services import checkpoints
from ..services.checkpoints import Model
from ..ui.errors import in_a_sentence
from ..ui.pictures import packed
from ..ui.theme import asset

TAB = "Codebook"


def history(which: Model) -> dict[str, Any] | None:
    """Return a bundle's drift history (``train.export.drift_history``), or None: many have none.

    Steps (S,); used codes and perplexity (S,) in the counts of each save; the codes' ways since the
    save before: median and 90th percentile (S,), and all of them (S, K); uses (S, K).
    """
    from regvq.metrics.codebook_usage import usage_of

    known = which.bundle.atlas
    parts = [known.get(f"history_{name}") for name in ("steps", "counts", "moved")]
    if any(part is None for part in parts):
        return None
    steps, counts, moved = parts
    if not len(steps) or counts.ndim != 2 or counts.shape != moved.shape:
        return None
    if counts.shape != (len(steps), len(known.get("counts", ()))):
        return None
    usage = [usage_of(row.astype(np.int64)) for row in counts]
    ways = moved.astype(np.float32)
    return {
        "steps": steps.tolist(),
        "used": [one.used for one in usage],
        "perplexity": [one.perplexity for one in usage],
        "median": np.median(ways, axis=1).tolist(),
        "far": np.quantile(ways, 0.9, axis=1).tolist(),
        "codes": counts.shape[1],
        "tokens": counts.sum(axis=1).tolist(),
        "counts": packed(counts, "<u4"),
        "moved": packed(ways, "<f4"),
    }


@in_a_sentence
def show(checkpoint: Any, here: Any = TAB) -> Any:
    """For the page: the history, or that there is none."""
    if here != TAB:
        return gr.skip()
    which = checkpoints.model(checkpoint)
    return {"checkpoint": which.name, "history": history(which)}


def build(tab: gr.Tab, checkpoint: gr.Dropdown, here: gr.State) -> None:
    """Draw it and wire it."""
    chart = gr.HTML(
        value={},
        html_template=asset("drift.html"),
        js_on_load=asset("drift.js"),
        elem_id="drift",
        apply_default_css=False,
    )
    own = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
    tab.select(show, checkpoint, chart, **own)
    checkpoint.change(show, [checkpoint, here], chart, **own)
