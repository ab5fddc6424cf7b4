"""The folder in which computed maps are kept. The maps themselves: tests/app/tabs/test_code_map."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.paths import cache_folder


def test_the_cache_folder_is_the_owners_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("REGVQ_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "regvq-studio"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert cache_folder() == tmp_path / "home" / ".cache" / "regvq-studio"
