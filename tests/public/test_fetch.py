"""Nothing that a visitor sends is fetched, or even looked up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.guard.values import NOT_FETCHED, NOT_UPLOADED
from tests.helpers import local_http as http
from tests.public.listening import Listener
from tests.public.serving import Watched

pytestmark = pytest.mark.slow


def file(address: str, **more: Any) -> dict[str, Any]:
    """Return a value that Gradio fetches wherever it stands."""
    return {"path": address, "meta": {"_type": "gradio.FileData"}, **more}


def buried(value: Any, depth: int) -> Any:
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.fixture(scope="module")
def inputs(public: Watched) -> dict[str, int]:
    """Return the number of inputs of each endpoint."""
    schema = http.get(f"{public.address}gradio_api/info", timeout=60).json()
    return {name: len(one["parameters"]) for name, one in schema["named_endpoints"].items()}


def test_an_address_in_any_input_is_refused_and_nothing_is_fetched(
    public: Watched, listener: Listener, inputs: dict[str, int]
) -> None:
    tried = 0
    for name, count in inputs.items():
        for place in range(count):
            host = f"http://lookup-{tried}.example.org/x.png" if place % 2 else listener.address
            values: list[Any] = [None] * count
            values[place] = buried(file(host), tried % 7)
            for route in ("call", "run", "api"):
                answer = http.post(
                    f"{public.address}gradio_api/{route}{name}", json={"data": values}, timeout=60
                )
                assert answer.status_code == 400, (name, place, route, answer.text)
                assert answer.json()["error"] == NOT_FETCHED
                tried += 1
    assert tried > 150
    assert listener.requests == [] and public.counted()["names"] == []


@pytest.mark.parametrize("route", ["queue/join", "run/predict", "call/v2/code_detail", "cancel"])
def test_an_address_is_refused_on_every_route(
    public: Watched, listener: Listener, route: str
) -> None:
    picture = file(f"{listener.address}/x.png")
    body: dict[str, Any] = {"data": ["tiny-regvq", picture], "session_hash": "a", "fn_index": 1}
    if "v2" in route:
        body = {"checkpoint": "tiny-regvq", "code": picture}
    answer = http.post(f"{public.address}gradio_api/{route}", json=body, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"] == NOT_FETCHED
    # An event's data and unknown keys are read, too.
    body = {"data": [], "event_data": {"index": picture}, "fn_index": 1, "session_hash": "a"}
    answer = http.post(f"{public.address}gradio_api/{route}", json=body, timeout=60)
    assert answer.json()["error"] == NOT_FETCHED
    assert listener.requests == []


@pytest.mark.parametrize(
    "path",
    ["HTTP://{}", "https://{}/a", "//{}/a", "\\\\{}\\a", "ftp://{}", " http://{}", "file:///etc/passwd",
     "data:text/plain,x", "gopher://{}", "http:{}", "x://{}"],
)  # fmt: skip
def test_every_spelling_of_an_address_is_refused(
    public: Watched, listener: Listener, path: str
) -> None:
    host = listener.address.removeprefix("http://")
    for value in (file(path.format(host)), {"path": path.format(host)}, {"url": f"http://{host}"}):
        body = {"data": [value, "tiny-regvq", 0, 0]}
        answer = http.post(f"{public.address}gradio_api/call/reconstruct", json=body, timeout=60)
        assert answer.status_code == 400 and answer.json()["error"] == NOT_FETCHED, value
    # Escapes of JSON and repeated keys do not hide it; both readers take the last of equal keys.
    hidden = '{"path": "a", "p\\u0061th": "h\\u0074tp://HOST/x", "meta": {}}'.replace("HOST", host)
    text = f'{{"data": [{hidden}, "a", 0, 0]}}'
    answer = http.post(
        f"{public.address}gradio_api/call/reconstruct",
        content=text,
        headers={"content-type": "application/json"},
        timeout=60,
    )
    assert answer.json()["error"] == NOT_FETCHED
    for encoding in ("utf-16", "utf-32", "utf-8-sig"):
        answer = http.post(
            f"{public.address}gradio_api/call/reconstruct",
            content=json.dumps({"data": [file(listener.address), "a", 0, 0]}).encode(encoding),
            headers={"content-type": "application/json"},
            timeout=60,
        )
        assert answer.status_code == 400 and "UTF-8" in answer.json()["error"]
    assert listener.requests == []


@pytest.mark.parametrize("meta", [{"_type": "gradio.FileData"}, {}, None])
def test_a_file_of_the_server_that_was_not_uploaded_is_refused(public: Watched, meta: Any) -> None:
    uploads = public.uploads
    for path in (
        "/etc/passwd", "app.py", "../app.py", str(public.log), f"{uploads}/../app.log",
        str(uploads), f"{uploads}/nothing.png", "~/x", "a\x00b",
    ):  # fmt: skip
        body = {"data": [{"path": path, "meta": meta}, "tiny-regvq", 0, 0]}
        answer = http.post(f"{public.address}gradio_api/call/reconstruct", json=body, timeout=60)
        assert answer.status_code == 400 and answer.json()["error"] == NOT_UPLOADED, path


def test_an_uploaded_picture_is_read(public: Watched, photograph: Path) -> None:
    files = {"files": ("a.png", photograph.read_bytes(), "image/png")}
    (path,) = http.post(f"{public.address}gradio_api/upload", files=files, timeout=60).json()
    body = {"data": [file(path), "tiny-regvq", 0, 0]}
    answer = http.post(f"{public.address}gradio_api/run/reconstruct", json=body, timeout=120)
    assert answer.status_code == 200 and answer.json()["data"][3]["tokens"] == 130
