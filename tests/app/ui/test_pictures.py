"""Drawings as files that a page loads."""

from __future__ import annotations

from pathlib import Path

from app.ui.pictures import page_file


def test_a_file_that_a_page_may_be_loading_is_not_written_again() -> None:
    path = Path(page_file(b"the same bytes", "same")["path"])
    assert path.read_bytes() == b"the same bytes"
    path.write_bytes(b"marked")
    assert page_file(b"the same bytes", "same")["path"] == str(path)
    assert path.read_bytes() == b"marked"
    path.unlink()  # as the sweep of old files does
    assert Path(page_file(b"the same bytes", "same")["path"]).read_bytes() == b"the same bytes"


def test_nothing_but_whole_files_is_left_beside_a_picture() -> None:
    path = Path(page_file(b"other bytes", "other")["path"])
    assert [found.name for found in path.parent.iterdir()] == ["other.png"]


def test_different_bytes_have_different_addresses() -> None:
    assert page_file(b"one", "x")["path"] != page_file(b"two", "x")["path"]
