"""Shards and pictures at places that fsspec speaks to beside the web, tried on its memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from core.data import has_held_out, open_dataset, remote
from core.data.contents import identity_of, summary
from core.data.datasets.remote_folder import RemoteFolder, _listed
from core.data.remote import read_part, redact_query, without_keys
from core.errors import DataError
from core.paths import cache_folder
from tests.core.data.datasets.test_published import refusal, shows
from tests.core.data.shards import test_streamed
from tests.helpers import published_layouts as made

_fresh = test_streamed._fresh  # an empty cache, no pauses


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    _listed.cache_clear()
    yield system
    system.store.clear()


def put(system: MemoryFileSystem, folder: Path, place: str) -> None:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            system.pipe_file(f"{place}/{file.relative_to(folder).as_posix()}", file.read_bytes())


@pytest.mark.parametrize(
    "root",
    ["bucket/sets", "bucket/sets/train-{000..001}.tar", "bucket/*/train-*.tar",
     "bucket/sets/train-000.tar::memory://bucket/sets/train-001.tar"],
)  # fmt: skip
def test_shards_in_a_bucket(tmp_path: Path, memory: MemoryFileSystem, root: str) -> None:
    """A folder that is listed, braces, a pattern, and several joined; only the index is kept."""
    near = made.shards(tmp_path / "shards")
    put(memory, near, "/bucket/sets")
    far = open_dataset("shards", Path(f"memory://{root}"), size=8, seed=3)
    here = open_dataset("shards", near, size=8, seed=3)
    assert len(far) == len(here) == 10
    for k in range(10):
        assert shows(far[k], k) and torch.equal(far.draw(k).image, here.draw(k).image)
    assert not (cache_folder() / "shards").exists()
    assert has_held_out("shards", "memory://bucket/sets")


def test_a_shard_that_changes_in_a_bucket(tmp_path: Path, memory: MemoryFileSystem) -> None:
    put(memory, made.shards(tmp_path / "shards"), "/b")
    data = open_dataset("shards", "memory://b", size=8)
    memory.pipe_file("/b/train-000.tar", bytes(10))
    with pytest.raises(DataError, match=r"memory://b/train-000\.tar changed while it was in use"):
        data[0]
    remote.facts_of.cache_clear()
    assert "memory://b/train-000.tar is truncated" in refusal("shards", "memory://b").replace(
        "the shard ", ""
    )


def test_pictures_in_a_bucket(memory: MemoryFileSystem) -> None:
    """A folder of pictures with splits; what a plain folder holds, too."""
    for index in range(6):
        split = "train" if index < 4 else "val"
        memory.pipe_file(f"/b/{split}/deep/{index}.png", made.encoded(made.picture(index)))
    memory.pipe_file("/b/train/5.heic", b"no")
    memory.pipe_file("/b/readme.txt", b"no")
    data = open_dataset("folder", Path("memory://b"), size=8)
    assert isinstance(data, RemoteFolder) and len(data) == 4
    assert [shows(data[k], k) for k in range(4)] == [True] * 4
    assert len(open_dataset("folder", "memory://b", split="test")) == 2
    assert has_held_out("folder", Path("memory://b"))
    assert not has_held_out("folder", Path("memory://b/train"))
    said = summary(data, "train")
    assert said.startswith("folder, train: 4 items in memory://b;") and "1 .heic" in said
    before = identity_of(data)
    memory.pipe_file("/b/train/deep/0.png", made.encoded(made.picture(3)) + b" ")
    _listed.cache_clear()
    assert identity_of(open_dataset("folder", "memory://b", size=8)) != before


def test_broken_and_missing_pictures_in_a_bucket(memory: MemoryFileSystem) -> None:
    memory.pipe_file("/b/1.png", b"nothing")
    assert "memory://b cannot be read" in refusal("folder", "memory://b")
    memory.pipe_file("/b/1.png", made.encoded(made.picture(1)))
    _listed.cache_clear()
    data = open_dataset("folder", "memory://b", size=8)
    memory.rm("/b/1.png")
    with pytest.raises(DataError, match=r"memory://b/1\.png does not exist; check the address"):
        data[0]


@pytest.mark.parametrize(
    ("name", "root", "words"),
    [
        ("folder", "memory://none", "memory://none holds no pictures"),
        ("shards", "memory://none", "there are no tar shards at memory://none; give a folder"),
        ("shards", "memory://none/a.tar", "memory://none/a.tar does not exist; check"),
        ("folder", "https://name:word@a.b/c?key=1", "https://a.b/c is on a web server, which does"),
        ("folder", "s3://bucket/photos", "s3://bucket/photos cannot be opened: Install s3fs"),
    ],
)
def test_sentences(memory: MemoryFileSystem, name: str, root: str, words: str) -> None:
    assert words in refusal(name, root)


def test_attempts_and_other_errors(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe_file("/b/a", b"0123456789")
    assert read_part("memory://b/a", 3, 4) == b"3456"
    fails: list[Exception] = []
    cat = MemoryFileSystem.cat_file

    def failing(self: MemoryFileSystem, path: str, **how: object) -> bytes:
        if fails:
            raise fails.pop()
        return cat(self, path, **how)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", failing)
    fails += [ConnectionError("gone"), TimeoutError()]
    assert read_part("memory://b/a", 0, 1) == b"0" and not fails
    fails += [ConnectionError("gone")] * 5
    with pytest.raises(DataError, match=r"could not be read in 5 attempts \(gone\); check"):
        read_part("memory://b/a", 0, 1)
    fails += [PermissionError("no")]
    with pytest.raises(DataError, match=r"memory://b/a was refused; check that you may"):
        read_part("memory://b/a", 0, 1)
    fails += [TypeError("a defect")]
    with pytest.raises(TypeError):
        read_part("memory://b/a", 0, 1)


def test_names_and_passwords_are_not_shown() -> None:
    assert redact_query("https://name:word@host/a@b?key=1") == "https://host/a@b"
    assert redact_query("s3://bucket/a") == "s3://bucket/a"
    words = "--data.root=https://n:w@h/a-{0..1}.tar?key=1::https://h/b.tar?key=2::s3://b/c?.tar"
    assert without_keys(words) == (
        "--data.root=https://h/a-{0..1}.tar::https://h/b.tar::s3://b/c?.tar"
    )
    assert without_keys("what?") == "what?"
