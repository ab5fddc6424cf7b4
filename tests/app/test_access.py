"""Public operation: visitors and passwords, closed routes, deleted files."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio import processing_utils
from gradio.route_utils import delete_files_created_by_app
from gradio_client import handle_file
from PIL import Image

from app import access, server, shell
from app.access import SettingError, visitors
from app.guard.values import NOT_UPLOADED
from app.ui.pictures import page_file
from core.bundles.bundle import ROOT
from tests.helpers import local_http as http

NAME = "tiny-regvq"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of the app's uploads and pictures."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        # Two processes that import a fresh Gradio at once may find its file of a random number
        # empty: the paths of uploads must not depend on it.
        patch.setattr(processing_utils, "hash_seed", b"")
        yield folder


@pytest.fixture(scope="module")
def running(cache: Path, bundles: Path) -> Iterator[tuple[shell.gr.Blocks, str]]:
    app = shell.build_app()
    _, address, _ = app.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **server.launch_options()
    )
    try:
        yield app, address
    finally:
        app.close(verbose=False)


def test_names_and_passwords() -> None:
    assert visitors("ada:pw1, bob:pw2:pw3 ,") == [("ada", "pw1"), ("bob", "pw2:pw3")]
    assert visitors("") is None and visitors("  ") is None
    for text, message in {
        "ada": "entry 1 of REGVQ_AUTH must be",
        "ada:pw1,:pw2": "entry 2",
        "ada:": "entry 1",
        "ada:pw1,ada:pw2": "names ada twice",
        ",": "names nobody",
    }.items():
        with pytest.raises(SettingError, match=message) as refusal:
            visitors(text)
        assert "pw" not in str(refusal.value)


def test_an_unusable_list_of_visitors_ends_the_app_with_one_line(tmp_path: Path) -> None:
    environment = {"REGVQ_AUTH": "ada", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("error: entry 1 of REGVQ_AUTH")
    assert done.stderr.count("\n") == 1


def test_only_invited_visitors_get_in(
    monkeypatch: pytest.MonkeyPatch, cache: Path, bundles: Path
) -> None:
    monkeypatch.setenv("REGVQ_AUTH", "ada:right")
    app = shell.build_app()
    _, address, _ = app.launch(
        server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **server.launch_options()
    )
    try:
        with http.client(base_url=address, timeout=60) as stranger:
            page = stranger.get("/").text  # no part of the app except the names of its API
            assert '"auth_required":true' in page and '"components":[]' in page
            for path in ("config", "gradio_api/info", "gradio_api/queue/status"):
                assert stranger.get(f"/{path}").status_code == 401, path
            files = {"files": ("a.png", b"0", "image/png")}
            assert stranger.post("/gradio_api/upload", files=files).status_code == 401
            call = {"data": [NAME, 1]}
            assert stranger.post("/gradio_api/call/code_detail", json=call).status_code == 401
            wrong = stranger.post("/login", data={"username": "ada", "password": "wrong"})
            assert wrong.status_code == 400 and stranger.get("/config").status_code == 401
        with http.client(base_url=address, timeout=60) as invited:
            right = {"username": "ada", "password": "right"}
            assert invited.post("/login", data=right).status_code == 200
            assert "tiny-regvq" in invited.get("/config").text
    finally:
        app.close(verbose=False)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "/proc/self/environ", "/proc/self/cwd/app.py", "../../../../etc/passwd",
        "..%2f..%2f..%2fetc/passwd", "%2e%2e/%2e%2e/etc/passwd", "file:///etc/passwd",
        "file:/etc/passwd", "//etc/passwd", "app.py", "README.md", "core/tokenizer.py",
        "checkpoints/scenes-regvq/config.json", ".git/config", "C:\\Windows\\win.ini",
        "http://127.0.0.1:9/x", "HTTPS://example.org/x.png", "ftp://example.org/x",
        "gopher://127.0.0.1:70/x", "data:text/html,x",
    ],
)  # fmt: skip
def test_only_files_of_the_page_are_served(running: tuple[shell.gr.Blocks, str], path: str) -> None:
    for route in ("gradio_api/file=", "file=", "gradio_api/file/", "static/", "assets/"):
        answer = http.get(f"{running[1]}{route}{path}", timeout=60)
        assert answer.status_code in (400, 403, 404, 422), (route, answer.status_code)
        assert "root:" not in answer.text and "PATH=" not in answer.text


def test_routes_that_fetch_or_write_for_a_visitor_are_closed(
    running: tuple[shell.gr.Blocks, str], cache: Path
) -> None:
    _, address = running
    before = set(cache.rglob("*"))
    for path in (
        "file=https://example.org/a.png",
        "proxy=https://example.hf.space/x",
        "deep_link?session_hash=x",
        "run-history/connect",
        "vibe-code",
    ):
        for method in ("GET", "POST"):
            answer = http.request(method, f"{address}gradio_api/{path}", timeout=60)
            assert answer.status_code == 404, path
    assert http.get(f"{address}gradio_api/runs", timeout=60).status_code == 404
    assert set(cache.rglob("*")) == before
    assert not access._CLOSED.search("/gradio_api/file=/tmp/gradio/0a/picture.png")


def test_an_upload_is_limited_to_its_folder_and_size(
    running: tuple[shell.gr.Blocks, str], cache: Path
) -> None:
    _, address = running
    files = {"files": ("../../../escaped.png", b"data", "image/png")}
    (path,) = http.post(f"{address}gradio_api/upload", files=files, timeout=60).json()
    assert Path(path).resolve().is_relative_to(cache.resolve())
    large = {"files": ("large.png", b"0" * (20 * 2**20 + 1), "image/png")}
    answer = http.post(f"{address}gradio_api/upload", files=large, timeout=60)
    assert answer.status_code == 413
    assert not [file for file in cache.rglob("*.png") if file.stat().st_size > 2**20]


def test_the_address_of_a_picture_cannot_be_computed_from_it(
    running: tuple[shell.gr.Blocks, str], cache: Path, photograph: Path
) -> None:
    """A visitor with the same picture cannot find out that somebody else uses it."""
    _, address = running
    data = photograph.read_bytes()
    files = {"files": (photograph.name, data, "image/png")}
    (path,) = http.post(f"{address}gradio_api/upload", files=files, timeout=60).json()
    drawn = page_file(data, "original")["path"]
    mark = hashlib.sha256(data).hexdigest()
    for file in (path, drawn):
        assert len(Path(file).parent.name) == 64 and mark not in file
        assert http.get(f"{address}gradio_api/file={file}", timeout=60).content == data
        guess = Path(file).parent.parent / mark / Path(file).name
        assert http.get(f"{address}gradio_api/file={guess}", timeout=60).status_code == 403
    # Folders are not listed.
    for folder in (cache, Path(path).parent):
        assert http.get(f"{address}gradio_api/file={folder}", timeout=60).status_code == 403


def test_uploads_and_pictures_are_deleted(
    running: tuple[shell.gr.Blocks, str], cache: Path, photograph: Path, tmp_path: Path
) -> None:
    app, address = running
    assert app.delete_cache == shell.DELETE
    assert sum(shell.DELETE) <= 2 * 3600  # as the page promises
    client = http.explorer(address, download_files=str(tmp_path))
    client.predict(handle_file(photograph), NAME, 0.5, 3, api_name="/reconstruct")
    client.predict(NAME, 5, handle_file(photograph), api_name="/code_detail")
    files = {file for file in cache.rglob("*") if file.is_file()}
    assert len(files) > 10
    delete_files_created_by_app(app, age=3600)
    # Files that were used lately stay.
    assert {file for file in cache.rglob("*") if file.is_file()} == files
    delete_files_created_by_app(app, age=None)  # as Gradio does on its schedule, for every age
    kept = set().union(*(getattr(part, "keep_in_cache", ()) for part in app.blocks.values()))
    left = {str(file) for file in cache.rglob("*") if file.is_file()}
    assert left <= kept, left - kept


def test_a_file_is_not_served_by_its_path(
    running: tuple[shell.gr.Blocks, str], tmp_path: Path
) -> None:
    """Only a file that was uploaded can be an input, not any file on the server."""
    secret = tmp_path / "secret.png"
    Image.new("RGB", (16, 16)).save(secret)
    address = f"{running[1]}gradio_api/call/code_detail"
    data = [NAME, 1, {"path": str(secret), "meta": {"_type": "gradio.FileData"}}]
    answer = http.post(address, json={"data": data}, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"] == NOT_UPLOADED
