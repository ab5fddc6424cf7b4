"""A folder of the process's own for uploads and published pictures.

Gradio's default is one folder for all servers of a machine, with equal paths for equal files, and a
server that ends deletes the files that it has shown: those of another server, too, whose pages then
miss their picture.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

_START = "regvq-uploads-"
SPARED = 300.0
"""Seconds for which a file is kept, however many there are: its page is about to show it."""
PAUSE = 30.0
"""Seconds between two looks at the folder."""


def use_own_folder() -> Path | None:
    """Let Gradio keep files in a new folder of this process; return it.

    Returns None if GRADIO_TEMP_DIR names a folder already. The folder is deleted when the process
    ends, and those of processes that were killed when the next one starts.
    """
    if os.environ.get("GRADIO_TEMP_DIR"):
        return None
    _delete_orphans(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"{_START}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def keep_within(folder: Path, most: int) -> int:
    """Delete the oldest files below ``folder`` until it holds ``most`` bytes; return its bytes.

    Files younger than SPARED seconds stay. Visitors make files faster than Gradio deletes them, and
    the disk, or the memory that a temporary folder often is, has an end.
    """
    files = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # deleted meanwhile
            if path.is_file() and not path.is_symlink():
                found = path.stat()
                files.append((found.st_mtime, found.st_size, path))
    size, before = sum(each for _, each, _ in files), time.time() - SPARED
    for written, bytes_, path in sorted(files, key=lambda file: file[0]):
        if size <= most or written > before:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            size -= bytes_
    return size


def watch(folder: Path, most: int) -> None:
    """Keep a folder within ``most`` bytes for as long as the process runs."""
    while folder.exists():
        keep_within(folder, most)
        time.sleep(PAUSE)


def _delete_orphans(root: Path) -> None:
    """Delete the folders of processes that are gone; they may be another user's, who keeps them."""
    if os.name != "posix":  # elsewhere asking for a process would end it
        return
    for folder in root.glob(f"{_START}*-*"):
        number = folder.name.removeprefix(_START).partition("-")[0]
        if not number.isdecimal() or folder.is_symlink():
            continue
        with contextlib.suppress(OSError, OverflowError):
            try:
                os.kill(int(number), 0)
            except ProcessLookupError:
                if folder.stat().st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)
