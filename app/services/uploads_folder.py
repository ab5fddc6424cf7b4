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
from pathlib import Path

_START = "regvq-uploads-"


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
