"""The shell: the header, the tabs, and the links that open them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import gradio as gr

from .services import checkpoints, links, priors, source_notice
from .services.examples import thumbnails
from .services.links import Selection
from .tabs import about, code_map, codebook, compare, generate, lab, mask_ratio, reconstruct
from .tabs.shared_inputs import announce, level_update
from .ui.changes import CHECKPOINT_CHOSEN, TAB_OPENED, page_opened
from .ui.component import (
    INSTANT,
    LOOKUP_QUEUE,
    SILENT,
    by_name,
    hint,
    html_component,
    html_text,
    static_text,
)
from .ui.errors import report_user_errors
from .ui.explorer import Explorer
from .ui.following_choice import FollowingChoice
from .ui.model_line import serve_fairly
from .ui.sessions import keep_sessions_small

DELETE = (3600, 3600)
"""Seconds between two searches for files to delete, and the age at which files are deleted; so no
upload is kept for more than two hours."""

FIRST = {
    "reconstruct": "Drag the line across the picture, click a token, or upload a picture of yours.",
    "codebook": "Click a code to see what it stands for, or find one by number, color, patch or "
    "class.",
    "codemap": "Click a point to see its code, or find one by number, color, patch or class; with "
    "Lasso, draw around a group.",
    "masks": "Move the mask ratio to see what tokens drawn at random cost.",
    "generate": "Choose one of the example prompts or write your own, then press Generate. "
    "The prior names the checkpoint that decodes its tokens; the one above is idle.",
    "compare": "Choose a picture, and in the list below the checkpoints to compare on it; "
    "the one above is idle.",
    "lab": "Watch codes live and die; change a setting while the quantizers train. "
    "They start from nothing: the checkpoint above is idle.",
    "about": "Read what an image tokenizer is; beside it stands the checkpoint's model card.",
}
"""For each tab, the line that says what to do first."""


def header(name: str | None) -> str:
    """Return the logo, the name and a sentence about the checkpoint ``name``, as HTML."""
    return (
        f'<div class="rv-brand">{static_text("shared/mark.svg")}<div><h1>RegVQ <em>Studio</em></h1>'
        f'<p id="rv-sentence">{escape(checkpoints.summary(name))}</p></div></div>'
    )


@report_user_errors
def open_page(query: Any = "", checkpoint: Any = None) -> dict[str, Any]:
    """Return what a new page shows: the available checkpoints and examples, what the link selects,
    and the notice about checkpoints that are being fetched."""
    selection = links.parse_query(query)
    if selection.ignored:  # one message for all: several would be folded under the first
        words = escape(" ".join(selection.ignored), quote=False)
        gr.Warning(words, title="A part of the link cannot be used", duration=20)
    selected = {
        "code": selection.code,
        "mask_ratio": selection.ratio,
        "seed": selection.seed,
        "prior": selection.prior,
        "prompt": selection.prompt,
        "prompt_seed": selection.prompt_seed,
    }
    offered = offer_checkpoints(checkpoint)
    if selection.checkpoint is not None:
        offered = gr.update(choices=checkpoints.names(), value=selection.checkpoint)
    chosen = offered.get("value", checkpoint)
    return {
        **{name: value for name, value in selected.items() if value is not None},
        "checkpoint": offered,
        "level": level_update(chosen, checkpoints.at_level(chosen, selection.level)),
        "examples": list(thumbnails()),
        "picture": links.example_path(selection.example),
        "here": links.TABS[selection.tab or "reconstruct"],
        **notice(),
    }


def offer_checkpoints(checkpoint: Any) -> Any:
    """Update the list of checkpoints; choose the first one if none is chosen."""
    names = checkpoints.names()
    if checkpoint in names or not names:
        return gr.update(choices=names)
    return gr.update(choices=names, value=names[0])


def notice() -> dict[str, Any]:
    """Return the notice about the owner's checkpoints, and whether the page asks again soon."""
    words, fetching = source_notice.notice()
    return {
        "notice": gr.update(value=words, visible=bool(words)),
        "timer": gr.update(active=fetching),
    }


def refresh(checkpoint: Any) -> dict[str, Any]:
    """Return the available checkpoints and the notice, while checkpoints are being fetched."""
    return {"checkpoint": offer_checkpoints(checkpoint), **notice()}


@report_user_errors
def copy_link(
    here: Any,
    level: Any,
    image: Any,
    code: Any,
    mask_ratio: Any,
    seed: Any,
    prior: Any,
    prompt: Any,
    prompt_seed: Any,
) -> dict[str, Any]:
    """Return the query of the link to the current view, without the user's own picture.

    level: the checkpoint; of one with several levels, the name of the chosen level.
    """
    tab = next((name for name, title in links.TABS.items() if title == here), None)
    checkpoint, _ = checkpoints.split_level(level)
    selection = Selection(
        tab, checkpoint, links.example_name(image), code=code, ratio=mask_ratio, seed=seed,
        level=links.level_number(level),
    )  # fmt: skip
    if tab == "generate":  # on other tabs a prompt is private
        selection.prompt, selection.prompt_seed = " ".join(str(prompt or "").split()), prompt_seed
        selection.prior = prior if prior in priors.names("text") else None
    own = bool(image) and selection.example is None
    return {"query": links.to_query(selection), "own": own, "turn": time.time_ns()}


def which_tab(event: gr.SelectData) -> str:
    """Return the title of the tab that was opened."""
    return str(event.value)


@contextmanager
def open_tab(name: str) -> Iterator[gr.Tab]:
    """Open the tab with this name in links; ``app/static/changed`` finds it by its id."""
    with gr.Tab(links.TABS[name], id=name, elem_id=f"tab-{name}") as tab:
        hint(FIRST[name])
        yield tab


def build_app() -> gr.Blocks:
    """Return the explorer. No model is loaded before a user or ``server.warm_up`` needs it."""
    keep_sessions_small()
    names = checkpoints.names()
    default = names[0] if names else None
    with Explorer(
        title="RegVQ Studio", analytics_enabled=False, delete_cache=DELETE, fill_width=True
    ) as app:
        with gr.Row(elem_classes="rv-header", equal_height=False):
            top = html_text(header(default), elem_id="header")
            checkpoint = gr.Dropdown(
                names,
                value=default,
                label="Checkpoint",
                elem_id="checkpoint",
                scale=0,
                min_width=210,
                interactive=True,
            )
            level = FollowingChoice(
                checkpoints.level_choices(default),
                value=(checkpoints.level_choices(default) or [("", None)])[-1][1],
                label="Level",
                elem_id="level",
                scale=0,
                min_width=96,
                visible=len(checkpoints.level_choices(default)) > 1,
                interactive=True,
            )
            share = html_component("share_link", elem_id="share", scale=0, min_width=44)
            html_component("theme_toggle", elem_id="toggle", scale=0, min_width=44)
        message = html_text("", visible=False, elem_id="notice")
        timer = gr.Timer(3, active=False)
        code = gr.State(None)  # the selected code stays selected in every tab
        changed = html_component("changed", visible="hidden")
        here = gr.State(reconstruct.TITLE)
        with gr.Tabs(elem_id="tabs") as tabs:
            with open_tab("reconstruct"):
                shared, controls = reconstruct.build(
                    checkpoint, level, default or "", code, changed
                )
            with open_tab("codebook"):
                codebook.build(shared)
            with open_tab("codemap"):
                code_map.build(shared)
            with open_tab("masks") as tab:
                mask_ratio.build(tab, shared)
            with open_tab("generate") as tab:
                prompted = generate.build(tab, shared.picture)
            with open_tab("compare") as tab:
                compare.build(tab, checkpoint, shared.picture)
            with open_tab("lab") as tab:
                lab.build(tab, shared.picture)
            with open_tab("about"):
                about.build(shared)
        tabs.select(which_tab, None, here, **INSTANT)
        tabs.select(None, None, None, **TAB_OPENED, **SILENT)
        selected = {
            "code": code, "mask_ratio": controls.mask_ratio, "seed": controls.seed, **prompted,
        }  # fmt: skip
        noticed = {"checkpoint": checkpoint, "notice": message, "timer": timer}
        opened = {
            **selected, **noticed,
            "examples": controls.examples, "picture": shared.picture, "here": here, "level": level,
        }  # fmt: skip
        address = gr.Textbox(visible=False)
        app.load(
            by_name(open_page, opened),
            [address, checkpoint],
            list(opened.values()),
            js="(_, checkpoint) => [window.location.search, checkpoint]",
            **SILENT,
            **LOOKUP_QUEUE,
        ).then(None, level, None, **page_opened(links.TABS), **SILENT)
        share.link(
            copy_link,
            [here, level, shared.picture, *selected.values()],
            share,
            trigger_mode="multiple",
            **INSTANT,
        )
        ticked = timer.tick(
            by_name(refresh, noticed), checkpoint, list(noticed.values()), **INSTANT
        )
        announce(ticked.success, checkpoint, level)
        announce(checkpoint.input, checkpoint, level)
        level.input(None, level, None, **CHECKPOINT_CHOSEN, **SILENT)
        changed.checkpoint(header, checkpoint, top, **INSTANT)
    return serve_fairly(app.queue())
