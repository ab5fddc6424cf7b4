"""Each server has its own folder of uploads, which goes with it."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from app.services import uploads_folder
from app.services.uploads_folder import keep_within, use_own_folder
from core.paths import ROOT


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_gradio_keeps_files_in_a_folder_of_the_process(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradio.utils import get_upload_folder

    at_the_end: list[object] = []
    monkeypatch.setattr(atexit, "register", lambda *call, **named: at_the_end.append(call))
    folder = use_own_folder()
    assert folder is not None and folder.parent == root and folder.is_dir()
    assert str(os.getpid()) in folder.name and get_upload_folder() == str(folder)
    assert at_the_end[0][1] == folder
    assert use_own_folder() is None  # it is named now


def test_a_folder_that_the_owner_names_is_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(root / "mine"))
    assert use_own_folder() is None and os.environ["GRADIO_TEMP_DIR"] == str(root / "mine")


@pytest.mark.skipif(os.name != "posix", reason="needs process numbers of POSIX")
def test_folders_of_killed_processes_are_deleted_and_nothing_else(root: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    orphan = root / f"regvq-uploads-{ended.pid}-abc"
    alive = root / f"regvq-uploads-{os.getpid()}-abc"
    others = [root / "regvq-uploads-x-abc", root / "uploads-1-abc", root / f"{ended.pid}-abc"]
    for folder in (orphan, alive, *others):
        folder.mkdir()
        (folder / "picture.png").write_bytes(b"")
    use_own_folder()
    assert not orphan.exists()
    assert all((folder / "picture.png").exists() for folder in (alive, *others))


def test_the_folder_goes_with_the_process(root: Path) -> None:
    code = (
        "from app.services.uploads_folder import use_own_folder\n"
        "folder = use_own_folder()\n(folder / 'picture.png').write_bytes(b'x')\nprint(folder)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GRADIO_TEMP_DIR"}
    environment["TMPDIR"] = str(root)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    folder = Path(done.stdout.strip())
    assert folder.parent == root and not folder.exists(), done.stderr


def test_the_oldest_files_go_when_there_are_too_many(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file has 1,000 bytes; the newest ones are about to be shown."""
    now = time.time()
    files = []
    for number, age in enumerate([4000, 3000, 2000, 1000, 10, 5]):
        file = root / f"{number % 2}" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(1000))
        os.utime(file, (now - age, now - age))
        files.append(file)
    outside = root.parent / f"{root.name}-outside.png"
    outside.write_bytes(bytes(1000))
    (root / "link.png").symlink_to(outside)

    def left() -> list[int]:
        return [number for number, file in enumerate(files) if file.exists()]

    assert keep_within(root, 6000) == 6000 and left() == [0, 1, 2, 3, 4, 5]
    assert keep_within(root, 4500) == 4000 and left() == [2, 3, 4, 5]
    assert keep_within(root, 0) == 2000 and left() == [4, 5]
    assert outside.exists()
    rounds = iter([lambda: None, lambda: shutil.rmtree(root)])
    monkeypatch.setattr(uploads_folder, "SPARED", 0.0)
    monkeypatch.setattr(uploads_folder.time, "sleep", lambda seconds: next(rounds)())
    uploads_folder.watch(root, 1000)  # ends when the folder is gone
