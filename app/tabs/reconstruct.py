"""The tab Reconstruct: a picture, its tokens, and the picture decoded from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..services import reconstruction
from ..services.encoding import PageFile
from ..services.errors import without_paths
from ..services.links import TABS
from ..services.reconstruction import parse_request
from ..ui.component import MODEL_QUEUE, PRIVATE, SILENT, api_row, by_name, html_component, html_text
from ..ui.errors import report_user_errors
from ..ui.figures import reconstruction_figures
from ..ui.pictures import file_path, publish
from . import reconstruct_token
from .shared_inputs import Shared, pick_example, picture_input, picture_parameter

TITLE = TABS["reconstruct"]
CHANGED = "(picture) => (picture ? picture.path : '')"


@report_user_errors
def reconstruct(image: Any, checkpoint: Any, mask_ratio: Any = 0, seed: Any = 0) -> tuple:
    """/reconstruct: (original, reconstruction), token picture, error map, figures."""
    found, tokens = reconstruction.run(parse_request(image, checkpoint, mask_ratio, seed))
    pictures = {
        "original": found.original,
        "reconstruction": found.decoded,
        "tokens": tokens["mean"],
        "error": found.error,
    }
    files = {name: file_path(PageFile(data, name)) for name, data in pictures.items()}
    pair = files["original"], files["reconstruction"]
    return pair, files["tokens"], files["error"], found.figures


@report_user_errors
def show(
    image: Any,
    checkpoint: Any,
    mask_ratio: Any,
    seed: Any,
    edits: dict[str, Any] | None = None,
    here: Any = TITLE,
) -> Iterator[tuple]:
    """Yield what the page draws and the panel of figures: first the pictures, then everything."""
    from regvq.errors import PictureError

    if here != TITLE:  # the tab asks again when it is opened
        yield gr.skip(), gr.skip()
        return
    if not image:
        yield {"empty": True}, reconstruction_figures(None)
        return
    try:
        request = parse_request(image, checkpoint, mask_ratio, seed).with_saved_edits(edits)
        view = publish(reconstruction.first_view(request))
        yield view, gr.skip()
        more, figures = reconstruction.comparison_view(request)
        yield {**view, **publish(more)}, reconstruction_figures(figures)
    except PictureError as error:
        gr.Warning(without_paths(str(error)), title="This picture cannot be used")
        yield {"problem": without_paths(str(error))}, reconstruction_figures(None)


@dataclass(frozen=True)
class Controls:
    """The tab's components that the shell fills in when a page opens."""

    examples: gr.HTML
    mask_ratio: gr.Slider
    seed: gr.Number


def build(
    tab: gr.Tab, checkpoint: gr.Dropdown, default: str, code: gr.State, here: gr.State
) -> tuple[Shared, Controls]:
    """Draw the tab and add its listeners. Return what other tabs and the shell use of it."""
    edits = gr.State(None)
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            picture = picture_input("Your picture", "picture")
            examples = html_component("examples", value=[])
            mask_ratio = gr.Slider(
                0,
                1,
                value=0,
                step=0.05,
                label="Mask ratio",
                elem_id="mask-ratio",
                info="Share of the tokens that are drawn at random, by probability.",
                buttons=["reset"],
            )
            seed = gr.Number(0, label="Random seed", precision=0, elem_id="seed")
        with gr.Column(scale=1, min_width=320, elem_classes="rv-main"):
            stage = html_component("reconstruct", value={"empty": False}, elem_id="stage")
        with gr.Column(scale=0, min_width=290, elem_classes="rv-figures"):
            token = html_component("token_card", elem_id="token")
            figures = html_text(reconstruction_figures(None), elem_id="figures")

    changed = gr.Textbox(visible="hidden", elem_id="picture-changed", container=False)
    picture.change(None, picture, changed, js=CHANGED, **PRIVATE)
    settings = [picture, checkpoint, mask_ratio, seed, edits]
    latest = {**PRIVATE, **MODEL_QUEUE, "trigger_mode": "always_last"}
    changes = [part.change for part in (changed, checkpoint, mask_ratio, seed)]
    gr.on(changes, show, [*settings, here], [stage, figures], **latest)
    gr.on(changes, lambda: {}, None, token, queue=False, **PRIVATE)
    tab.select(show, settings, [stage, figures], **latest)
    # Not "always_last": what that sends later is the first click's event, not the last one's.
    each = {**latest, "trigger_mode": "multiple"}
    for part in (stage, token):
        part.token(reconstruct_token.show_token, settings, [token, code], **each)
    outputs = {"edits": edits, "stage": stage, "figures": figures, "token": token, "code": code}
    replace = by_name(reconstruct_token.replace_code, outputs)
    token.put(replace, settings, list(outputs.values()), **each)
    examples.pick(pick_example, None, picture, **SILENT)

    with api_row() as endpoint:
        endpoint(
            "reconstruct",
            reconstruct,
            [
                picture_parameter("image"),
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
        )
        endpoint(
            "edit_tokens",
            reconstruct_token.edit_tokens,
            [
                picture_parameter("image"),
                gr.Textbox(default, label="checkpoint"),
                gr.JSON([], label="edits"),
            ],
            [gr.Image(label="picture"), gr.JSON(label="figures")],
        )
    shared = Shared(checkpoint, default, code, here, picture, changed)
    return shared, Controls(examples, mask_ratio, seed)
