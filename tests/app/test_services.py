"""The rooms of the app: services know no Gradio, and every room imports only those below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.paths import ROOT

APP = ROOT / "app"
BELOW = {
    "services": {"services"},
    "guard": {"guard", "services"},
    "ui": {"guard", "services", "ui"},
    "tabs": {"services", "ui", "tabs"},
    "access": {"access", "guard"},
    "shell": {"services", "ui", "tabs"},
    "server": {"access", "guard", "services", "ui", "tabs", "shell"},
    "": {"shell"},  # app/__init__.py
}
"""Each room of app/ and the rooms that it may import."""


def imports_of(file: Path) -> Iterator[str]:
    """Yield every module that a file imports, also inside functions and for typing: absolute names,
    and relative ones as ``app.room.module``."""
    package = ("app", *file.relative_to(APP).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            parts = [*base, *([node.module] if node.module else [])]
            yield from (".".join([*parts, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


FILES = sorted(APP.rglob("*.py"))


def room_of(file: Path) -> str:
    first = file.relative_to(APP).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def test_the_app_has_these_rooms() -> None:
    assert {room_of(file) for file in FILES} == set(BELOW)
    assert sum(room_of(file) == "services" for file in FILES) > 20


@pytest.mark.parametrize(
    "file", [file for file in FILES if room_of(file) == "services"], ids=lambda file: file.stem
)
def test_services_do_not_import_gradio(file: Path) -> None:
    found = set(imports_of(file))
    assert not {name for name in found if name.split(".")[0] in ("gradio", "gradio_client")}
    # The library is imported by its installed name, the app relatively: both work as a wheel.
    assert not {name for name in found if name.split(".")[0] == "core"}


@pytest.mark.parametrize(
    "file", [file for file in FILES if room_of(file) == "guard"], ids=lambda file: file.stem
)
def test_the_guard_imports_gradio_only_when_it_is_needed(file: Path) -> None:
    """``python app.py --help`` answers at once."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        slow = ("gradio", "fastapi", "starlette", "torch")
        assert not {name for name in names if name.split(".")[0] in slow}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(APP)))
def test_rooms_import_only_rooms_below_them(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] not in ("app", "regvq_app"), "be relative"
    inside = [name.split(".") for name in imports_of(file) if name.startswith("app.")]
    rooms = {parts[1] for parts in inside}
    assert rooms <= BELOW[room_of(file)]


def test_importing_every_service_does_not_import_gradio() -> None:
    import subprocess
    import sys

    names = [f"app.services.{file.stem}" for file in FILES if room_of(file) == "services"]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name.removesuffix('.__init__'))\n"
        "print(sorted({'gradio', 'torch', 'umap', 'plotly'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
