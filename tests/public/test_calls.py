"""Calls that cannot be made: private listeners, wrong numbers, missing data, odd addresses."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.helpers import local_http as http
from tests.public.serving import Watched

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def listeners(public: Watched) -> list[dict[str, Any]]:
    """Return the listeners of the page."""
    return http.get(f"{public.address}config", timeout=60).json()["dependencies"]


def post(explorer: Watched, path: str, body: Any) -> httpx.Response:
    return http.post(f"{explorer.address}gradio_api/{path}", json=body, timeout=60)


def refused(answer: httpx.Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text[:200]
    assert words in answer.json()["error"] and words in answer.json()["detail"]


def test_a_private_listener_has_no_name(public: Watched, listeners: list[dict[str, Any]]) -> None:
    private = [one for one in listeners if one["api_visibility"] == "private"]
    assert len(private) > 40
    for one in private:
        values = [None] * len(one["inputs"])
        for route in ("call", "run", "api", "call/v2"):
            body = {} if "v2" in route else {"data": values}
            answer = post(public, f"{route}/{one['api_name']}", body)
            refused(answer, 404, "no endpoint of this name")


def test_a_private_listener_is_called_only_as_the_page_calls_it(
    public: Watched, listeners: list[dict[str, Any]]
) -> None:
    (one,) = [each for each in listeners if each["api_name"] == "which_tab"]
    (target,) = [place for place, _ in one["targets"]]
    good = {
        "data": [],
        "fn_index": one["id"],
        "session_hash": "abc",
        "trigger_id": target,
        "event_data": {"index": 0, "value": "Codebook"},
    }
    answer = post(public, "run/predict", good)
    assert answer.status_code == 200, answer.text
    for change in ({"session_hash": None}, {"trigger_id": None}, {"trigger_id": target + 1}):
        refused(post(public, "run/predict", {**good, **change}), 404, "private to the page")
        if "trigger_id" in change:
            refused(post(public, "queue/join", {**good, **change}), 404, "private to the page")
    for event in (None, [], 5, "x"):
        refused(post(public, "run/predict", {**good, "event_data": event}), 400, '"event_data"')
    for event in ({}, {"index": 0}, {"value": "x"}):
        answer = post(public, "run/predict", {**good, "event_data": event})
        assert answer.status_code == 400 and "lacks what its event has" in answer.json()["error"]
    for session in ("a/b", "", "x" * 65, 5):
        refused(post(public, "run/predict", {**good, "session_hash": session}), 400, "session")
    refused(post(public, "run/predict", {**good, "batched": True}), 400, "batches")
    refused(post(public, "run/predict", {**good, "data": [1]}), 400, "needs 0 inputs, not 1")


@pytest.mark.parametrize("number", [-1, 10**9, "0", 1.0, True, [], None])
def test_a_wrong_number_is_refused(public: Watched, number: Any) -> None:
    body = {"data": [], "fn_index": number, "session_hash": "abc"}
    refused(post(public, "queue/join", body), 404, "no listener of this number")


@pytest.mark.parametrize("body", [None, [], 5, "x", {}, {"data": 5}, {"data": {}}])
def test_a_body_that_is_no_call_is_refused(public: Watched, body: Any) -> None:
    for path in ("queue/join", "call/reconstruct", "run/predict"):
        headers = {"content-type": "application/json"}
        address = f"{public.address}gradio_api/{path}"
        answer = http.post(address, content=json.dumps(body), headers=headers, timeout=60)
        assert answer.status_code == 400 and "body of a call must" in answer.json()["error"]


def test_the_last_inputs_of_a_call_by_name_may_be_left_out(public: Watched) -> None:
    """As a client that was written before an endpoint had them does."""
    answers = []
    for data in (["tiny-regvq", "bundle"], ["tiny-regvq", "bundle", None, 0]):
        event = post(public, "call/codebook_usage", {"data": data}).json()["event_id"]
        address = f"{public.address}gradio_api/call/codebook_usage/{event}"
        answers.append(http.get(address, timeout=60).text)
        assert "event: complete" in answers[-1]
    figures = [text[text.index('"counts"') :] for text in answers]  # behind a picture's path
    assert figures[0] == figures[1]
    refused(post(public, "call/reconstruct", {"data": []}), 400, "needs 6 inputs, not 0")
    refused(post(public, "call/reconstruct", {"data": [None] * 7}), 400, "needs 6 inputs, not 7")


def test_long_addresses_and_odd_hosts_are_refused(public: Watched) -> None:
    refused(http.get(f"{public.address}?tab={'x' * 60_000}", timeout=60), 414, "at most 8,192")
    refused(http.get(f"{public.address}{'a/' * 5000}", timeout=60), 414, "at most 8,192")
    assert http.get(f"{public.address}?tab={'x' * 7000}", timeout=60).status_code == 200
    for name in ("x-forwarded-host", "x-forwarded-proto", "host"):
        for value in ("a b", "%%", "a/b", "x" * 400):
            answer = http.get(public.address, headers={name: value}, timeout=60)
            refused(answer, 400, f"The header {name} names no host")
    good = {"x-forwarded-host": "user-space.hf.space, a:80", "x-forwarded-proto": "https,http"}
    assert http.get(public.address, headers=good, timeout=60).status_code == 200
    refused(http.get(f"{public.address}a%00b", timeout=60), 400, "control characters")


def test_answers_that_nobody_waits_for_are_refused(public: Watched) -> None:
    address = f"{public.address}gradio_api"
    refused(http.get(f"{address}/call/reconstruct/nothing", timeout=60), 404, "not known")
    stream = http.get(f"{address}/queue/data?session_hash=nothing", timeout=60)
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert "This session is not known, or has ended; reload the page." in stream.text
    for name in (
        "queue/data?session_hash=a/b",
        "upload_progress?upload_id=a%20b",
        "heartbeat/a%20b",
    ):
        refused(http.get(f"{address}/{name}", timeout=60), 400, "session must be named")


@pytest.mark.parametrize(
    "path",
    ["gradio_api/component_server", "gradio_api/stream/a/b/c/playlist.m3u8", "monitoring",
     "monitoring/summary", "pwa_icon/99999999", "gradio_api/custom_component/a/client/component/b",
     "gradio_api/profiling/traces", "gradio_api/proxy=http://x", "gradio_api/deep_link"],
)  # fmt: skip
def test_routes_that_are_not_used_are_closed(public: Watched, path: str) -> None:
    refused(http.get(f"{public.address}{path}", timeout=60), 404, "closed")


def test_a_refusal_is_one_line_in_the_log(public: Watched) -> None:
    before = len(public.logged().splitlines())
    post(public, "call/nothing%0d%0aINFO: forged", {"data": []})
    post(public, "call/nothing", {"data": [{"path": "http://example.org"}]})
    http.post(f"{public.address}gradio_api/upload", content=b"x", timeout=60,
               headers={"content-type": "multipart/form-data; boundary=a"})  # fmt: skip
    lines = public.logged().splitlines()[before:]
    assert len(lines) == 3 and all(line.startswith("Refused POST /") for line in lines), lines


RANGES = ["bytes=0-1,3-4", "bytes=-5-9", "bytes=a-b", "bytes=5-1", "bytes=99999-", "bytes=0-3", "x"]


@pytest.mark.parametrize("ranges", RANGES)
def test_a_range_gets_the_whole_file(public: Watched, ranges: str) -> None:
    """Gradio fails at several ranges, and answers one with the headers of the request."""
    sent = {"files": ("a.html", b"<script>", "text/html")}
    (path,) = http.post(f"{public.address}gradio_api/upload", files=sent, timeout=60).json()
    for address in (f"gradio_api/file={path}", "favicon.ico"):
        headers = {"range": ranges, "cookie": "secret=1"}
        answer = http.get(f"{public.address}{address}", headers=headers, timeout=60)
        assert answer.status_code == 200 and int(answer.headers["content-length"]) > 7
        assert "cookie" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["assets/" + "a" * 300, "static/img/" + "b" * 256, "svelte/" + "%E2%82%AC" * 90, "openapi.json",
     "gradio_api/upload_progress?upload_id=nothing"],
)  # fmt: skip
def test_what_is_not_there_is_said(public: Watched, path: str) -> None:
    answer = http.get(f"{public.address}{path}", timeout=60)
    assert answer.status_code == 404
    assert answer.json()["error"].endswith(".") and " " in answer.json()["detail"]
