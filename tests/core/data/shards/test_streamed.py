"""Tar shards on a web server: the same items and draws as on a disk, and network failures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from core.data import has_held_out, open_dataset, remote
from core.data.check import main
from core.data.remote import facts_of, url_of
from core.data.shards.files import _remote_headers
from core.errors import DataError
from core.paths import cache_folder
from tests.core.data.datasets.test_published import refusal
from tests.helpers import published_layouts as made
from tests.helpers.web_server import Server, serve

TRAIN = "train-{000..001}.tar"
BOTH = "{train-000,train-001,val-000}.tar"


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty cache, no pauses, and no proxy."""
    monkeypatch.setenv("REGVQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(remote, "PAUSE_S", 0.0)
    forget()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return made.shards(tmp_path / "shards")


@pytest.fixture(params=[True, False], ids=["parts", "whole"])
def server(shards: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    with serve(shards, parts=request.param) as running:
        yield running


def forget() -> None:
    """Forget all facts and indices, as in a new process."""
    facts_of.cache_clear()
    _remote_headers.cache_clear()


def test_items_and_draws_equal_those_of_local_files(server: Server, shards: Path) -> None:
    near = open_dataset("shards", shards / TRAIN, size=8, seed=3)
    # A command's flag is a Path, which merges the two slashes of an address into one.
    far = open_dataset("shards", Path(f"{server.address}/{TRAIN}"), size=8, seed=3)
    assert len(far) == 10
    for index in range(10):
        here, there = near[index], far[index]
        assert torch.equal(here.image, there.image)
        assert torch.equal(here.segmentation, there.segmentation)
        assert (here.captions, here.label) == (there.captions, there.label)
    for k in (0, 3, 17, 4, 99):
        assert torch.equal(near.draw(k).image, far.draw(k).image)
        assert near.draw(k).caption == far.draw(k).caption != ""


def test_splits_and_several_patterns(server: Server) -> None:
    root = f"{server.address}/{BOTH}"
    assert [len(open_dataset("shards", root, split=s)) for s in ("train", "val", "test")] == [
        10,
        2,
        2,
    ]
    assert has_held_out("shards", Path(root))
    joined = f"{server.address}/{TRAIN}::{server.address}/val-000.tar?key={'1' * 400}"
    assert len(open_dataset("shards", joined, split="val")) == 2
    assert not has_held_out("shards", f"{server.address}/{TRAIN}")


def test_each_worker_has_its_own_connections(server: Server, shards: Path) -> None:
    far = open_dataset("shards", f"{server.address}/{TRAIN}", size=8)
    near = open_dataset("shards", shards / TRAIN, size=8)
    loader = DataLoader(_Draws(far), batch_size=None, num_workers=2, multiprocessing_context="fork")
    far.draw(0)  # opens a connection of this process, which workers must not use
    for k, image in enumerate(loader):
        assert torch.equal(image, near.draw(k).image)


class _Draws(torch.utils.data.Dataset):
    def __init__(self, data: object) -> None:
        self.data = data

    def __len__(self) -> int:
        return 12

    def __getitem__(self, k: int) -> torch.Tensor:
        return self.data.draw(k).image


def test_only_parts_are_requested(tmp_path: Path) -> None:
    """Headers are read in place, an item is one request, and nothing is copied."""
    members = []
    for number in range(4):
        members += [(f"{number}.png", made.encoded(made.picture(number)))]
        members += [(f"{number}.npy", bytes(300_000)), (f"{number}.txt", b"words")]
    made.tar(tmp_path / "web" / "a.tar", members)
    with serve(tmp_path / "web") as server:
        data = open_dataset("shards", f"{server.address}/a.tar", size=8)
        whole = (tmp_path / "web" / "a.tar").stat().st_size
        assert server.sent < whole / 4
        before = len(server.asked)
        data.draw(0)
        assert len(server.asked) == before + 2  # the picture and, too far from it, its text
        for _ in range(3):
            assert data.draw(0).caption == "words"
        assert len(server.asked) == before + 2  # both are remembered
    assert not (cache_folder() / "shards").exists()


def test_an_item_is_one_request(shards: Path) -> None:
    with serve(shards) as server:
        data = open_dataset("shards", f"{server.address}/{TRAIN}", size=8)
        before = len(server.asked)
        sample = data[7]
        assert len(server.asked) == before + 1
        assert sample.caption and sample.segmentation is not None and sample.label == 7


def test_the_index_is_kept_until_the_shard_changes(shards: Path) -> None:
    with serve(shards) as server:
        root = f"{server.address}/{TRAIN}"
        assert len(open_dataset("shards", root)) == 10
        first = len(server.asked)
        forget()
        assert len(open_dataset("shards", root)) == 10
        assert len(server.asked) == first + 2  # one request per shard: is it still the same?
        (shards / "train-001.tar").write_bytes((shards / "val-000.tar").read_bytes())
        forget()
        assert len(open_dataset("shards", root)) == 7
        (next((cache_folder() / "index").iterdir())).write_text("[[1")
        forget()
        assert len(open_dataset("shards", root)) == 7


def test_copies_are_made_once_and_bounded(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (shards / "train-000.tar").stat().st_size
    with serve(shards, parts=False) as server:
        data = open_dataset("shards", f"{server.address}/{TRAIN}", size=8)
        copies = cache_folder() / "shards"
        assert len(list(copies.glob("*.tar"))) == 2
        downloads = len(server.asked)
        data[0], data[9], data[0]
        assert len(server.asked) == downloads
        monkeypatch.setenv("REGVQ_CACHE_GB", str(1.5 * size / 1e9))
        for copy in copies.glob("*.tar"):
            copy.unlink()
        for index in (3, 1, 9, 8, 2):  # from the first shard, the second, the first
            data[index]
            assert len(list(copies.glob("*.tar"))) == 1
        assert len(server.asked) == downloads + 3
        assert not list(copies.glob("*.part"))
        monkeypatch.setenv("REGVQ_CACHE_GB", str(0.5 * size / 1e9))
        for copy in copies.glob("*.tar"):
            copy.unlink()
        with pytest.raises(DataError, match=r"train-000\.tar has .* GB, but copies may take only"):
            data[0]
        monkeypatch.setenv("REGVQ_CACHE_GB", "much")
        with pytest.raises(DataError, match="REGVQ_CACHE_GB is 'much'"):
            data[0]


@pytest.mark.parametrize("failures", [[503], [0], [429, 500, 0, 502]])
def test_temporary_failures_are_retried(server: Server, failures: list[int]) -> None:
    data = open_dataset("shards", f"{server.address}/{TRAIN}", size=8)
    for copy in (cache_folder() / "shards").glob("*.tar"):
        copy.unlink()
    server.failures += failures
    assert data[3].label == 3 and not server.failures and not data.broken


@pytest.mark.parametrize(
    ("failures", "words"),
    [
        ([500] * 5, "train-000.tar could not be read in 5 attempts (HTTP status 500)"),
        ([0] * 5, "train-000.tar could not be read in 5 attempts"),
        ([403], "train-000.tar was refused (HTTP status 403)"),
        ([404], "train-000.tar does not exist (HTTP status 404)"),
    ],
)
def test_lasting_failures_stop_with_one_sentence(
    server: Server, failures: list[int], words: str
) -> None:
    data = open_dataset("shards", f"{server.address}/{TRAIN}?signature=secret", size=8)
    for copy in (cache_folder() / "shards").glob("*.tar"):
        copy.unlink()
    server.failures += failures
    with pytest.raises(DataError) as caught:
        data[3]
    said = str(caught.value)
    assert words in said and "\n" not in said and said.endswith(".") and "secret" not in said
    assert not data.broken  # no picture is broken, so none is skipped


@pytest.mark.parametrize("left", [0, 100, 512 + 200, 512 * 9 + 10, "members"])
def test_truncated_shards_are_named(server: Server, shards: Path, left: int | str) -> None:
    file = shards / "train-001.tar"
    data = file.read_bytes()
    if left == "members":
        left = max(i for i in range(0, len(data), 512) if any(data[i : i + 512])) + 512
    file.write_bytes(data[:left])
    assert f"{server.address}/train-001.tar" in refusal("shards", f"{server.address}/{TRAIN}")


def test_a_shard_that_changes_during_a_run_stops_it(shards: Path) -> None:
    with serve(shards) as server:
        data = open_dataset("shards", f"{server.address}/{TRAIN}", size=8)
        (shards / "train-000.tar").write_bytes(bytes(10_240))
        with pytest.raises(DataError, match=r"train-000\.tar changed while it was in use"):
            data[0]


def test_broken_members_are_named_by_address(tmp_path: Path) -> None:
    made.tar(tmp_path / "a.tar", [("1.png", b"nothing")])
    with serve(tmp_path) as server:
        message = refusal("shards", f"{server.address}/a.tar")
        assert f"files in {server.address} cannot" in message
        assert "a.tar/1.png is not a picture" in message


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("{at}/train-{{000..002}}.tar", "train-002.tar does not exist (HTTP status 404)"),
        ("{at}/", "is not a tar file"),
        ("{at}/a.tar.gz", "compressed"),
        ("pipe:curl {at}/train-000.tar", "are not run"),
        ("xyz://bucket/a.tar", "unsupported scheme; give https://"),
        ("s3://bucket/a.tar", "s3://bucket/a.tar cannot be opened: Install s3fs to access S3."),
        ("file:///a/b.tar", "is a file of this machine: give its path alone"),
        ("http://127.0.0.1:9/a.tar", "could not be read in 5 attempts"),
        ("http://:x/a.tar", "a.tar"),
    ],
)
def test_wrong_addresses(shards: Path, root: str, words: str) -> None:
    with serve(shards) as server:
        assert words in refusal("shards", Path(root.format(at=server.address)))


def test_remote_shards_can_be_checked(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(shards) as server:
        assert main(["check", "shards", "--root", f"{server.address}/{BOTH}"]) == 0
        said = capsys.readouterr().out
        assert "train: 10 items, 10 read" in said and "val: 2 items, 2 read" in said
        assert main(["check", "shards", "--root", f"{server.address}/gone.tar"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {server.address}/gone.tar does not exist")


def test_addresses() -> None:
    assert url_of(Path("https://a.b/c d.tar")) == "https://a.b/c d.tar"
    assert url_of("HTTP:/a/b") == "http://a/b"
    for local in ("c/d.tar", "/c/d.tar", "c:/d.tar", "."):
        assert url_of(local) is None
