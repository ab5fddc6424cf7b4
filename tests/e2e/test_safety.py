"""The explorer in public: visitors are kept apart, and too large files are refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import BROWSERS, find_chromium, open_explorer
from tests.e2e.test_explorer import picture_at, reconstruct, size_of, upload

pytestmark = pytest.mark.browser


def file_addresses(visitor: Any) -> set[str]:
    """Return the files that a visitor's browser requested."""
    return {url for url in visitor.requests if "file=" in url}


def test_visitors_are_kept_apart(app: str, visit: Any, photograph: Path) -> None:
    ada, bob = visit(), visit()
    for one in (ada, bob):
        open_explorer(one.page, app)
    shared = file_addresses(bob)
    before = picture_at(bob.page, ".rv-under")
    reconstruct(ada.page, photograph)
    hers = file_addresses(ada) - shared
    assert any(photograph.name in url for url in hers)

    # Nothing of it reaches a visitor who is there already, or one who comes later.
    late = visit()
    open_explorer(late.page, app)
    for one in (bob, late):
        assert not file_addresses(one) & hers
        assert one.page.get_by_text(size_of(photograph), exact=True).count() == 0
        assert (picture_at(one.page, ".rv-under") == before).all()

    # Even a visitor with the same photograph cannot guess its address, or list the files.
    mine = next(url for url in hers if photograph.name in url)
    mark = mine.rsplit("/", 2)[1]
    guess = hashlib.sha256(photograph.read_bytes()).hexdigest()
    assert len(mark) == len(guess) and mark != guess
    for address in (mine.replace(mark, guess), mine.rsplit("/", 1)[0], mine.rsplit("/", 2)[0]):
        assert bob.page.request.get(address).status == 403, address


def test_a_file_that_is_too_large_is_refused_in_a_sentence(
    app: str, visit: Any, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(21 * 2**20))
    visitor = visit()
    page = visitor.page
    open_explorer(page, app)
    shown = picture_at(page, ".rv-under")
    upload(page, large)
    page.get_by_text("exceed the maximum allowed size", exact=False).first.wait_for()
    assert not [url for url in visitor.requests if "/upload?" in url]  # it is not even sent
    assert visitor.errors == []
    visitor.settle()  # Gradio's page reports an error when it is left while it waits
    page.reload()  # and the app keeps running
    page.wait_for_selector('.rv-stage[data-state="ready"]')
    assert (picture_at(page, ".rv-under") == shown).all()


def test_a_browser_that_cannot_start_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *stubs, works = BROWSERS
    for name in BROWSERS:  # like Ubuntu's, which only names another package
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {int(name in stubs)}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("REGVQ_CHROMIUM", "")
    assert find_chromium() == str(tmp_path / works)
