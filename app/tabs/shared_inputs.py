"""Components, state and handlers that several tabs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..services.examples import examples
from ..ui.pictures import PictureInput


@dataclass(frozen=True)
class Shared:
    """The components and state that all tabs share."""

    checkpoint: gr.Dropdown
    default: str
    """The checkpoint that API endpoints use if none is named."""
    code: gr.State
    """The selected code."""
    here: gr.State
    """The title of the open tab: a hidden tab need not follow every change."""
    picture: gr.Image
    picture_changed: gr.Textbox
    """Changes with the picture. ``picture.change`` is not enough: the page also fires it whenever
    a call that has the picture as an input begins or ends."""


def picture_input(label: str, elem_id: str, height: int = 210, **options: Any) -> PictureInput:
    """Return an input for a picture that is uploaded or pasted."""
    return PictureInput(
        type="filepath",
        label=label,
        sources=["upload", "clipboard"],
        height=height,
        elem_id=elem_id,
        buttons=[],
        **options,
    )


def picture_parameter(label: str) -> PictureInput:
    """Return a picture parameter of an API endpoint."""
    return PictureInput(type="filepath", label=label)


def pick_example(event: gr.EventData) -> str:
    """Return the file of the example that was clicked."""
    known = examples()
    index = getattr(event, "index", None)
    if not isinstance(index, int) or not 0 <= index < len(known):
        raise gr.Error("There is no such example.")
    return known[index].path
