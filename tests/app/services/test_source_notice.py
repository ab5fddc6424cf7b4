"""The notice about the owner's further checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import server, shell
from app.services import source_notice
from core.bundles import sources
from tests.helpers.hub_server import ask_only, hub


def test_fetched_checkpoints_are_offered_and_failures_are_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path
) -> None:
    monkeypatch.setattr(sources, "_fetched", {})
    with hub() as there:
        ask_only(monkeypatch, there.address, tmp_path, token=None)
        there.repositories["user/tiny"] = bundles / "tiny-regvq"
        monkeypatch.setenv("REGVQ_CHECKPOINTS", "user/tiny,user/gone,/no/such<b>folder")

        words, again = source_notice.notice()
        assert again and "user/tiny</b>, <b>user/gone</b> are being fetched from the Hub" in words
        opened = shell.open_page(None)
        assert opened["notice"]["visible"] and opened["timer"]["active"]
        sources.fetch_all()

    found = shell.refresh(None)
    offered, told = found["checkpoint"], found["notice"]
    assert offered["choices"] == ["user/tiny"] and offered["value"] == "user/tiny"
    assert "value" not in shell.offer_checkpoints("user/tiny")  # a choice stays
    assert not found["timer"]["active"]
    assert "user/gone cannot be fetched: the Hub has no such repository" in told["value"]
    assert "such&lt;b&gt;folder" in told["value"] and "/no/" not in told["value"]

    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(bundles))
    assert source_notice.notice() == ("", False)


def test_failed_checkpoints_are_requested_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path
) -> None:
    monkeypatch.setattr(sources, "_fetched", {})
    monkeypatch.setattr(server, "RETRY", 0.0)
    monkeypatch.setenv("REGVQ_CHECKPOINTS", "user/tiny")
    with hub() as there:
        ask_only(monkeypatch, there.address, tmp_path, token=None)
        tries = []

        def wait(_: float) -> None:
            tries.append(list(sources.problems()))
            there.repositories["user/tiny"] = bundles / "tiny-regvq"

        monkeypatch.setattr(server.time, "sleep", wait)
        server.fetch_further()
    assert len(tries) == 1 and "cannot be fetched" in tries[0][0]
    assert sources.problems() == []
