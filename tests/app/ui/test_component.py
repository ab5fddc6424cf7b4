"""Components, and handlers that return values by name."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from app.ui.component import api_row, by_name, html_component
from app.ui.errors import report_user_errors


def test_named_values_reach_their_components() -> None:
    outputs = {"a": gr.Number(), "b": gr.Number()}

    def some(value: int) -> dict[str, int]:
        return {"b": value}

    assert by_name(some, outputs)(3) == {outputs["b"]: 3}
    assert by_name(lambda: {}, outputs)() == dict.fromkeys(outputs.values(), gr.skip())

    @report_user_errors
    def stream() -> Iterator[dict[str, int]]:
        yield {"a": 1}
        yield {"a": 2, "b": 3}

    found = list(by_name(stream, outputs)())
    assert found == [{outputs["a"]: 1}, {outputs["a"]: 2, outputs["b"]: 3}]


def test_a_component_has_its_template_and_scripts() -> None:
    with gr.Blocks():
        lab = html_component("lab", scripts=("points.js", "pictures.js"))
        card = html_component("token_card")
    assert card.elem_id == "token-card" and card.value == {}
    assert lab.js_on_load.index("const pointsView") < lab.js_on_load.index("const root")
    assert "rv-lab" in lab.html_template


def test_an_endpoint_is_hidden_on_the_page_and_public_in_the_api() -> None:
    with gr.Blocks() as app, api_row() as endpoint:
        endpoint("double", lambda n: 2 * n, [gr.Number(1, label="n")], [gr.Number(label="twice")])
    assert list(app.get_api_info()["named_endpoints"]) == ["/double"]
    (function,) = app.fns.values()
    assert function.concurrency_id == "model"
    rows = [block for block in app.blocks.values() if isinstance(block, gr.Row)]
    assert [row.visible for row in rows] == [False]
