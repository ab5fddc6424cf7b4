"""The tab Reconstruct: a picture, its tokens, and the picture decoded from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from ..services import channels, reconstruction
from ..services.checkpoints import at_level, open_tokenizer
from ..services.encoding import PageFile
from ..services.errors import without_paths
from ..services.links import TABS
from ..services.reconstruction import page_request, parse_request
from ..ui.changes import PICTURE_CHOSEN
from ..ui.component import (
    INSTANT,
    LOOKUP_QUEUE,
    MODEL_QUEUE,
    PRIVATE,
    PROGRESS,
    SILENT,
    api_row,
    by_name,
    html_component,
    html_text,
)
from ..ui.errors import report_user_errors
from ..ui.figures import reconstruction_figures
from ..ui.following_choice import FollowingChoice
from ..ui.model_line import newest_only
from ..ui.pictures import file_path, page_file, publish, uploaded_file
from . import reconstruct_token
from .shared_inputs import (
    Shared,
    example_strip,
    level_parameter,
    pick_example,
    picture_input,
    picture_parameter,
)

TITLE = TABS["reconstruct"]


@report_user_errors
def reconstruct(
    image: Any,
    checkpoint: Any,
    mask_ratio: Any = 0,
    seed: Any = 0,
    shown_channels: Any = "",
    level: Any = 0,
) -> tuple:
    """/reconstruct: (original, reconstruction), token picture, error map, figures."""
    name = at_level(checkpoint, level)
    request = parse_request(image, name, mask_ratio, seed, shown_channels)
    found, tokens = reconstruction.run(request)
    pictures = {
        "original": found.original,
        "reconstruction": found.decoded,
        "tokens": tokens["mean"],
        "error": found.error,
    }
    files = {name: file_path(PageFile(data, name)) for name, data in pictures.items()}
    pair = files["original"], files["reconstruction"]
    return pair, files["tokens"], files["error"], found.figures


@newest_only
@report_user_errors
def show(
    image: Any,
    checkpoint: Any,
    mask_ratio: Any,
    seed: Any,
    edits: dict[str, Any] | None = None,
    shown: Any = "",
    progress: gr.Progress = PROGRESS,
) -> Iterator[tuple]:
    """Yield what the page draws and the panel of figures: first the pictures, then everything."""
    from regvq.errors import PictureError

    if not image:
        yield {"empty": True}, reconstruction_figures(None)
        return
    try:
        progress((0, 4), desc="Reading the picture and the checkpoint", unit="steps")
        request = page_request(image, checkpoint, mask_ratio, seed, edits, shown)
        progress((1, 4), desc="Encoding the picture", unit="steps")
        reconstruction.encode(request)
        progress((2, 4), desc="Decoding its tokens", unit="steps")
        view = publish(reconstruction.first_view(request))
        yield view, gr.skip()
        progress((3, 4), desc="Comparing with the original", unit="steps")
        more, figures = reconstruction.comparison_view(request)
        yield {**view, **publish(more)}, reconstruction_figures(figures)
    except PictureError as error:
        gr.Warning(without_paths(str(error)), title="This picture cannot be used")
        yield {"problem": without_paths(str(error))}, reconstruction_figures(None)


@report_user_errors
def show_choices(checkpoint: Any, shown: Any) -> tuple[Any, Any]:
    """Return the shown channels that a checkpoint has to choose from, hidden if there are none, and
    the button for arrays, hidden for a checkpoint of three channels."""
    found = channels.choices(checkpoint)
    kept = shown if shown in [value for _, value in found] else ("" if found else None)
    takes_arrays = open_tokenizer(checkpoint).channels != 3
    chosen = gr.update(choices=found, value=kept, visible=bool(found))
    return chosen, gr.update(visible=takes_arrays)


@report_user_errors
def upload_array(file: Any, checkpoint: Any) -> str:
    """Return an uploaded array or TIFF as the picture of the page, which shows three channels."""
    path = uploaded_file(file)
    found = channels.preview(open_tokenizer(checkpoint), path)
    return page_file(found, Path(path).stem)["path"]


@dataclass(frozen=True)
class Controls:
    """The tab's components that the shell fills in when a page opens."""

    examples: gr.HTML
    mask_ratio: gr.Slider
    seed: gr.Number


def build(
    checkpoint: gr.Dropdown, level: gr.Dropdown, default: str, code: gr.State, changed: gr.HTML
) -> tuple[Shared, Controls]:
    """Draw the tab and add its listeners. Return what other tabs and the shell use of it."""
    edits = gr.State(None)
    with gr.Row(elem_classes="rv-split", equal_height=False):
        with gr.Column(scale=0, min_width=290, elem_classes="rv-side"):
            picture = picture_input("Your picture", "picture")
            array = gr.UploadButton(
                "Upload a .npy array or a TIFF",
                file_types=[".npy", ".tif", ".tiff"],
                elem_id="array",
                size="sm",
                visible=False,
            )
            shown = FollowingChoice(
                [],
                label="Shown channels",
                elem_id="shown-channels",
                info="What you see of the picture's channels.",
                visible=False,
            )
            examples = example_strip()
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

    settings = [picture, level, mask_ratio, seed, edits, shown]
    # Every press is sent: the line replaces a waiting one, and the page would hold the newer back.
    each = {**PRIVATE, **MODEL_QUEUE, "trigger_mode": "multiple"}
    # A slider's button that resets it, and its field that corrects a number, only "release".
    changes = [mask_ratio.input, mask_ratio.release, seed.input, shown.input]
    no_token: dict[str, Any] = {"js": "() => ({})", **SILENT}
    changed.reconstruct(show_choices, [checkpoint, shown], [shown, array], **INSTANT)
    array.upload(upload_array, [array, checkpoint], picture, **PRIVATE, **LOOKUP_QUEUE).success(
        None, None, None, **PICTURE_CHOSEN, **SILENT
    )
    for change in (changed.reconstruct, partial(gr.on, changes)):
        change(show, settings, [stage, figures], **each)
        change(None, None, token, **no_token)
    picture.input(None, None, None, **PICTURE_CHOSEN, **SILENT)
    for part in (stage, token):
        part.token(reconstruct_token.show_token, settings, [token, code], **each)
    outputs = {"edits": edits, "stage": stage, "figures": figures, "token": token, "code": code}
    replace = by_name(reconstruct_token.replace_code, outputs)
    token.put(replace, settings, list(outputs.values()), **each)
    examples.pick(pick_example, None, picture, **INSTANT).success(
        None, None, None, **PICTURE_CHOSEN, **SILENT
    )

    with api_row() as endpoint:
        endpoint(
            "reconstruct",
            reconstruct,
            [
                picture_parameter("image"),
                gr.Textbox(default, label="checkpoint"),
                gr.Number(0, label="mask_ratio"),
                gr.Number(0, label="seed"),
                gr.Textbox("", label="shown_channels"),
                level_parameter(),
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
    shared = Shared(checkpoint, level, default, code, picture, changed)
    return shared, Controls(examples, mask_ratio, seed)
