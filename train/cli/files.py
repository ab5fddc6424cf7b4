"""Files that a command writes: pictures, and the lock on the folder that it writes to."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from regvq.bundles.replacement import write_bytes
from regvq.bundles.storage import write_json

from .errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

LOCK, HOLDER = ".lock", ".lock.json"
"""The files of a locked folder: the lock, and the process that holds it."""
WAIT = 2.0
"""Seconds for the loading processes of a run that was killed to notice it and give up its lock."""


def save_picture(picture: Image, file: Path) -> None:
    """Write a PNG file as a whole. Raises OSError, which names the file."""
    stream = io.BytesIO()
    picture.save(stream, "png")
    write_bytes(file, stream.getvalue())


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold the lock on ``folder``, so that no other process writes to it; the folder is made.

    Yields True; of several processes of one run, the first holds the lock, and False is yielded in
    the others. The system gives a lock up when its process ends, however it ends. Raises
    UsageError, which names the process that holds it.
    """
    from filelock import FileLock, Timeout

    if int(os.environ.get("RANK", "0")):
        yield False
        return
    made = _make(folder)
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=WAIT)
    except Timeout:
        raise UsageError(
            f"{folder} is in use by {_holder(folder)}; wait until it has finished, stop it, or "
            "choose another --out."
        ) from None
    except NotImplementedError:
        print(f"WARNING: {folder} is on a file system without locks: start one process only.")
        yield True
        return
    try:
        write_json(folder / HOLDER, _this_process())
        yield True
    finally:
        with contextlib.suppress(OSError):
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()
        if made and {entry.name for entry in folder.iterdir()} <= {LOCK}:
            with contextlib.suppress(OSError):  # the command ended before it wrote anything
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()


def _make(folder: Path) -> bool:
    """Make a folder; return False if it exists."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; choose another --out.")
    existed = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return not existed


def _this_process() -> dict[str, object]:
    program = shlex.join([Path(sys.executable).name, *sys.argv])
    return {"pid": os.getpid(), "host": platform.node(), "since": time.time(), "command": program}


def _holder(folder: Path) -> str:
    """Return a description of the process that holds a folder's lock."""
    try:
        found = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["since"]))
        return f"process {found['pid']} on {found['host']} since {since} ({found['command']})"
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return "another process"
