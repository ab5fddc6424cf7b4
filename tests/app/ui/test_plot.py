"""The component of all charts, and the route of its script."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.ui import plotly_file
from app.ui.component import STATIC
from app.ui.plot import EVENTS, chart, no_chart, plot
from core import plots


def values(array: Any) -> list[float]:
    """Return the numbers of a figure's array, which may be packed as base64."""
    if isinstance(array, list):
        return array
    found = np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])
    shape = str(array.get("shape", len(found))).split(",")
    return found.reshape([int(side) for side in shape]).tolist()


@pytest.mark.parametrize("kind", ["plane", "space"])
def test_the_script_is_served_compressed_and_kept_by_browsers(kind: str) -> None:
    client = TestClient(plotly_file.PlotlyFile(Starlette()))
    answer = client.get(plotly_file.ROUTES[kind], headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert plotly_file.VERSION in answer.text[:300] and "plotly.js" in answer.text[:300]
    # The first line: only there it is a hint for the browser.
    first, rest = answer.text.split("\n", 1)
    assert first == "//# allFunctionsCalledOnLoad"
    assert rest.encode() == gzip.decompress(plotly_file.FILES[kind].read_bytes())
    assert int(answer.headers["content-length"]) < 1.05 * plotly_file.FILES[kind].stat().st_size
    plain = client.get(plotly_file.ROUTES[kind], headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.text == answer.text
    assert client.get("/regvq/other.js").status_code == 404


@pytest.mark.parametrize(("kind", "bytes_"), [("plane", 400_000), ("space", 600_000)])
def test_the_script_is_small_licensed_and_evaluates_no_strings(kind: str, bytes_: int) -> None:
    assert plotly_file.FILES[kind].stat().st_size < bytes_
    assert "MIT" in (STATIC / "plot" / "LICENSE-plotly.js").read_text()
    text = gzip.decompress(plotly_file.FILES[kind].read_bytes()).decode()
    found = re.findall(r"\bnew Function\(.{13}|[^.\w]eval\(.{13}", text)
    # Reached only in browsers without globalThis, which cannot run this page.
    assert found == ['new Function("return this"'] * (kind == "space")


def test_a_chart_is_json_with_its_events() -> None:
    figure = plots.plot_ranks(np.array([3, 2, 1]))
    value = chart(figure, listens=("pick",), note="a note", of="x")
    assert json.loads(json.dumps(value)) == value
    assert set(value["listens"]) <= set(EVENTS) and value["note"] == "a note"
    assert values(value["figure"]["data"][0]["y"]) == [3, 2, 1]
    assert no_chart("Nothing.")["none"] == "Nothing."
    # It goes to the page as one text, and nothing else changes on its way.
    sent = plot("one").postprocess(value)
    assert json.loads(sent.pop("figure")) == value.pop("figure") and sent == value
    for other in ({}, no_chart("Nothing."), {"tile": {"code": 3}}):
        assert plot("one").postprocess(other) == other


def test_titles_are_escaped() -> None:
    template = plot("one", "Uses <b>", "a & b").html_template
    assert "Uses &lt;b&gt;" in template and "a &amp; b" in template
    assert "TITLE" not in template and "CAPTION" not in template
