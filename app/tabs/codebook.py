"""The tab Codebook: how often each code is used, and what a single code stands for."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ..services import checkpoints
from ..services.checkpoints import MODEL_QUEUE, Model, Picture, one_at_a_time
from ..services.code_stats import SCENES, atlas, count_scenes, patches, scenes_source, sprite_png
from ..ui.errors import Refused, in_a_sentence
from ..ui.figures import usage_figures
from ..ui.pictures import (
    FLOOR,
    PictureInput,
    data_url,
    heat_picture,
    highlighted,
    packed,
    page_file,
    png,
)
from ..ui.theme import asset
from . import codebook_drift

TAB = "Codebook"
SOURCES = {"Checkpoint's own": "bundle", "Drawn scenes": "scenes", "This picture": "picture"}
PROGRESS = gr.Progress()
NEIGHBOURS = 8
SWATCH = 128
"""Side, in pixels, of the pictures of a code."""


def _picture(image: Any) -> Picture:
    """The picture a visitor has, or the first example."""
    from ..services.examples import examples

    return checkpoints.open_picture(image or examples()[0].path)


def counts_of(
    which: Model, source: Any, image: Any = None, progress: gr.Progress | None = None
) -> tuple[np.ndarray, str]:
    """How often each code occurs, int64 (K,), and on what that was counted. Raises Refused."""
    if source == "bundle":
        known = atlas(which)
        return known["counts"], str(known["source"])
    if source == "scenes":

        def tell(done: int) -> None:
            if progress is not None:
                progress((done, SCENES), desc="Counting codes in drawn scenes", unit="scenes")

        return count_scenes(which, tell), scenes_source()
    if source == "picture":
        ids = checkpoints.tokens(which, _picture(image)).ids
        return np.bincount(ids.ravel(), minlength=which.tokenizer.codebook_size), "this picture"
    raise Refused(
        f"The source must be one of {', '.join(SOURCES.values())}, not {str(source)[:40]!r}."
    )


def usage_dict(counts: np.ndarray, source: str) -> dict[str, Any]:
    """The figures of a count, as JSON."""
    from dataclasses import asdict

    from regvq.metrics.codebook_usage import usage_of

    return {**asdict(usage_of(counts)), "source": source}


@in_a_sentence
@one_at_a_time
def codebook_usage(checkpoint: Any, source: Any = "bundle", image: Any = None) -> tuple:
    """/codebook_usage: heat map, figures."""
    counts, words = counts_of(checkpoints.model(checkpoint), source, image)
    figures = {**usage_dict(counts, words), "counts": counts.tolist()}
    return page_file(png(heat_picture(counts)), "usage")["path"], figures


@in_a_sentence
@one_at_a_time
def show_usage(
    checkpoint: Any,
    source: Any,
    image: Any,
    here: Any = TAB,
    progress: gr.Progress = PROGRESS,
) -> tuple:
    """The same for the page: what the map draws, and the strip of figures."""
    if here != TAB:  # opening the tab will ask again
        return gr.skip(), gr.skip()
    which = checkpoints.model(checkpoint)
    counts, words = counts_of(which, SOURCES.get(source, source), image, progress)
    figures = usage_dict(counts, words)
    known = atlas(which)
    return {
        "checkpoint": which.name,
        "source": words,
        "counts": packed(counts, "<f8"),
        "tokens": figures["tokens"],
        "perplexity": figures["perplexity"],
        "alike": packed(known["grid"].argsort(), "<u4"),
        "colours": packed(known["mean_color"], "u1"),
        "patch": int(known["paints"].shape[1]),
        "sprite": page_file(sprite_png(which), "codes"),
        "ramp": _ramp(),
    }, usage_figures(figures)


def _ramp() -> list[list[int]]:
    """The colours of a code used once up to the most used one, 64 steps."""
    from regvq.analysis.rendering import ramp

    return ramp(np.linspace(FLOOR, 1, 64)).tolist()


def magnified(tile: np.ndarray, side: int = SWATCH) -> Image.Image:
    """A code's tile uint8 (f, f, 3) without smoothing, about ``side`` pixels a side."""
    f = max(1, side // tile.shape[0])
    return Image.fromarray(tile.repeat(f, axis=0).repeat(f, axis=1))


@one_at_a_time
def detail(
    checkpoint: Any, code: Any, image: Any, source: Any = "bundle"
) -> tuple[Model, Image.Image, dict[str, Any]]:
    """A code: the picture with its places lit up, and its figures, counted on ``source``."""
    from regvq.analysis.codes import nearest_codes, where_code

    which = checkpoints.model(checkpoint)
    tokenizer = which.tokenizer
    size = tokenizer.codebook_size
    code = checkpoints.whole_number(code, "code", 0, size - 1)
    picture = _picture(image)
    ids = checkpoints.tokens(which, picture).ids
    where = where_code(ids, code)
    counts, words = counts_of(which, source, image)
    total = int(counts.sum())
    near, apart = nearest_codes(tokenizer.quantizer.codebook(), code, NEIGHBOURS)
    real = patches(which)
    figures = {
        "code": code,
        "codebook_size": size,
        "uses": int(counts[code]),
        "share": float(counts[code] / total) if total else 0.0,
        "rank": int((counts > counts[code]).sum()) + 1,
        "source": words,
        "tokens_counted": total,
        "occurrences": int(where.sum()),
        "picture_tokens": int(where.size),
        "nearest": [int(found) for found in near],
        "distances": [float(distance) for distance in apart],
        "nearest_uses": [int(counts[found]) for found in near],
        "mean_color": [int(channel) for channel in atlas(which)["mean_color"][code]],
        "real_patches": len(real.of(code)) if real else None,
        "checkpoint": which.name,
    }
    return which, highlighted(picture.image, where, tokenizer.downsampling), figures


@in_a_sentence
def code_detail(checkpoint: Any, code: Any, image: Any = None, source: Any = "bundle") -> tuple:
    """/code_detail: what the code paints, where it occurs, its nearest codes, figures, and the real
    patches that the bundle holds of it."""
    which, where, figures = detail(checkpoint, code, image, source)
    paints = atlas(which)["paints"]

    def file(found: int) -> str:
        return page_file(png(magnified(paints[found])), f"code-{found}")["path"]

    nearest = [
        (file(found), f"code {found}, distance {apart:.3f}")
        for found, apart in zip(figures["nearest"], figures["distances"], strict=True)
    ]
    shown = page_file(png(where), "where")["path"]
    found = patches(which)
    real = [
        page_file(png(magnified(tile)), f"patch-{place}")["path"]
        for place, tile in enumerate(found.of(figures["code"]) if found else ())
    ]
    return file(figures["code"]), shown, nearest, figures, real


@one_at_a_time
def _first_code(checkpoint: Any, image: Any) -> int:
    """A code to begin with, before one was picked: the one that the picture uses most."""
    ids = checkpoints.tokens(checkpoints.model(checkpoint), _picture(image)).ids
    return int(np.bincount(ids.ravel()).argmax())


def card_of(checkpoint: Any, code: Any, image: Any, source: Any) -> dict[str, Any]:
    """The same for the page: what the card draws."""
    which, where, figures = detail(checkpoint, code, image, SOURCES.get(source, source))
    paints, real = atlas(which)["paints"], patches(which)
    return {
        **figures,
        "real": real
        and {
            "patches": [data_url(tile) for tile in real.of(figures["code"])],
            "cells": real.cells,
            "source": real.source,
            "pictures": real.pictures,
        },
        "swatch": data_url(paints[figures["code"]]),
        "near": [data_url(paints[found]) for found in figures["nearest"]],
        "where": page_file(png(where), "where"),
    }


@in_a_sentence
def show_picked(
    checkpoint: Any, image: Any, source: Any, event: gr.EventData
) -> tuple[int, dict[str, Any]]:
    """A code was clicked, in the map or among another code's neighbours."""
    card = card_of(checkpoint, getattr(event, "index", None), image, source)
    return card["code"], card


@in_a_sentence
def show_again(
    checkpoint: Any, code: Any, image: Any, source: Any, here: Any = TAB
) -> tuple[Any, Any]:
    """The code that was picked last, on what may be another picture, checkpoint or count."""
    if here != TAB:
        return gr.skip(), gr.skip()
    if not isinstance(code, int) or code >= checkpoints.model(checkpoint).tokenizer.codebook_size:
        code = _first_code(checkpoint, image)
    card = card_of(checkpoint, code, image, source)
    return card["code"], card


def build(
    tab: gr.Tab,
    checkpoint: gr.Dropdown,
    default: str,
    picture: gr.Image,
    code: gr.State,
    here: gr.State,
) -> None:
    """Draw the tab and wire it. Checkpoint, picture and picked code are shared by all tabs."""
    strip = gr.HTML(usage_figures(None), elem_id="usage", apply_default_css=False)
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=1, min_width=320, elem_classes="rv-atlas"):
            source = gr.Radio(
                list(SOURCES),
                value=next(iter(SOURCES)),
                label="Count the codes in",
                elem_id="source",
                elem_classes="rv-pills",
                container=False,
            )
            chart = gr.HTML(
                value={},
                html_template=asset("codebook.html"),
                js_on_load=asset("codebook.js"),
                elem_id="codebook",
                apply_default_css=False,
            )
            codebook_drift.build(tab, checkpoint, here)
        with gr.Column(scale=0, min_width=380, elem_classes="rv-detail"):
            card = gr.HTML(
                value={},
                html_template=asset("code.html"),
                js_on_load=asset("code.js"),
                elem_id="code",
                apply_default_css=False,
            )
    # The page's own listeners. A tab is filled when it is opened, and anew when its inputs change.
    own = {"api_visibility": "private", "trigger_mode": "always_last", **MODEL_QUEUE}
    usage, again = [checkpoint, source, picture], [checkpoint, code, picture, source]
    gr.on([tab.select, source.change], show_usage, usage, [chart, strip], **own)
    gr.on([tab.select, source.change], show_again, again, [code, card], **own)
    checkpoint.change(show_usage, [*usage, here], [chart, strip], **own)
    checkpoint.change(show_again, [*again, here], [code, card], **own)
    # Not "always_last": what that sends later is the first click's event, not the last one's.
    own["trigger_mode"] = "multiple"
    for part in (chart, card):
        part.pick(show_picked, [checkpoint, picture, source], [code, card], **own)

    with gr.Row(visible=False):  # the tab as an API: plain inputs, plain outputs
        gr.Button().click(
            codebook_usage,
            [
                gr.Textbox(default, label="checkpoint"),
                gr.Textbox("bundle", label="source"),
                PictureInput(type="filepath", label="image"),
            ],
            [gr.Image(label="heat map"), gr.JSON(label="figures")],
            api_name="codebook_usage",
            **MODEL_QUEUE,
        )
        gr.Button().click(
            code_detail,
            [
                gr.Textbox(default, label="checkpoint"),
                gr.Number(0, label="code"),
                PictureInput(type="filepath", label="image"),
                gr.Textbox("bundle", label="source"),
            ],
            [
                gr.Image(label="what it paints"),
                gr.Image(label="where it occurs"),
                gr.Gallery(label="nearest codes"),
                gr.JSON(label="figures"),
                gr.Gallery(label="real patches"),
            ],
            api_name="code_detail",
            **MODEL_QUEUE,
        )
