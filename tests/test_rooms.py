"""The shape of the project, read from its syntax trees: no circle of imports, and none upwards.

Imports inside functions and for typing count as any other: what must not be known above a room may
not be known lazily either.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.paths import ROOT

TOPS = ("core", "train", "app")
LIBRARY = {"regvq": "core", "regvq_app": "app", "regvq_train": "train"}
"""The names of the installed packages and their folders."""

FLOORS = (
    ("core._names", "core.errors", "core.paths", "core.malloc", "core.threads", "core.config",
     "core.color", "core.formats", "core.orientation", "core.channels", "core.batching",
     "core.distributed", "core.extensions", "core.extras", "core.host_values", "core.plain"),
    ("core.images", "core.arrays", "core.masks", "core.bundles"),
    ("core.networks", "core.quantizers"),
    ("core.data",),
    ("core.tokenizer",),
    ("core.conditions", "core.losses"),
    ("core.priors", "core.judges", "core.interop"),
    ("core.metrics", "core.checkpoints"),
    ("core.analysis", "core.cards"),
    ("core.importing", "core.exporting", "core.plots"),
    ("core",),  # the package itself, which only passes names on
)  # fmt: skip
"""The rooms of the library from the ground up. A room may use its own floor and those below."""


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """Each module of the project, and the modules of the project that it imports anywhere."""
    files = [file for top in TOPS for file in (ROOT / top).rglob("*.py")]
    modules = {module_of(file): file for file in files}
    return {name: set(imported_by(file, modules)) for name, file in modules.items()}


def imported_by(file: Path, modules: dict[str, Path]) -> Iterator[str]:
    name = module_of(file)
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                ups = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*ups, base] if base else ups)
            wanted = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in wanted:
            top, _, rest = target.partition(".")
            target = f"{LIBRARY.get(top, top)}.{rest}" if rest else LIBRARY.get(top, top)
            while target not in modules and "." in target:
                target = target.rpartition(".")[0]  # a name of a module, not a module
            if target in modules and target != name:
                yield target


def floor_of(module: str) -> int:
    while module:
        for number, rooms in enumerate(FLOORS):
            if module in rooms:
                return number
        module = module.rpartition(".")[0]
    raise AssertionError("a module of core that stands on no floor")


def test_there_is_no_circle_of_imports(imports):
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            pytest.fail("circle: " + " -> ".join((*way[way.index(name) :], name)))
        if name not in done:
            for target in sorted(imports[name]):
                visit(target, (*way, name))
            done.add(name)

    for name in sorted(imports):
        visit(name, ())
    assert len(done) == len(imports) > 200


def test_the_tops_know_only_what_is_below_them(imports):
    allowed = {"core": {"core"}, "train": {"core", "train"}, "app": {"core", "app"}}
    wrong = {
        f"{name} -> {target}"
        for name, targets in imports.items()
        for target in targets
        if target.partition(".")[0] not in allowed[name.partition(".")[0]]
    }
    assert not wrong


def test_no_room_of_the_library_imports_upwards(imports):
    wrong = {
        f"{name} -> {target}"
        for name, targets in imports.items()
        if name.partition(".")[0] == "core"
        for target in targets
        if floor_of(target) > floor_of(name)
    }
    assert not wrong
