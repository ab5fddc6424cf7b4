"""Components of the page: HTML with its script from app/static, and what listeners share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from html import escape
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any

import gradio as gr

STATIC = Path(__file__).resolve().parents[1] / "static"

MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}
"""The queue of every listener that runs a model: they run one after another."""
LOOKUP_QUEUE: dict[str, Any] = {"concurrency_id": "look-up", "concurrency_limit": 24}
"""The queue of what is known already: code cards, codebooks, maps by PCA, a prior's settings. They
never wait for the models' line; the first look at a picture or a tile waits for one model call."""
MAP_QUEUE: dict[str, Any] = {"concurrency_id": "map", "concurrency_limit": 4}
"""The queue of UMAPs and of counts of classes, which take long: reconstructions need not wait for
them, nor need maps that are available already; UMAPs are computed one at a time."""
LAB_QUEUE: dict[str, Any] = {"concurrency_id": "lab", "concurrency_limit": 1}
"""The queue of /lab_pictures, whose long runs hold the lock for a few steps at a time."""

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""Options of a listener that is not an API endpoint."""
SILENT: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
"""The same without Gradio's progress display."""
INSTANT: dict[str, Any] = {**SILENT, "queue": False}
"""The same for a listener that computes nothing and so skips the queue."""

PROGRESS = gr.Progress()
"""The default value of a handler's ``progress``; Gradio replaces it with the page's."""


@cache
def asset(component: str, kind: str) -> str:
    """Return the text of the file app/static/``component``/``component``.``kind``."""
    return static_text(f"{component}/{component}.{kind}")


def static_text(name: str) -> str:
    """Return the text of a file in app/static."""
    return (STATIC / name).read_text(encoding="utf-8")


def html_component(
    name: str,
    value: Any = None,
    elem_id: str = "",
    scripts: Sequence[str] = (),
    words: Mapping[str, str] | None = None,
    **options: Any,
) -> gr.HTML:
    """Return the component of the folder app/static/``name``: its template and its script.

    ``value`` becomes the script's ``props.value``; ``scripts`` are further files of the folder
    that run before it; ``words`` are put in the place of their names in the template; ``options``
    are those of ``gr.HTML``.
    """
    template = asset(name, "html")
    for mark, text in (words or {}).items():
        template = template.replace(mark, escape(text))
    parts = [static_text(f"{name}/{script}") for script in scripts]
    return gr.HTML(
        value={} if value is None else value,
        html_template=template,
        js_on_load="\n".join([*parts, asset(name, "js")]),
        elem_id=elem_id or name.replace("_", "-"),
        elem_classes="rv-component",
        apply_default_css=False,
        **options,
    )


def html_text(text: str, **options: Any) -> gr.HTML:
    """Return plain HTML without a script; ``options`` are those of ``gr.HTML``."""
    classes = f"rv-component {options.pop('elem_classes', '')}".split()
    return gr.HTML(text, elem_classes=classes, apply_default_css=False, **options)


def hint(text: str) -> gr.HTML:
    """Return the line at the top of a tab that says what to do first."""
    return html_text(f'<p class="rv-lead">{text}</p>')


@contextmanager
def api_row() -> Iterator[Callable[..., None]]:
    """Open a hidden row for API endpoints that have no controls on the page.

    Yields ``endpoint(name, handler, inputs, outputs, **options)``. The components of inputs and
    outputs are created inside the row; their labels are the names that clients see.
    """

    def endpoint(
        name: str,
        handler: Callable[..., Any],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        **options: Any,
    ) -> None:
        gr.Button().click(
            handler, list(inputs), list(outputs), api_name=name, **{**MODEL_QUEUE, **options}
        )

    with gr.Row(visible=False):
        yield endpoint


def by_name(handler: Callable[..., Any], outputs: Mapping[str, Any]) -> Callable[..., Any]:
    """Return ``handler``, which returns or yields {name: value}, as Gradio calls it.

    ``outputs`` names the components. A component whose name is missing keeps its value. The
    listener's outputs are ``list(outputs.values())``.
    """

    def to_components(values: Mapping[str, Any]) -> dict[Any, Any]:
        if not values:  # Gradio takes an empty dictionary for a value
            return dict.fromkeys(outputs.values(), gr.skip())
        return {outputs[name]: value for name, value in values.items()}

    @wraps(handler)
    def call(*args: Any, **kwargs: Any) -> dict[Any, Any]:
        return to_components(handler(*args, **kwargs))

    @wraps(handler)
    def stream(*args: Any, **kwargs: Any) -> Iterator[dict[Any, Any]]:
        for values in handler(*args, **kwargs):
            yield to_components(values)

    return stream if isgeneratorfunction(handler) else call
