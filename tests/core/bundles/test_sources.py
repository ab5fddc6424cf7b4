"""REGVQ_CHECKPOINTS: folders, repositories of the Hub, and messages for wrong entries."""

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
from core.bundles.bundle import find_bundle, list_bundles, open_bundle
from core.bundles.sources import fetch_all, pending, problems
from core.checkpoints import fingerprint_of, load_tokenizer, prior_tokenizer
from core.errors import CheckpointError
from core.networks.autoencoder import NetworkConfig
from core.quantizers import VQConfig
from tests.helpers.hub_server import Hub, ask_only, hub

SMALL = NetworkConfig(widths=(8, 16), encoder_blocks=1, decoder_blocks=1, latent_dim=4)


@pytest.fixture(scope="module")
def folder_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the bundles "first" and "second" to a folder."""
    root = tmp_path_factory.mktemp("bundles")
    for name in ("first", "second"):
        tokenizer = Tokenizer(TokenizerConfig(SMALL, VQConfig(size=16))).eval()
        tokenizer.save_pretrained(root / name, card="# A card\n", metrics={"psnr": 1.0})
    return root


@pytest.fixture(autouse=True)
def no_other_bundles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the shipped bundles and those that earlier tests fetched."""
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


def test_folders_and_repositories_are_distinguished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    (tmp_path / "user" / "name").mkdir(parents=True)  # an existing folder takes precedence
    assert sources.sources("user/name")[0].folder == Path("user/name")
    assert sources.sources("~/there")[0].folder == Path.home() / "there"


@pytest.mark.parametrize("by", [",", os.pathsep])
def test_folders_of_bundles_and_bundles_themselves(
    folder_of_two: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    single = shutil.copytree(folder_of_two / "first", tmp_path / "single")
    name(monkeypatch, folder_of_two, single, tmp_path / "gone", by=by)
    assert names() == ["first", "second", "single"]
    assert problems() == [
        "REGVQ_CHECKPOINTS names gone, which is neither a folder here nor the name of a repository "
        "(user/name)."
    ]


def test_a_repository_is_fetched_once_and_without_code(
    online: Hub, folder_of_two: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = shutil.copytree(folder_of_two / "first", tmp_path / "repository")
    for extra in ("model.bin", "weights.pkl", "weights.pt", "run.py"):
        (there / extra).write_text("not to be fetched")
    online.repositories["user/tiny"] = there
    name(monkeypatch, "user/tiny")
    assert names() == [] and pending() == ["user/tiny"] and online.asked == []
    assert fetch_all() == [] and pending() == []
    bundle = list_bundles()[0]
    assert bundle.name == "user/tiny" and bundle.metrics == {"psnr": 1.0}
    assert sorted(file.name for file in bundle.path.iterdir()) == sorted(
        file.name for file in (folder_of_two / "first").iterdir()
    )
    assert load_tokenizer(bundle).codebook_size == 16
    asked = len(online.asked)
    assert fetch_all() == [] and len(online.asked) == asked


def test_a_repository_of_several_bundles(
    online: Hub, folder_of_two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online.repositories["user/zoo"] = folder_of_two
    name(monkeypatch, "user/zoo")
    fetch_all()
    assert names() == ["user/zoo/first", "user/zoo/second"]


def test_a_prior_finds_its_tokenizer_in_another_repository(
    online: Hub, folder_of_two: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from core.priors import AutoregressiveConfig

    config = AutoregressiveConfig(codebook_size=16, grid=(2, 2), width=16, layers=1, heads=2)
    mark = fingerprint_of(find_bundle(folder_of_two / "first"))
    wanted = {"name": "first", "fingerprint": mark}
    config.build().save_pretrained(tmp_path / "prior", tokenizer=wanted)
    online.repositories |= {"user/prior": tmp_path / "prior", "user/tok": folder_of_two / "first"}
    name(monkeypatch, "user/prior", "user/tok")
    fetch_all()
    (prior,) = list_bundles(kind="prior")
    assert prior_tokenizer(prior).name == "user/tok"


def test_a_failed_fetch_has_a_message_and_can_be_tried_again(
    online: Hub, folder_of_two: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.md").write_text("no checkpoint")
    online.repositories |= {"user/good": folder_of_two / "first", "user/empty": empty}
    online.gated.add("user/gated")
    name(monkeypatch, "user/good", "user/none", "user/gated", "user/good@v9", "user/empty")
    messages = fetch_all()
    assert [one.split(":")[0] for one in messages] == [
        "user/none cannot be fetched",
        "user/gated cannot be fetched",
        "user/good@v9 cannot be fetched",
        "user/empty was fetched, but holds no checkpoint (config.json).",
    ]
    assert "no such repository" in messages[0] and "gated" in messages[1] and "'v9'" in messages[2]
    assert names() == ["user/good"]
    online.repositories["user/none"] = folder_of_two / "second"
    fetch_all()
    assert names() == ["user/good"]  # not tried again at every call, which would block the app
    fetch_all(again=True)
    assert names() == ["user/good", "user/none"]


def test_without_a_network_the_cached_copy_is_used(
    online: Hub, folder_of_two: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    online.repositories["user/tiny"] = folder_of_two / "first"
    name(monkeypatch, "user/tiny", "user/never")
    fetch_all()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
    ask_only(monkeypatch, nowhere, tmp_path / "home", token=None)
    monkeypatch.setattr(sources, "_fetched", {})
    (message,) = fetch_all()
    assert message == (
        "user/never cannot be fetched: the Hub cannot be reached, and it was not fetched before."
    )
    assert names() == ["user/tiny"]


def test_a_tokenizer_is_loaded_from_a_repository(
    online: Hub, folder_of_two: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    online.repositories |= {"user/tiny": folder_of_two / "first", "user/zoo": folder_of_two}
    expected = fingerprint_of(find_bundle(folder_of_two / "first"))
    for text in ("user/tiny", "user/zoo/first"):
        bundle = open_bundle(text)
        assert bundle.name == text and fingerprint_of(bundle) == expected
        assert Tokenizer.from_pretrained(text).codebook_size == 16
    shutil.copytree(folder_of_two / "second", tmp_path / "user" / "tiny")
    assert fingerprint_of(open_bundle("user/tiny")) != expected  # a folder takes precedence


def test_texts_that_are_no_repository_of_a_tokenizer(
    online: Hub, folder_of_two: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.md").write_text("no checkpoint")
    online.repositories |= {"user/zoo": folder_of_two, "user/empty": empty}
    messages = {
        "user/none": "There is no folder user/none here, and user/none cannot be fetched: the Hub "
        "has no such repository, or only for its owners (HF_TOKEN).",
        "user/zoo@v9": "There is no folder user/zoo@v9 here, and user/zoo@v9 cannot be fetched: it "
        "has no revision 'v9'.",
        "user/zoo": "user/zoo holds several checkpoints; name one: user/zoo/first, "
        "user/zoo/second.",
        "user/zoo/third": "user/zoo holds no checkpoint 'third'.",
        "user/empty": "user/empty holds no checkpoint (config.json).",
    }
    for text, message in messages.items():
        with pytest.raises(CheckpointError) as raised:
            Tokenizer.from_pretrained(text)
        assert str(raised.value) == message
    asked = len(online.asked)
    paths = ("checkpoints/none", "./user/zoo", Path("user/zoo"), "user/zoo/../..", "zoo")
    for path in paths:
        with pytest.raises(CheckpointError, match="does not exist; name a folder"):
            Tokenizer.from_pretrained(path)
    assert len(online.asked) == asked  # paths are not looked for on the Hub
