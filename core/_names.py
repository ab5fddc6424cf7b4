"""One library under two names: ``core``, its folder in the source tree, and ``regvq``, its name
where it is installed.

In the tree (and in an editable installation of it) both names can be imported. Each module must be
loaded once all the same: otherwise there would be two classes ``Tokenizer``, and an instance of one
would be none of the other. The name that is imported first owns the modules; the other is an alias.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType


class _AliasFinder(MetaPathFinder, Loader):
    """Resolves ``ALIAS.x.y`` to the module ``OWNER.x.y`` itself."""

    def __init__(self, alias: str, owner: str) -> None:
        self.alias, self.owner = alias, owner

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname.startswith(f"{self.alias}.") else None

    def exec_module(self, module: ModuleType) -> None:
        # The import system returns what stands in sys.modules after a module has been executed.
        sys.modules[module.__name__] = importlib.import_module(self._owned(module.__name__))

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code of a module, for ``python -m``."""
        spec = importlib.util.find_spec(self._owned(fullname))
        loader = spec.loader if spec is not None else None
        return loader.get_code(spec.name) if hasattr(loader, "get_code") else None

    def _owned(self, name: str) -> str:
        return self.owner + name[len(self.alias) :]


def share_modules() -> None:
    """Make ``core`` and ``regvq`` one module; called by ``core`` while it is imported."""
    owner, alias = ("regvq", "core") if "regvq" in sys.modules else ("core", "regvq")
    if owner == "regvq" and getattr(sys.modules["regvq"], "__path__", None) is None:
        owner, alias = "core", "regvq"  # regvq.py, which is importing us
    sys.modules[alias] = sys.modules[owner]
    sys.meta_path.insert(0, _AliasFinder(alias, owner))
