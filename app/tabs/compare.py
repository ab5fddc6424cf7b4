"""The tab Compare: several checkpoints on one picture, side by side and in figures."""

from __future__ import annotations

import json
import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from ..services import checkpoints as models
from ..services.checkpoints import LOCK, MODEL_QUEUE, Model, Picture
from ..ui.errors import Refused, in_a_sentence
from ..ui.pictures import ERROR_TOP, PictureInput, page_file, png
from ..ui.theme import asset
from . import compare_study
from .reconstruct import pick_example, ramp_css

FEWEST, MOST = 2, 6
"""How many checkpoints are compared at once."""
FIRST = 4
"""How many are shown before a visitor has chosen."""
BREATH = 0.25
"""Seconds in which a browser on this machine draws the frames, before all processors rewrite."""
QUANTIZERS = {
    "vq": "VQ",
    "ema": "VQ, moving averages",
    "gumbel": "Gumbel",
    "regvq": "Reg-VQ",
    "simvq": "SimVQ",
    "nsvq": "NSVQ",
    "fsq": "FSQ",
    "lfq": "LFQ",
    "ibq": "IBQ",
}


@dataclass(frozen=True)
class Rewritten:
    """A picture as one checkpoint rewrites it. The pictures are PNG files of one size."""

    picture: bytes
    error: bytes
    figures: dict[str, Any]


_kept: OrderedDict[tuple[Model, Picture], Rewritten] = OrderedDict()
KEPT = 36


def rewritten(which: Model, picture: Picture) -> Rewritten:
    """The picture through the tokens of ``which`` and back, and what that cost and kept."""
    key = (which, picture)
    with LOCK:
        found = _kept.pop(key, None) or _rewrite(which, picture)
        _kept[key] = found  # the latest stand last
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
    return found


def _rewrite(which: Model, picture: Picture) -> Rewritten:
    from regvq.analysis.rendering import color_error, error_map
    from regvq.images import to_tensor
    from regvq.metrics.image_codecs import token_bytes
    from regvq.metrics.psnr_ssim import psnr, ssim

    tokenizer = which.tokenizer
    ids = models.tokens(which, picture).ids
    width, height = picture.image.size
    original = to_tensor(picture.image)
    shown = models.painted(which, picture, ids)
    result = to_tensor(shown)  # the figures are those of what is shown: 8 bits a channel
    decibels = float(psnr(original[None], result[None])[0])
    bits = math.log2(tokenizer.codebook_size)
    figures = {
        **described(which),
        "psnr": decibels if math.isfinite(decibels) else None,
        "ssim": float(ssim(original[None], result[None])[0]),
        "tokens": int(ids.size),
        "codes_used": len(set(ids.flat)),
        "codebook_size": tokenizer.codebook_size,
        "downsampling": tokenizer.downsampling,
        "bits_per_pixel": ids.size * bits / (width * height),
        "bytes": token_bytes(ids.size, tokenizer.codebook_size),
    }
    error = Image.fromarray(color_error(error_map(original, result), top=ERROR_TOP))
    return Rewritten(png(shown), png(error), figures)


def described(which: Model) -> dict[str, Any]:
    """What a bundle says of itself: its quantizer, and how much of its codebook its tests used."""
    from regvq.errors import CheckpointError

    try:
        metrics, config = which.bundle.metrics, which.bundle.config
    except CheckpointError:
        metrics, config = {}, which.bundle.config
    kind = str(config.get("tokenizer", {}).get("quantizer", {}).get("name", ""))
    data = metrics.get("data")
    tested = data.get("described") if isinstance(data, dict) else None
    return {
        "checkpoint": which.name,
        "quantizer": QUANTIZERS.get(kind, kind),
        "utilization": _finite(metrics.get("utilization")),
        "perplexity": _finite(metrics.get("perplexity")),
        "measured_on": f"{metrics.get('images', '')} {tested}".strip() if tested else None,
    }


def _finite(value: Any) -> float | None:
    """A number of a file as JSON can hold it."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and math.isfinite(value) else None


def wanted(names: Any) -> list[Model]:
    """The checkpoints a visitor named; nothing stands for the first ones. Raises Refused."""
    if names is None or names == "" or names == []:
        names = models.names()[:FIRST]
    if isinstance(names, str):
        names = _listed(names)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise Refused("The checkpoints must be a list of names.")
    names = list(dict.fromkeys(names))
    if len(names) > MOST:
        raise Refused(f"At most {MOST} checkpoints can be compared at once, not {len(names)}.")
    chosen = [models.model(name) for name in names]
    if len(chosen) < FEWEST:
        raise Refused(
            f"A comparison needs at least {FEWEST} checkpoints; there is "
            f"{', '.join(models.names()) or 'none yet'}."
        )
    return chosen


def _listed(text: str) -> Any:
    """Names as a program may write them: a JSON list, or with commas between them."""
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return None
    return [name.strip() for name in text.split(",") if name.strip()]


@in_a_sentence
def compare(image: Any, checkpoints: Any = None) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """/compare: gallery of the original and the reconstructions, figures as a table in JSON."""
    chosen = wanted(checkpoints)
    picture = models.open_picture(image)
    found = [rewritten(which, picture) for which in chosen]
    pictures = [(page_file(png(picture.image), "original")["path"], "original")]
    for which, one in zip(chosen, found, strict=True):
        pictures.append((page_file(one.picture, "reconstruction")["path"], which.name))
    width, height = picture.image.size
    return pictures, {
        "width": width,
        "height": height,
        "table": [one.figures for one in found],
    }


@in_a_sentence
def show(image: Any, checkpoints: Any) -> Iterator[dict[str, Any]]:
    """The same for the page, checkpoint by checkpoint: what the wall draws.

    What is known already is there at once: the tab opened again, or one checkpoint more, never
    goes back to empty frames.
    """
    from regvq.errors import PictureError

    if not image:
        yield {"empty": "No picture yet. Upload one, paste one, or choose an example."}
        return
    if len(checkpoints or []) < FEWEST:
        there = len(models.names())
        yield {
            "empty": f"Choose at least {FEWEST} checkpoints to compare."
            if there >= FEWEST
            else "One checkpoint alone has nothing to be compared with. Train another: "
            "python train/run.py photos-vq"
        }
        return
    try:
        chosen = wanted(checkpoints)
        picture = models.open_picture(image)
    except (PictureError, Refused) as error:
        yield {"problem": str(error)}
        return
    known = [_kept.get((which, picture)) for which in chosen]
    rows = [_row(which, one) for which, one in zip(chosen, known, strict=True)]
    page = {
        "original": page_file(png(picture.image), "original"),
        "width": picture.image.width,
        "height": picture.image.height,
        "errorTop": ERROR_TOP,
        "ramp": ramp_css(),
        "rows": rows,
    }
    yield page  # the frames, at once: loading and rewriting take their time
    if None in known:
        time.sleep(BREATH)
    for place, which in enumerate(chosen):
        if known[place] is None:
            rows = [*rows[:place], _row(which, rewritten(which, picture)), *rows[place + 1 :]]
            yield {**page, "rows": rows}


def _row(which: Model, one: Rewritten | None) -> dict[str, Any]:
    """A row of the page's table, and the pictures of its frame; a name while it is being made."""
    if one is None:
        return {"checkpoint": which.name}
    return {
        **one.figures,
        "picture": page_file(one.picture, "reconstruction"),
        "error": page_file(one.error, "error"),
    }


def opening(path: Any, chosen: Any, checkpoint: Any) -> tuple[Any, list[dict[str, str]], Any]:
    """The tab is opened: the picture of the other tabs, the examples, the checkpoints of now."""
    from ..services.examples import thumbnails

    known = models.names()
    kept = [name for name in chosen or [] if name in known]
    if not kept:
        first = [checkpoint] if checkpoint in known else []
        kept = list(dict.fromkeys([*first, *known]))[:FIRST]
    return path, list(thumbnails()), gr.update(choices=known, value=kept)


def picked(event: gr.EventData) -> tuple[str, str]:
    """An example was clicked: the picture of this tab, and of the others."""
    path = pick_example(event)
    return path, path


def build(tab: gr.Tab, checkpoint: gr.Dropdown, picture: gr.Image) -> None:
    """Draw the tab and wire it. ``checkpoint`` and ``picture`` are shared by all tabs."""
    known = models.names()
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            chosen = gr.Dropdown(
                known,
                value=known[:FIRST],
                multiselect=True,
                max_choices=MOST,
                label="Checkpoints",
                info=f"{FEWEST} to {MOST} of them, on one picture.",
                elem_id="compare-checkpoints",
            )
            own = PictureInput(
                type="filepath",
                label="Your picture",
                sources=["upload", "clipboard"],
                height=210,
                elem_id="compare-picture",
                buttons=[],
            )
            examples = gr.HTML(
                value=[],
                html_template=asset("examples.html"),
                js_on_load=asset("examples.js"),
                elem_id="compare-examples",
                apply_default_css=False,
            )
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            wall = gr.HTML(
                value={},
                html_template=asset("compare.html"),
                js_on_load=asset("compare.js"),
                elem_id="compare",
                apply_default_css=False,
            )
    charts = gr.HTML(
        value={},
        html_template=asset("study.html"),
        js_on_load=asset("study.js"),
        elem_id="study",
        apply_default_css=False,
    )

    # The picture is the same in every tab, whichever it was given to.
    quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    opened = tab.select(opening, [picture, chosen, checkpoint], [own, examples, chosen], **quiet)
    gr.on([own.upload, own.clear], lambda path: path, own, picture, **quiet)
    taken = examples.pick(picked, None, [own, picture], **quiet)
    tab.select(compare_study.show, None, charts, **quiet)
    listen = {"trigger_mode": "always_last", "api_visibility": "private", **MODEL_QUEUE}
    opened.then(show, [picture, chosen], wall, **listen)
    taken.then(show, [own, chosen], wall, **listen)
    # Not their change: it comes with what an opened tab is filled with, too, one after the other.
    gr.on([own.upload, own.clear, chosen.input], show, [own, chosen], wall, **listen)

    with gr.Row(visible=False):  # the tab as an API: plain inputs, plain outputs
        gr.Button().click(
            compare,
            [
                PictureInput(type="filepath", label="image"),
                gr.JSON(None, label="checkpoints"),
            ],
            [gr.Gallery(label="original, reconstructions"), gr.JSON(label="figures")],
            api_name="compare",
            **MODEL_QUEUE,
        )
