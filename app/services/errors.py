"""The error that a user of the explorer reads."""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path

_ABSOLUTE = re.compile(r"(?<![\w:/\\.])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"():;,]+[/\\])+")
"""The folders of an absolute path without spaces, up to its last name."""


class UserError(ValueError):
    """A request that cannot be fulfilled; its text is one sentence for the user."""


def without_paths(text: str) -> str:
    """Return a sentence with the last two names of each absolute path, or only its last one.

    A visitor is told which file is wrong, but not where the server keeps it.
    """
    for folder in sorted(map(str, _known_folders()), key=len, reverse=True):
        text = re.sub(rf"(?<![\w/]){re.escape(folder)}[/\\]", "", text)  # it may hold spaces
    return _ABSOLUTE.sub("", text)


def _known_folders() -> set[Path]:
    """Return the folders in which the server keeps checkpoints, settings and uploads."""
    from regvq.bundles.bundle import CHECKPOINTS, RUNS
    from regvq.bundles.sources import search_paths
    from regvq.paths import ROOT

    folders = {CHECKPOINTS.parent, RUNS.parent, ROOT, Path.cwd(), Path(tempfile.gettempdir())}
    folders |= {path.root.parent for path in search_paths()}
    with contextlib.suppress(RuntimeError):
        folders.add(Path.home())
    return {folder for folder in folders if len(folder.parts) > 1}
