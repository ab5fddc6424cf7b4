"""A single token on the tab Reconstruct: its card, and another code in its place."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..services import reconstruction, token_card
from ..services.encoding import PageFile
from ..services.reconstruction import page_request, parse_request
from ..ui.errors import report_user_errors
from ..ui.figures import reconstruction_figures
from ..ui.model_line import newest_only
from ..ui.pictures import file_path, publish


@report_user_errors
def edit_tokens(image: Any, checkpoint: Any, edits: Any) -> tuple[str, dict[str, Any]]:
    """/edit_tokens: the picture decoded from the edited tokens, and its figures."""
    found, figures = token_card.apply_edits(
        token_card.one_level(parse_request(image, checkpoint)), edits
    )
    return file_path(PageFile(found.decoded, "edited")), figures


@newest_only
@report_user_errors
def show_token(
    image: Any,
    checkpoint: Any,
    mask_ratio: Any,
    seed: Any,
    saved: Any,
    shown: Any,
    event: gr.EventData,
) -> tuple[dict[str, Any], int]:
    """Return the card of the clicked token, and its code, which other tabs select as well."""
    request = token_card.one_level(page_request(image, checkpoint, mask_ratio, seed, saved, shown))
    row, column = getattr(event, "row", None), getattr(event, "column", None)
    card = token_card.token_card(request, row, column)
    return card, card["code"]


@report_user_errors
def replace_code(
    image: Any,
    checkpoint: Any,
    mask_ratio: Any,
    seed: Any,
    saved: Any,
    shown: Any,
    event: gr.EventData,
) -> dict[str, Any]:
    """Put another code in a token: the event's ``code``; None undoes the token's edit, ``all``
    every edit. Return the new edits, views and card by name."""
    request = token_card.one_level(page_request(image, checkpoint, mask_ratio, seed, saved, shown))
    row, column = getattr(event, "row", None), getattr(event, "column", None)
    code, undo_all = getattr(event, "code", None), bool(getattr(event, "all", False))
    request = token_card.replace_code(request, row, column, code, undo_all)
    view, figures = reconstruction.full_view(request)
    card = token_card.token_card(request, row, column)
    return {
        "edits": {"of": request.signature, "edits": request.edits},
        "stage": publish(view),
        "figures": reconstruction_figures(figures),
        "token": card,
        "code": card["code"],
    }
