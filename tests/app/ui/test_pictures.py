"""Pictures as files that a page loads, and uploads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import gradio as gr
import pytest

from app.services.encoding import PageFile
from app.ui.pictures import PictureInput, page_file, publish


def test_a_file_that_a_page_may_be_loading_is_not_written_again() -> None:
    path = Path(page_file(b"the same bytes", "same")["path"])
    assert path.read_bytes() == b"the same bytes"
    path.write_bytes(b"marked")
    assert page_file(b"the same bytes", "same")["path"] == str(path)
    assert path.read_bytes() == b"marked"
    path.unlink()  # as the sweep of old files does
    assert Path(page_file(b"the same bytes", "same")["path"]).read_bytes() == b"the same bytes"


def test_no_temporary_file_is_left_beside_a_picture() -> None:
    path = Path(page_file(b"other bytes", "other")["path"])
    assert [found.name for found in path.parent.iterdir()] == ["other.png"]


def test_different_bytes_have_different_addresses() -> None:
    assert page_file(b"one", "x")["path"] != page_file(b"two", "x")["path"]


def test_an_upload_is_passed_on_unread_and_an_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    path = tmp_path / "uploads" / "text.jpg"
    path.parent.mkdir()
    path.write_text("no picture")
    component = PictureInput(type="filepath")
    assert component.get_block_name() == "image"
    payload = gr.FileData(path=str(path), orig_name="text.jpg")
    assert component.preprocess(payload) == str(path)
    assert component.preprocess(None) is None
    other = tmp_path / "secret.jpg"
    other.write_text("no upload")
    with pytest.raises(gr.Error, match="must have been uploaded"):
        component.preprocess(gr.FileData(path=str(other)))
    with pytest.raises(gr.Error, match="uploaded, not fetched"):
        asyncio.run(component.async_move_resource_to_block_cache("http://127.0.0.1/picture.png"))


def test_a_view_is_published_with_its_files() -> None:
    view = {"a": PageFile(b"one", "x"), "rows": [{"b": PageFile(b"two", "y", "webp")}], "n": 3}
    found = publish(view)
    assert Path(found["a"]["path"]).read_bytes() == b"one" and found["n"] == 3
    nested = found["rows"][0]["b"]
    assert Path(nested["path"]).name == "y.webp" and nested["mime_type"] == "image/webp"
    assert view["a"] == PageFile(b"one", "x")  # the view model itself stays as it is
