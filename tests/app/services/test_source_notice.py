"""What the page says of the owner's further checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import shell
from app.services import source_notice
from core.bundles import sources
from tests.helpers.hub_server import ask_only, hub


def test_fetched_checkpoints_are_offered_and_failures_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path
) -> None:
    monkeypatch.setattr(sources, "_fetched", {})
    with hub() as there:
        ask_only(monkeypatch, there.address, tmp_path, token=None)
        there.repositories["user/tiny"] = bundles / "tiny-regvq"
        monkeypatch.setenv("REGVQ_CHECKPOINTS", "user/tiny,user/gone,/no/such<b>folder")

        words, again = source_notice.further()
        assert again and "user/tiny</b>, <b>user/gone</b> are being fetched from the Hub" in words
        *_, told, soon = shell.welcome(None)
        assert told["visible"] and soon["active"]
        sources.fetch_all()

    offered, told, soon = shell.asked_again(None)
    assert offered["choices"] == ["user/tiny"] and offered["value"] == "user/tiny"
    assert "value" not in shell.offered("user/tiny")  # a choice stays
    assert not soon["active"]
    assert "user/gone cannot be fetched: the Hub has no such repository" in told["value"]
    assert "such&lt;b&gt;folder" in told["value"] and "/no/" not in told["value"]

    monkeypatch.setenv("REGVQ_CHECKPOINTS", str(bundles))
    assert source_notice.further() == ("", False)


def test_what_failed_is_tried_again_until_it_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundles: Path
) -> None:
    monkeypatch.setattr(sources, "_fetched", {})
    monkeypatch.setattr(shell, "AGAIN", 0.0)
    monkeypatch.setenv("REGVQ_CHECKPOINTS", "user/tiny")
    with hub() as there:
        ask_only(monkeypatch, there.address, tmp_path, token=None)
        tries = []

        def wait(_: float) -> None:
            tries.append(list(sources.problems()))
            there.repositories["user/tiny"] = bundles / "tiny-regvq"

        monkeypatch.setattr(shell.time, "sleep", wait)
        shell.fetch_further()
    assert len(tries) == 1 and "cannot be fetched" in tries[0][0]
    assert sources.problems() == []
