"""Files and folders that are replaced as a whole: readers, leftovers, modes, errors, order."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
import torch

from core.bundles import replacement
from core.bundles.bundle import find_bundle, list_bundles
from core.bundles.replacement import is_leftover, present, repair, replacing, write_bytes
from core.bundles.storage import rewrite_files, save_tensors, write_json
from core.checkpoints import load_tokenizer
from core.errors import CheckpointError
from tests.helpers.bundle_edits import unseal
from tests.helpers.tiny_prior_runs import tiny_tokenizer

posix = pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")


@pytest.fixture(params=["exchange", "renames"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The exchange of two names, and the renames of a system without it."""
    if request.param == "renames":
        monkeypatch.setattr(replacement, "_exchange_call", lambda: None)
    return request.param


@pytest.fixture(scope="module")
def prints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The fingerprints of two tokenizers as bundles hold them, in half precision."""
    folder = tmp_path_factory.mktemp("prints")
    saved = [tiny_tokenizer(seed).save_pretrained(folder / str(seed)) for seed in (0, 1)]
    return [load_tokenizer(bundle).fingerprint for bundle in saved]


def put(folder: Path, text: str) -> None:
    with replacing(folder) as fresh:
        (fresh / "file").write_text(text)


def test_a_folder_is_replaced_and_nothing_is_left(tmp_path: Path, either_way: str) -> None:
    for text in ("one", "two"):
        put(tmp_path / "x", text)
        assert (tmp_path / "x" / "file").read_text() == text
        assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_an_error_keeps_the_last_version(tmp_path: Path, either_way: str) -> None:
    put(tmp_path / "x", "one")
    with pytest.raises(RuntimeError), replacing(tmp_path / "x") as fresh:
        (fresh / "file").write_text("two")
        raise RuntimeError("stop")
    assert (tmp_path / "x" / "file").read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_reader_beside_a_writer_always_finds_a_bundle(
    tmp_path: Path, either_way: str, prints: list[str]
) -> None:
    """A thread replaces the bundle all the time; a reader finds it whole, and lists it only."""
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "b")
    end = threading.Event()

    def write() -> None:
        while not end.is_set():
            tokenizer.save_pretrained(tmp_path / "b")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(60):
            if either_way == "exchange":
                assert (tmp_path / "b" / "config.json").is_file()
            assert [bundle.name for bundle in list_bundles(tmp_path)] == ["b"]
            assert load_tokenizer(tmp_path / "b").fingerprint == prints[0]
    finally:
        end.set()
        writer.join()


def test_leftovers_are_not_listed_and_are_repaired(tmp_path: Path) -> None:
    for name in ("a", "b.new", "b.old", "c.old"):
        tiny_tokenizer().save_pretrained(tmp_path / "source")
        (tmp_path / "source").rename(tmp_path / name)
    assert [bundle.name for bundle in list_bundles(tmp_path)] == ["a", "b", "c"]
    assert find_bundle(tmp_path / "b").path == tmp_path / "b.old"  # the last whole version
    repair(tmp_path / "b")
    assert present(tmp_path / "b") == tmp_path / "b" and (tmp_path / "b").is_dir()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "b", "c.old"]
    assert is_leftover("atlas.new.npz") and not is_leftover("renewed")


@posix
def test_everything_is_on_the_disk_before_the_old_version_goes(
    tmp_path: Path, either_way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "x", "one")
    calls: list[str] = []
    fsync, rmtree = os.fsync, replacement.shutil.rmtree

    def synced(handle: int) -> None:
        calls.append(f"sync {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        fsync(handle)

    def removed(path: Path, **options: object) -> None:
        calls.append(f"remove {Path(path).name}")
        rmtree(path, **options)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the names of open files are read from /proc")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(replacement.shutil, "rmtree", removed)
    put(tmp_path / "x", "two")
    last = len(calls) - 1 - calls[::-1].index(f"sync {tmp_path.name}")
    assert calls.index("sync file") < calls.index("sync x.new") < last
    assert all(not call.startswith("remove") for call in calls[: last + 1])
    assert calls[-1] in ("remove x.new", "remove x.old")


@posix
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_have_the_mode_of_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        folder = tiny_tokenizer().save_pretrained(tmp_path / "b").path
        write_bytes(tmp_path / "bytes", b"x")
        save_tensors({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    finally:
        os.umask(before)
    for file in (*folder.iterdir(), tmp_path / "bytes", tmp_path / "x.safetensors"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask, file
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask


def test_files_of_others_in_a_bundle_are_kept(
    tmp_path: Path, either_way: str, prints: list[str]
) -> None:
    folder = tiny_tokenizer().save_pretrained(tmp_path / "b", card="one").path
    (folder / "LICENSE").write_text("terms")
    (folder / "more").mkdir()
    (folder / "more" / "picture.png").write_bytes(b"png")
    tiny_tokenizer(1).save_pretrained(folder, card="two")
    assert (folder / "LICENSE").read_text() == "terms"
    assert (folder / "more" / "picture.png").read_bytes() == b"png"
    assert (folder / "README.md").read_text() == "two"
    assert load_tokenizer(folder).fingerprint == prints[1]


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("words")
    with pytest.raises(CheckpointError, match="holds other files, and no bundle"):
        tiny_tokenizer().save_pretrained(tmp_path / "b")
    assert (tmp_path / "b" / "thesis.tex").read_text() == "words"


@posix
def test_a_link_to_a_bundle_stays_a_link(
    tmp_path: Path, either_way: str, prints: list[str]
) -> None:
    tiny_tokenizer().save_pretrained(tmp_path / "disk" / "b")
    (tmp_path / "b").symlink_to(tmp_path / "disk" / "b")
    tiny_tokenizer(1).save_pretrained(tmp_path / "b")
    assert (tmp_path / "b").is_symlink()
    assert load_tokenizer(tmp_path / "disk" / "b").fingerprint == prints[1]


def test_an_error_names_the_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes(tmp_path / "x", b"one")

    def full(stream: object, data: bytes) -> None:
        stream.write(data[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(replacement, "_write_all", full)
    for write in (replacement.write_bytes, replacement.append_bytes):
        with pytest.raises(OSError, match="No space left") as caught:
            write(tmp_path / "x", b"two and more")
        assert caught.value.filename == str(tmp_path / "x")
        assert (tmp_path / "x").read_bytes() == b"one"
        assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_checksums_follow_a_rewritten_file(tmp_path: Path) -> None:
    bundle = tiny_tokenizer().save_pretrained(tmp_path / "b")
    before = find_bundle(bundle.path).checksums
    rewrite_files(bundle.path, {"metrics.json": lambda file: write_json(file, {"psnr": 1.0})})
    assert find_bundle(bundle.path).checksums == before
    assert find_bundle(bundle.path).metrics == {"psnr": 1.0}
    (bundle.path / "model.safetensors").write_bytes(b"another checkpoint's")
    with pytest.raises(CheckpointError, match=r"model\.safetensors .*SHA-256 is not the one"):
        load_tokenizer(bundle.path)


def test_a_bundle_of_before_checksums_loads_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, prints: list[str]
) -> None:
    folder = tiny_tokenizer().save_pretrained(tmp_path / "b").path
    unseal(folder)
    caplog.set_level("INFO", "regvq")
    assert load_tokenizer(folder).fingerprint == prints[0]
    assert "is older than checksums" in caplog.text
