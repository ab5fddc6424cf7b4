"""The component of all charts.

It is ours and not ``gr.Plot``: in Gradio 6.31 that has no event for clicks, hovering, selections or
zooms, and it bundles a plotly.js of its own. Here the page's charts share one file, which the first
chart loads, and tell Python about all four.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from .component import asset, static_text
from .pictures import NoStubFile

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SCRIPTS = ("travel", "wheel", "keys", "table", "linked", "plot")
"""The parts of the component's script in app/static/plot, in the order in which they run."""
EVENTS = ("pick", "view", "select", "tile", "open", "more")
"""The events of a chart: a point was picked, the window of a map was moved, a polygon was drawn (or
the selection cleared), a code's tile is missing, one of several maps was named, and
more of the figure can be computed."""


class Chart(gr.HTML, metaclass=NoStubFile):
    """HTML whose figure goes to the page as text.

    Gradio's page wraps every object of a value in a proxy, and copies the value at each event of
    the component: with a figure of a thousand objects the page stands still for that while a map
    is moved.
    """

    def postprocess(self, value: Any) -> Any:
        """Return the value with its figure, if it has one, as JSON text."""
        if isinstance(value, dict) and isinstance(value.get("figure"), dict):
            return {**value, "figure": json.dumps(value["figure"], separators=(",", ":"))}
        return value


def plot(elem_id: str, title: str = "", caption: str = "", **options: Any) -> gr.HTML:
    """Return a chart without a figure; ``options`` are those of ``gr.HTML``.

    title, caption: its heading in plain text. Its value is what ``chart`` or ``no_chart`` returns.
    """
    template = asset("plot", "html").replace("TITLE", escape(title))
    return Chart(
        value={},
        html_template=template.replace("CAPTION", escape(caption)),
        js_on_load="\n".join(static_text(f"plot/{part}.js") for part in SCRIPTS),
        elem_id=elem_id,
        elem_classes="rv-component",
        apply_default_css=False,
        **options,
    )


def chart(
    figure: Figure, *, listens: Sequence[str] = (), note: str = "", of: str = "", **more: Any
) -> dict[str, Any]:
    """Return the value of a chart that shows ``figure``.

    listens: the names in EVENTS for which the component has a listener. note: a sentence below it.
    of: a name of the figure's codes; tiles that the page has of others are dropped. more: further
    entries for app/static/plot/plot.js.
    """
    from regvq.plots import figure_json

    return {
        "figure": figure_json(figure),
        "listens": list(listens),
        "note": note,
        "of": of,
        "stamp": time.monotonic_ns(),  # a value equal to the previous one would not reach the page
        **more,
    }


def no_chart(sentence: str = "") -> dict[str, Any]:
    """Return the value of a chart without a figure, with a sentence in its place."""
    return {"none": sentence, "stamp": time.monotonic_ns()}
