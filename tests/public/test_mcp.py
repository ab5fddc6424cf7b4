"""The API as tools of the Model Context Protocol, which REGVQ_MCP=1 starts."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from app import server
from core.paths import ROOT
from tests.helpers import local_http as http
from tests.public.listening import Listener
from tests.public.serving import Watched, watched

needs_mcp = pytest.mark.skipif(
    find_spec("mcp") is None, reason="the package mcp is not installed: pip install 'gradio[mcp]'"
)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("tools")
    with watched(folder, checkpoints, {"REGVQ_MCP": "1"}) as explorer:
        yield explorer
        assert "Traceback" not in explorer.logged(), explorer.logged()[-6000:]


def ask(
    explorer: Watched, method: str, headers: dict[str, str] | None = None, **params: Any
) -> Any:
    """Return the answer to a request of the protocol."""
    answer = http.post(
        f"{explorer.address}gradio_api/mcp/",
        json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
        headers={"accept": "application/json, text/event-stream", **(headers or {})},
        timeout=120,
    )
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return answer
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    return json.loads(data[-1])["result"]


def test_without_the_setting_there_are_no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGVQ_MCP", raising=False)
    monkeypatch.setenv("GRADIO_MCP_SERVER", "true")  # Gradio's own variable is not asked
    assert server.launch_options()["mcp_server"] is False


def test_without_the_package_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("REGVQ_MCP", "1")
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING, "regvq.app"):
        assert server.launch_options()["mcp_server"] is False
    (line,) = [record.getMessage() for record in caplog.records]
    assert "pip install 'gradio[mcp]'" in line
    monkeypatch.setattr(server, "find_spec", lambda name: name)
    assert server.launch_options()["mcp_server"] is True


@needs_mcp
@pytest.mark.slow
def test_a_tool_is_listed_and_called(tools: Watched, photograph: Path) -> None:
    names = {one["name"] for one in ask(tools, "tools/list")["tools"]}
    described = (ROOT / "docs" / "explorer-api.md").read_text(encoding="utf-8")
    # Nothing that is private to the page is among them.
    assert names == set(re.findall(r"^## `/(\w+)`$", described, re.MULTILINE)) and len(names) > 10
    arguments = {"checkpoint": "tiny-regvq", "code": 5}
    found = ask(tools, "tools/call", name="code_detail", arguments=arguments)
    assert not found.get("isError"), found
    texts = [one["text"] for one in found["content"] if one["type"] == "text"]
    assert any('"code": 5' in text or "'code': 5" in text for text in texts), texts
    picture = "data:image/png;base64," + base64.b64encode(photograph.read_bytes()).decode()
    arguments = {"image": picture, "checkpoint": "tiny-regvq", "mask_ratio": 0, "seed": 0}
    found = ask(tools, "tools/call", name="reconstruct", arguments=arguments)
    assert not found.get("isError"), found


@needs_mcp
@pytest.mark.slow
def test_a_tool_fetches_nothing(tools: Watched, listener: Listener) -> None:
    for address in (f"{listener.address}/x.png", "http://lookup.example.org/x.png"):
        arguments = {"image": address, "checkpoint": "tiny-regvq"}
        answer = ask(tools, "tools/call", name="reconstruct", arguments=arguments)
        assert answer.status_code == 400 and "fetches nothing" in answer.json()["error"]
    # Nor does it call the API of a host that a header names.
    headers = {"x-forwarded-host": listener.address.removeprefix("http://")}
    arguments = {"checkpoint": "tiny-regvq", "code": 5}
    ask(tools, "tools/call", headers, name="code_detail", arguments=arguments)
    assert listener.requests == []
    assert not [name for name in tools.counted()["names"] if "example" in name]
