"""REGVQ_CHECKPOINTS: folders and the Hub's repositories, and what becomes of wrong entries."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import Tokenizer, TokenizerConfig
from core.bundles import bundle as checkpoints
from core.bundles import sources
from core.bundles.bundle import find_bundle, list_bundles
from core.bundles.sources import fetch_all, pending, problems
from core.checkpoints import fingerprint_of, load_tokenizer, prior_tokenizer
from core.networks.autoencoder import NetworkConfig
from core.quantizers import VQConfig
from tests.helpers.hub_server import Hub, ask_only, hub

SMALL = NetworkConfig(widths=(8, 16), encoder_blocks=1, decoder_blocks=1, latent_dim=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles "first" and "second"."""
    root = tmp_path_factory.mktemp("bundles")
    for name in ("first", "second"):
        tokenizer = Tokenizer(TokenizerConfig(SMALL, VQConfig(size=16))).eval()
        tokenizer.save_pretrained(root / name, card="# A card\n", metrics={"psnr": 1.0})
    return root


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither what ships nor what earlier tests fetched."""
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path / "none")
    monkeypatch.setattr(checkpoints, "RUNS", tmp_path / "no-runs")
    monkeypatch.setattr(sources, "_fetched", {})


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub() as state:
        ask_only(monkeypatch, state.address, tmp_path / "home", token=None)
        yield state


def name(monkeypatch: pytest.MonkeyPatch, *entries: object, by: str = ",") -> None:
    monkeypatch.setenv("REGVQ_CHECKPOINTS", by.join(map(str, entries)))


def names() -> list[str]:
    return [bundle.name for bundle in list_bundles()]


def test_entries_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"/a/folder{os.pathsep}user/name, user/other@v1.0 ,,./here,~/there,https://x.org/y/z"
    found = [(one.repository, one.revision, one.text) for one in sources.sources(text)]
    assert found == [
        (None, None, "/a/folder"),
        ("user/name", None, "user/name"),
        ("user/other", "v1.0", "user/other@v1.0"),
        (None, None, "./here"),
        (None, None, "~/there"),
        (None, None, "https://x.org/y/z"),
    ]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user" / "name").mkdir(parents=True)  # a folder that is there goes first
    assert sources.sources("user/name")[0].folder == Path("user/name")
    assert sources.sources("~/there")[0].folder == Path.home() / "there"


@pytest.mark.parametrize("by", [",", os.pathsep])
def test_folders_of_bundles_and_bundles_themselves(
    made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    single = shutil.copytree(made / "first", tmp_path / "single")
    name(monkeypatch, made, single, tmp_path / "gone", by=by)
    assert names() == ["first", "second", "single"]
    assert problems() == [
        "REGVQ_CHECKPOINTS names gone, which is neither a folder here nor the name of a repository "
        "(user/name)."
    ]


def test_a_repository_is_fetched_once_and_without_what_could_be_run(
    online: Hub, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = shutil.copytree(made / "first", tmp_path / "repository")
    for extra in ("model.bin", "weights.pkl", "weights.pt", "run.py"):
        (there / extra).write_text("not to be fetched")
    online.repositories["user/tiny"] = there
    name(monkeypatch, "user/tiny")
    assert names() == [] and pending() == ["user/tiny"] and online.asked == []
    assert fetch_all() == [] and pending() == []
    bundle = list_bundles()[0]
    assert bundle.name == "user/tiny" and bundle.metrics == {"psnr": 1.0}
    assert sorted(file.name for file in bundle.path.iterdir()) == sorted(
        file.name for file in (made / "first").iterdir()
    )
    assert load_tokenizer(bundle).codebook_size == 16
    asked = len(online.asked)
    assert fetch_all() == [] and len(online.asked) == asked


def test_a_repository_of_several_bundles(
    online: Hub, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online.repositories["user/zoo"] = made
    name(monkeypatch, "user/zoo")
    fetch_all()
    assert names() == ["user/zoo/first", "user/zoo/second"]


def test_a_prior_finds_its_tokenizer_in_another_repository(
    online: Hub, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from core.priors import AutoregressiveConfig

    config = AutoregressiveConfig(codebook_size=16, grid=(2, 2), width=16, layers=1, heads=2)
    mark = fingerprint_of(find_bundle(made / "first"))
    wanted = {"name": "first", "fingerprint": mark}
    config.build().save_pretrained(tmp_path / "prior", tokenizer=wanted)
    online.repositories |= {"user/prior": tmp_path / "prior", "user/tok": made / "first"}
    name(monkeypatch, "user/prior", "user/tok")
    fetch_all()
    (prior,) = list_bundles(kind="prior")
    assert prior_tokenizer(prior).name == "user/tok"


def test_what_cannot_be_fetched_is_a_sentence_and_can_be_tried_again(
    online: Hub, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.md").write_text("no checkpoint")
    online.repositories |= {"user/good": made / "first", "user/empty": empty}
    online.gated.add("user/gated")
    name(monkeypatch, "user/good", "user/none", "user/gated", "user/good@v9", "user/empty")
    said = fetch_all()
    assert [one.split(":")[0] for one in said] == [
        "user/none cannot be fetched",
        "user/gated cannot be fetched",
        "user/good@v9 cannot be fetched",
        "user/empty was fetched, but holds no checkpoint (config.json).",
    ]
    assert "no such repository" in said[0] and "gated" in said[1] and "'v9'" in said[2]
    assert names() == ["user/good"]
    online.repositories["user/none"] = made / "second"
    fetch_all()
    assert names() == ["user/good"]  # not at every turn: that would keep everybody waiting
    fetch_all(again=True)
    assert names() == ["user/good", "user/none"]


def test_without_a_network_the_copy_of_this_machine_is_taken(
    online: Hub, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    online.repositories["user/tiny"] = made / "first"
    name(monkeypatch, "user/tiny", "user/never")
    fetch_all()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
    ask_only(monkeypatch, nowhere, tmp_path / "home", token=None)
    monkeypatch.setattr(sources, "_fetched", {})
    (said,) = fetch_all()
    assert said == (
        "user/never cannot be fetched: the Hub cannot be reached, and it was not fetched before."
    )
    assert names() == ["user/tiny"]
