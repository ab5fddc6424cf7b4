"""Blocks with checked inputs: the second line behind the gate."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio import processing_utils

from app.guard.failures import UNEXPECTED
from app.guard.values import NOT_FETCHED, NOT_UPLOADED
from app.ui.explorer import Explorer


def call(blocks: Explorer, *values: Any) -> Any:
    (listener,) = blocks.fns.values()
    return asyncio.run(blocks.process_api(listener, list(values), explicit_call=False))


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []

    def note(host: Any, *_: Any, **__: Any) -> Any:
        found.append(host)
        raise socket.gaierror("no name is looked up in this test")

    monkeypatch.setattr(socket, "getaddrinfo", note)
    return found


@pytest.mark.parametrize("component", [gr.Number, gr.Textbox, gr.JSON, gr.Dropdown, gr.Image])
@pytest.mark.parametrize("depth", [0, 3])
def test_an_address_that_passes_the_gate_is_refused_before_it_is_fetched(
    component: Any, depth: int, lookups: list[Any]
) -> None:
    value: Any = {"path": "http://example.org/x", "meta": {"_type": "gradio.FileData"}}
    for _ in range(depth):
        value = [value]
    with Explorer() as blocks:
        given = component()
        gr.Button().click(lambda one: one, given, gr.JSON())
    with pytest.raises(gr.Error) as refusal:
        call(blocks, value)
    assert refusal.value.message == NOT_FETCHED and lookups == []


def test_a_file_of_the_server_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    with Explorer() as blocks:
        gr.Button().click(lambda one: one, gr.JSON(), gr.JSON())
    with pytest.raises(gr.Error) as refusal:
        call(blocks, {"path": str(tmp_path / "secret.txt")})
    assert refusal.value.message == NOT_UPLOADED


def test_an_unexpected_error_is_one_line_in_the_log_and_a_sentence(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(value: Any) -> Any:
        return value["a"] + "\n" + 5

    with Explorer() as blocks:
        gr.Button().click(broken, gr.JSON(), gr.JSON(), api_name="act")
    with caplog.at_level(logging.INFO, "regvq.app"), pytest.raises(gr.Error) as refusal:
        call(blocks, {"a": "x"})
    assert refusal.value.message == UNEXPECTED and refusal.value.print_exception is False
    (line,) = caplog.records
    assert "The listener act failed at" in line.getMessage() and "TypeError" in line.getMessage()
    assert "\n" not in line.getMessage() and not line.exc_info
    monkeypatch.setenv("REGVQ_TRACEBACKS", "1")
    with pytest.raises(gr.Error):
        call(blocks, {"a": "x"})
    assert caplog.records[-1].exc_info


def test_what_a_component_does_not_take_is_named() -> None:
    with Explorer() as blocks:
        gr.Button().click(
            lambda a, b: a, [gr.JSON(), gr.Number(label="seed", precision=0)], gr.JSON()
        )
    with pytest.raises(gr.Error, match=r"Input 2 \(seed\) has a form"):
        call(blocks, 1, "text")
    with pytest.raises(gr.Error, match="needs 2 inputs, not 1"):
        call(blocks, 1)


def test_a_long_error_is_cut() -> None:
    def refuse(value: Any) -> Any:
        raise gr.Error("x" * 5000)

    with Explorer() as blocks:
        gr.Button().click(refuse, gr.JSON(), gr.JSON())
    with pytest.raises(gr.Error) as refusal:
        call(blocks, 1)
    assert len(refusal.value.message) < 700 and refusal.value.message.endswith("…")
    assert refusal.value.print_exception is False  # Gradio would print the stack trace


def test_an_output_is_not_fetched_either(lookups: list[Any], tmp_path: Path) -> None:
    file = {"path": "a", "url": "http://example.org/x", "meta": {"_type": "gradio.FileData"}}
    with Explorer() as blocks:
        gr.Button().click(lambda text: file, gr.Textbox(), gr.JSON())
    try:
        call(blocks, "text")
    except gr.Error as refusal:
        assert refusal.message == NOT_FETCHED
    for fetch in (processing_utils.ssrf_protected_download, processing_utils.save_url_to_cache):
        with pytest.raises(gr.Error) as found:
            fetch("http://example.org/x", str(tmp_path))
        assert found.value.message == NOT_FETCHED
    assert lookups == []
