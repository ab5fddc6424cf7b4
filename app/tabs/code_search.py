"""The search for codes on the tabs Codebook and Code map: by number, color, patch or class."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import code_search
from ..services.encoding import png_file
from ..services.errors import UserError, without_paths
from ..services.token_pictures import enlarge_tile
from ..ui.component import (
    LOOKUP_QUEUE,
    MAP_QUEUE,
    PRIVATE,
    PROGRESS,
    api_row,
    html_component,
)
from ..ui.errors import report_user_errors
from ..ui.pictures import gallery_paths, publish, uploaded_file
from .shared_inputs import Shared, picture_parameter


@report_user_errors
def find_codes(
    checkpoint: Any,
    by: Any = "number",
    value: Any = "0",
    image: Any = None,
    progress: gr.Progress = PROGRESS,
) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """/find_codes: the tiles of the codes that are found, figures."""
    figures = code_search.find_codes(checkpoint, by, value, image, progress)
    tiles = code_search.tiles_of(checkpoint, figures["codes"])
    gallery = [
        (png_file(enlarge_tile(tile), f"code-{code}"), f"code {code}{note and ', ' + note}")
        for code, note, tile in zip(figures["codes"], figures["notes"], tiles, strict=True)
    ]
    return gallery_paths(gallery), figures


@report_user_errors
def show_found(
    checkpoint: Any, image: Any, event: gr.EventData, progress: gr.Progress = PROGRESS
) -> dict[str, Any]:
    """Return the list of codes that the page asks for, or the sentence about what is wrong."""
    from regvq.errors import PictureError

    try:
        by, value = getattr(event, "by", None), getattr(event, "value", None)
        return publish(
            code_search.list_view(checkpoint, by, value, own_picture(event) or image, progress)
        )
    except (UserError, PictureError) as error:
        return {"problem": without_paths(str(error))}


@report_user_errors
def show_material(checkpoint: Any, image: Any, event: gr.EventData) -> dict[str, Any]:
    """Return the picture and the classes that the page chooses from."""
    from regvq.errors import PictureError

    try:
        return publish(code_search.material_view(checkpoint, own_picture(event) or image))
    except (UserError, PictureError) as error:
        return {"problem": without_paths(str(error))}


def own_picture(event: gr.EventData) -> str | None:
    """Return the file that the page has uploaded for this search, if any. Raises UserError for
    another file."""
    path = getattr(event, "path", None)
    return None if path is None else uploaded_file(path)


def build(shared: Shared, elem_id: str) -> gr.HTML:
    """Draw the search and add its listeners. Return the component, whose event ``pick`` names the
    code that was clicked."""
    search = html_component("code_search", elem_id=elem_id)
    each = {**PRIVATE, "trigger_mode": "multiple"}
    chosen = [shared.level, shared.picture]
    search.find(show_found, chosen, search, **each, **LOOKUP_QUEUE)
    search.count(show_found, chosen, search, **each, **MAP_QUEUE)  # may have to count the classes
    search.material(show_material, chosen, search, **each, **LOOKUP_QUEUE)
    return search


def build_api(shared: Shared) -> None:
    """Add the API endpoint."""
    with api_row() as endpoint:
        endpoint(
            "find_codes",
            find_codes,
            [
                gr.Textbox(shared.default, label="checkpoint"),
                gr.Textbox("number", label="by"),
                gr.Textbox("0", label="value"),
                picture_parameter("image"),
            ],
            [gr.Gallery(label="codes"), gr.JSON(label="figures")],
            **MAP_QUEUE,
        )
