"""Headers and compression of a running app."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import server, shell
from app.guard.headers import FRAMES, frame_ancestors
from app.guard.settings import SettingError
from tests.helpers import local_http as http


@pytest.fixture(scope="module")
def address(bundles: Path) -> Iterator[str]:
    app = shell.build_app()
    _, address, _ = app.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **server.launch_options()
    )
    try:
        yield address
    finally:
        app.close(verbose=False)


def test_every_answer_has_the_headers(address: str, photograph: Path) -> None:
    files = {"files": ("a.svg", b"<svg/>", "image/svg+xml")}
    (path,) = http.post(f"{address}gradio_api/upload", files=files, timeout=60).json()
    for place in ("", "config", "nothing", f"gradio_api/file={path}", "theme.css", "monitoring"):
        headers = http.get(f"{address}{place}", timeout=60).headers
        assert headers["x-content-type-options"] == "nosniff", place
        assert headers["referrer-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert f"frame-ancestors {FRAMES}" in policy and "http:" not in policy
        assert ("sandbox" in policy) == (place != ""), place
    page = http.get(address, timeout=60).headers["content-security-policy"]
    assert "default-src 'self';" in page and "object-src 'none'" in page
    assert "x-frame-options" not in headers  # a Space shows the page in a frame


def test_frames_are_the_owners_choice() -> None:
    assert frame_ancestors({}) == FRAMES
    assert frame_ancestors({"REGVQ_FRAME_ANCESTORS": "none"}) == "'none'"
    found = frame_ancestors({"REGVQ_FRAME_ANCESTORS": "self, https://*.example.org:8080"})
    assert found == "'self' https://*.example.org:8080"
    for wrong in ("https://a; script-src *", "javascript:1", "example.org", "none self"):
        with pytest.raises(SettingError, match="REGVQ_FRAME_ANCESTORS must be"):
            frame_ancestors({"REGVQ_FRAME_ANCESTORS": wrong})


def test_html_and_json_are_compressed(address: str) -> None:
    with http.client(base_url=address, timeout=60) as client:
        for place in ("/", "/config", "/gradio_api/info"):
            plain = client.get(place, headers={"accept-encoding": "identity"})
            assert "content-encoding" not in plain.headers
            with client.stream("GET", place, headers={"accept-encoding": "gzip"}) as stream:
                raw = b"".join(stream.iter_raw())
            assert stream.headers["content-encoding"] == "gzip"
            assert int(stream.headers["content-length"]) == len(raw) < len(plain.content) / 3
            assert gzip.decompress(raw) == plain.content
        refusing = {"accept-encoding": "gzip;q=0"}
        assert "content-encoding" not in client.get("/config", headers=refusing).headers


def test_a_stream_of_events_is_not_held_back(address: str) -> None:
    """The first event of an endless stream arrives, and nothing of it is compressed."""
    with (
        http.client(base_url=address, timeout=60) as client,
        client.stream(
            "GET", "/gradio_api/heartbeat/abc", headers={"accept-encoding": "gzip"}
        ) as one,
    ):
        assert "content-encoding" not in one.headers
        assert "ALIVE" in next(one.iter_text())
