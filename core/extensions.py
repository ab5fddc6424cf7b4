"""Python files of your own that add quantizers and data sets, without a change to this package.

Such a file calls ``regvq.quantizers.register_quantizer`` or ``regvq.data.register_dataset`` when it
is imported. ``python train/run.py --recipe FILE.py:NAME`` imports it for a training run; everywhere
else, the explorer included, the environment variable REGVQ_EXTENSIONS names the files. They are
imported when a bundle or a command asks for a quantizer or a data set of an unknown name. No file
is ever imported because a bundle names it: only its owner's command line and environment decide.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any


class ExtensionError(ValueError):
    """A Python file of the user's that cannot be imported, or a registration that is refused."""


VARIABLE = "REGVQ_EXTENSIONS"
"""Files, with the system's path separator between them."""
_loaded: set[str] = set()


def load_extensions() -> None:
    """Import the files that REGVQ_EXTENSIONS names, each once. Raises ExtensionError."""
    for text in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        if text not in _loaded:
            load_file(Path(text))
            _loaded.add(text)


def load_file(file: Path) -> ModuleType:
    """Import a Python file under its own name and return its module; again, the same module.

    Its folder is appended to the module path, so that worker processes can import it, too, and the
    file can import its neighbors. Raises ExtensionError, one sentence with the file, if it does not
    exist, has the name of another module, or raises when it is imported.
    """
    file = file.expanduser()
    if not file.is_file() or file.suffix != ".py":
        problem = "is not a Python file" if file.exists() else "does not exist"
        raise ExtensionError(f"{file} {problem}; name a file that ends with .py")
    path, name = file.resolve(), file.stem
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
        importlib.invalidate_caches()
    if not name.isidentifier() or _file_of(name) != path:
        raise ExtensionError(
            f"{file} cannot be imported as {name!r}, which is the name of another module or not an "
            "identifier; rename the file"
        )
    try:
        return importlib.import_module(name)
    except SyntaxError as error:
        place = f"{error.filename or file}" + (f", line {error.lineno}" if error.lineno else "")
        raise ExtensionError(f"{place}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        raise ExtensionError(f"{describe_error(error, path)}") from error


def describe_error(error: BaseException, file: Path) -> str:
    """Return an exception in one line: its type, its message, and where it left ``file``."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == file]
    where = f"{file.name}, line {lines[-1]}" if lines else file.name
    said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":.")
    return f"{where}: {said}"


def same_definition(a: Any, b: Any) -> bool:
    """Return True if two classes or functions have one definition, in a file that was loaded twice
    (as a script and as a module)."""
    files = [getattr(sys.modules.get(each.__module__), "__file__", None) for each in (a, b)]
    return a.__qualname__ == b.__qualname__ and files[0] is not None and files[0] == files[1]


def _file_of(name: str) -> Path | None:
    """Return the file that ``import name`` loads or has loaded."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        origin = getattr(loaded, "__file__", None)
    else:
        spec = importlib.util.find_spec(name)
        origin = spec.origin if spec is not None and spec.has_location else None
    return Path(origin).resolve() if origin else None
