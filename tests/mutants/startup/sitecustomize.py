"""Make a process import one module of the project with a changed source.

Python imports ``sitecustomize`` when it starts. With this folder in PYTHONPATH, the processes that
a test starts (``train/run.py``, loaders) run the change, too: REGVQ_MUTANT holds the module's name,
its file, and the file of the changed source, separated as paths are.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType


class Changed(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """A finder and loader of one module.

    ``name``: the module as the project calls it; another package name for the same file counts,
    too. ``file``: where the module stands. ``source``: the text that is run instead.
    """

    def __init__(self, name: str, file: Path, source: str) -> None:
        self.last, self.file, self.source = name.rpartition(".")[2], str(file), source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: object = None
    ) -> ModuleSpec | None:
        """Return the module's spec with the changed source; None for every other module."""
        if fullname.rpartition(".")[2] != self.last:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path)
        if found is None or found.origin != self.file:
            return None
        found.loader = self
        return found

    def get_source(self, fullname: str) -> str:
        """Return the changed source."""
        return self.source

    def get_code(self, fullname: str) -> CodeType:
        """Return the changed source as code of the module's own file, as a traceback shows it."""
        return compile(self.source, self.file, "exec", dont_inherit=True)


if change := os.environ.get("REGVQ_MUTANT"):
    module, of_file, text = change.split(os.pathsep)
    sys.meta_path.insert(0, Changed(module, Path(of_file), Path(text).read_text(encoding="utf-8")))
