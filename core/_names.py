"""Two names of one library: ``core``, its folder in the tree, and ``regvq``, its installed name.

In the source tree, and in an editable installation, both names can be imported. Each module must be
loaded only once: otherwise there would be two classes ``Tokenizer``, and an instance of one would
not be an instance of the other. The name that is imported first owns the modules, and the other
name is an alias: ``import regvq.x`` returns the module ``core.x`` itself. A package that is loaded
as ``regvq`` alone has one name, and this module is not used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType


class _AliasFinder(MetaPathFinder, Loader):
    """A finder that imports the module ``OWNER.x.y`` as ``ALIAS.x.y``."""

    def __init__(self, alias: str, owner: str) -> None:
        self.alias, self.owner = alias, owner

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{self.alias}."):
            return None
        owned = self._owned_spec(fullname)
        if owned is None:
            return None  # no other finder has it either: an error that states ``fullname``
        is_package = owned.submodule_search_locations is not None
        return ModuleSpec(fullname, self, origin=owned.origin, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        # The import system returns the entry of sys.modules after a module has been executed. But
        # another thread that imports the same name meanwhile is given ``module`` itself, and so
        # it must have the names, too.
        name = module.__name__
        owned = importlib.import_module(self._owned_name(name))
        vars(module).update(vars(owned))
        sys.modules[name] = owned

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the code of a module, for ``python -m``."""
        owned = self._owned_spec(fullname)
        if owned is None or not isinstance(owned.loader, InspectLoader):
            return None
        return owned.loader.get_code(owned.name)

    def _owned_name(self, fullname: str) -> str:
        return self.owner + fullname[len(self.alias) :]

    def _owned_spec(self, fullname: str) -> ModuleSpec | None:
        return importlib.util.find_spec(self._owned_name(fullname))


def share_modules() -> None:
    """Make ``core`` and ``regvq`` one module; called by ``core`` while it is imported."""
    loaded = sys.modules.get("regvq")
    # While regvq.py of the source tree imports core, it is a module without a path.
    is_package = loaded is not None and loaded.__name__ == "regvq" and hasattr(loaded, "__path__")
    owner, alias = ("regvq", "core") if is_package else ("core", "regvq")
    sys.modules[alias] = sys.modules[owner]
    sys.meta_path.insert(0, _AliasFinder(alias, owner))
