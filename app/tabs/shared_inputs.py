"""Components, state and handlers that several tabs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..services import checkpoints
from ..services.channels import picture_or_stand_in
from ..services.errors import without_paths
from ..services.examples import examples
from ..ui.changes import CHECKPOINT_CHOSEN
from ..ui.component import INSTANT, SILENT, html_component
from ..ui.pictures import PictureInput, largest_upload


@dataclass(frozen=True)
class Shared:
    """The components and state that all tabs share."""

    checkpoint: gr.Dropdown
    level: gr.Dropdown
    """The level of the checkpoint whose codes are shown, as a name for handlers: the checkpoint's
    own where it has only one, and the choice is hidden."""
    default: str
    """The checkpoint that API endpoints use if none is named."""
    code: gr.State
    """The selected code."""
    picture: gr.Image
    changed: gr.HTML
    """Fires an event with the open tab's name when it was opened or when a choice that all tabs
    share was made, and "checkpoint" when that was a checkpoint; see ``ui.changes``."""


def level_update(checkpoint: Any, level: Any = None) -> Any:
    """Return the update of the choice of level for a checkpoint: all its levels, the present one
    or else the last one chosen; hidden where it has only one."""
    choices = checkpoints.level_choices(checkpoint)
    names = [name for _, name in choices]
    chosen = level if level in names else (names or [None])[-1]
    return gr.update(choices=choices, value=chosen, visible=len(choices) > 1)


def announce(event: Any, checkpoint: gr.Dropdown, level: gr.Dropdown) -> None:
    """Offer the levels of the checkpoint that ``event`` (a listener's method) has chosen, then let
    the open tab ask for what it shows."""
    event(level_update, [checkpoint, level], level, **INSTANT).success(
        None, level, None, **CHECKPOINT_CHOSEN, **SILENT
    )


def level_parameter() -> gr.Number:
    """Return the level of an API endpoint; 0 leaves the choice to the name of the checkpoint."""
    return gr.Number(0, label="level")


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


def example_strip(elem_id: str = "examples") -> gr.HTML:
    """Return the strip of example pictures, which also names the largest upload."""
    limit = {"UPLOAD_LIMIT": largest_upload()}
    return html_component("examples", value=[], elem_id=elem_id, words=limit)


def pick_example(event: gr.EventData) -> str:
    """Return the file of the example that was clicked."""
    known = examples()
    index = getattr(event, "index", None)
    if not isinstance(index, int) or not 0 <= index < len(known):
        raise gr.Error("There is no such example.")
    return known[index].path


def picture_of_codes(checkpoint: Any, image: Any, warn: bool = True) -> Any:
    """Return the page's picture, in which a code's places are shown; None, which stands for the
    first example, if the picture cannot be read: codes need no picture. ``warn``: say so."""
    from regvq.errors import PictureError

    try:
        picture_or_stand_in(checkpoints.open_tokenizer(checkpoint), image)
    except PictureError as error:
        if warn:
            words = f"{without_paths(str(error))} Codes are shown in an example instead."
            gr.Warning(words, title="This picture cannot be used")
        return None
    return image
