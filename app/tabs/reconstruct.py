"""The tab Reconstruct: a picture, its tokens, and what the tokenizer makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gradio as gr
import numpy as np

from ..services.checkpoints import MODEL_QUEUE, one_at_a_time
from ..services.code_stats import sprite_png
from ..services.reconstruction import (
    Edits,
    Wanted,
    edits_of,
    reconstruction,
    rewritten,
    run,
    token_pngs,
    tokens_of,
    wanted,
)
from ..ui.errors import in_a_sentence
from ..ui.figures import reconstruction_figures, size
from ..ui.pictures import ERROR_TOP, PictureInput, packed, page_file
from ..ui.theme import asset

TAB = "Reconstruct"
WHICH = "(picture) => (picture ? picture.path : '')"


@in_a_sentence
def reconstruct(image: Any, checkpoint: Any, mask_ratio: Any = 0, seed: Any = 0) -> tuple:
    """/reconstruct: (original, reconstruction), token picture, error map, figures."""
    found, tokens = run(image, checkpoint, mask_ratio, seed)
    files = [
        page_file(data, name)["path"]
        for data, name in (
            (found.original, "original"),
            (found.reconstruction, "reconstruction"),
            (tokens["mean"], "tokens"),
            (found.error, "error"),
        )
    ]
    return (files[0], files[1]), files[2], files[3], found.figures


@in_a_sentence
def show(
    image: Any,
    checkpoint: Any,
    mask_ratio: Any,
    seed: Any,
    edits: dict[str, Any] | None = None,
    here: Any = TAB,
) -> Iterator[tuple]:
    """The same for the page, what the stage draws and the panel of figures: first the picture that
    one waits for, then all."""
    from regvq.errors import PictureError

    if here != TAB:  # opening the tab will ask again
        yield gr.skip(), gr.skip()
        return
    if not image:
        yield {"empty": True}, reconstruction_figures(None)
        return
    try:
        asked = wanted(image, checkpoint, mask_ratio, seed)
        own = edits_of(asked, edits)
        stage = begun(asked, own)
        yield stage, gr.skip()
        more, panel = compared(asked, own)
        yield {**stage, **more}, panel
    except PictureError as error:
        gr.Warning(str(error), title="This picture cannot be used")
        yield {"problem": str(error)}, reconstruction_figures(None)


@one_at_a_time
def begun(asked: Wanted, edits: Edits) -> dict[str, Any]:
    """What the stage draws of a reconstruction before it is compared with its original."""
    which, picture, *_ = asked
    found, tokens = rewritten(*asked, edits), token_pngs(*asked, edits)
    ids = tokens_of(*asked, edits)
    rows, columns = ids.shape
    return {
        "original": page_file(found.original, "original"),
        "reconstruction": page_file(found.reconstruction, "reconstruction"),
        "tokens": {name: page_file(data, f"tokens-{name}") for name, data in tokens.items()},
        "width": picture.image.width,
        "height": picture.image.height,
        "grid": f"{columns} × {rows}",
        "errorTop": ERROR_TOP,
        "ramp": ramp_css(),
        "rows": rows,
        "columns": columns,
        "patch": which.tokenizer.downsampling,
        "codes": which.tokenizer.codebook_size,
        "ids": packed(ids, "<u4"),
        "sprite": page_file(sprite_png(which), "codes"),
        "edited": [[row, column] for row, column, _ in edits],
    }


@one_at_a_time
def compared(asked: Wanted, edits: Edits) -> tuple[dict[str, Any], str]:
    """What the stage draws once it is, and the panel of figures."""
    found = reconstruction(*asked, edits)
    more = {
        "error": page_file(found.error, "error"),
        "jpeg": page_file(found.jpeg, "jpeg"),
        "jpegBytes": size(found.figures["bytes_jpeg_equal"]),
    }
    return more, reconstruction_figures(found.figures)


def staged(asked: Wanted, edits: Edits) -> tuple[dict[str, Any], str]:
    """All that the stage draws of a reconstruction, and the panel of figures."""
    more, panel = compared(asked, edits)
    return {**begun(asked, edits), **more}, panel


@lru_cache(maxsize=1)
def ramp_css() -> str:
    """The colour scale of the error map as a CSS gradient."""
    from regvq.analysis.rendering import ramp

    stops = ",".join("#" + bytes(colour).hex() for colour in ramp(np.linspace(0, 1, 16)))
    return f"linear-gradient(90deg,{stops})"


@dataclass(frozen=True)
class Tab:
    """What other tabs and the shell use of this one."""

    picture: gr.Image
    chosen: gr.Textbox
    """Which picture it is: changes when another one is there. ``picture.change`` does not tell:
    the page fires it whenever a call that is told the picture begins or ends."""
    examples: gr.HTML
    mask_ratio: gr.Slider
    seed: gr.Number


def build(
    tab: gr.Tab, checkpoint: gr.Dropdown, default: str, code: gr.State, here: gr.State
) -> Tab:
    """Draw the tab and wire it. Checkpoint and picked code are shared by all tabs."""
    from . import reconstruct_token

    edits = gr.State(None)
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            picture = PictureInput(
                type="filepath",
                label="Your picture",
                sources=["upload", "clipboard"],
                height=210,
                elem_id="picture",
                buttons=[],
            )
            examples = gr.HTML(
                value=[],
                html_template=asset("examples.html"),
                js_on_load=asset("examples.js"),
                elem_id="examples",
                apply_default_css=False,
            )
            mask_ratio = gr.Slider(
                0,
                1,
                value=0,
                step=0.05,
                label="Mask ratio",
                elem_id="mask-ratio",
                info="Share of tokens drawn at random, by their probability, instead of the best.",
                buttons=["reset"],
            )
            seed = gr.Number(0, label="Seed of the draw", precision=0, elem_id="seed")
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            stage = gr.HTML(
                value={"empty": False},
                html_template=asset("stage.html"),
                js_on_load=asset("stage.js"),
                elem_id="stage",
                apply_default_css=False,
            )
        with gr.Column(scale=0, min_width=290, elem_classes="rv-figures"):
            token = gr.HTML(
                value={},
                html_template=asset("token.html"),
                js_on_load=asset("token.js"),
                elem_id="token",
                apply_default_css=False,
            )
            figures = gr.HTML(
                reconstruction_figures(None), elem_id="figures", apply_default_css=False
            )

    chosen = gr.Textbox(visible="hidden", elem_id="picture-chosen", container=False)
    picture.change(None, picture, chosen, js=WHICH, api_visibility="private")
    settings = [picture, checkpoint, mask_ratio, seed, edits]
    own = {"api_visibility": "private", "trigger_mode": "always_last", **MODEL_QUEUE}
    changes = [part.change for part in (chosen, checkpoint, mask_ratio, seed)]
    gr.on(changes, show, [*settings, here], [stage, figures], **own)
    gr.on(changes, lambda: {}, None, token, api_visibility="private", queue=False)
    tab.select(show, settings, [stage, figures], **own)
    # Not "always_last": what that sends later is the first click's event, not the last one's.
    own["trigger_mode"] = "multiple"
    for part in (stage, token):
        part.token(reconstruct_token.show_token, settings, [token, code], **own)
    token.put(reconstruct_token.put, settings, [edits, stage, figures, token, code], **own)
    examples.pick(pick_example, None, picture, api_visibility="private", show_progress="hidden")

    with gr.Row(visible=False):  # the tab as an API: plain inputs, plain outputs
        gr.Button().click(
            reconstruct,
            [
                PictureInput(type="filepath", label="image"),
                gr.Textbox(default, label="checkpoint"),
                gr.Number(0, label="mask_ratio"),
                gr.Number(0, label="seed"),
            ],
            [
                gr.ImageSlider(label="original, reconstruction"),
                gr.Image(label="token picture"),
                gr.Image(label="error map"),
                gr.JSON(label="figures"),
            ],
            api_name="reconstruct",
            **MODEL_QUEUE,
        )
        gr.Button().click(
            reconstruct_token.edit_tokens,
            [
                PictureInput(type="filepath", label="image"),
                gr.Textbox(default, label="checkpoint"),
                gr.JSON([], label="edits"),
            ],
            [gr.Image(label="picture"), gr.JSON(label="figures")],
            api_name="edit_tokens",
            **MODEL_QUEUE,
        )
    return Tab(picture, chosen, examples, mask_ratio, seed)


def pick_example(event: gr.EventData) -> str:
    """The file of the example that was clicked."""
    from ..services.examples import examples

    known = examples()
    index = getattr(event, "index", None)
    if not isinstance(index, int) or not 0 <= index < len(known):
        raise gr.Error("There is no such example.")
    return known[index].path
