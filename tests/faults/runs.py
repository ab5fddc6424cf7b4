"""The runs that faults are tried on, and their comparison with an undisturbed one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.bundles.bundle import find_bundle, list_bundles
from core.bundles.replacement import is_leftover, present
from core.bundles.storage import read_arrays, read_json
from core.paths import ROOT
from train.loop.record import _times

from .server import Ended, Server

RECIPES = ROOT / "tests" / "faults" / "recipes.py"
UNEQUAL = ("images_per_second",)
"""Entries of a log row that depend on the clock."""


def pictures(folder: Path, count: int = 6) -> Path:
    """Write small pictures, in ``train`` and ``test``, and return their folder."""
    draw = np.random.default_rng(0)
    for index in range(count):
        coarse = draw.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        file = folder / ("test" if index % 3 == 2 else "train") / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((24, 20), Image.Resampling.BICUBIC).save(file)
    return folder


@dataclass(frozen=True)
class Task:
    """A command that writes to a folder, and its result without a fault."""

    name: str
    command: str
    arguments: tuple[str, ...]
    whole: Ended
    """The end of the undisturbed command, with its calls and saves."""
    result: dict[str, Any]

    def flags(self, out: Path) -> list[str]:
        """Return the command line for the folder ``out``."""
        return [*self.arguments, "--out", str(out)]


def make_task(server: Server, name: str, folder: Path, *arguments: object) -> Task:
    """Run a command undisturbed in ``folder`` and return the task.

    ``name``: a recipe of ``tests/faults/recipes.py``, or "encode".
    """
    command = "encode" if name == "encode" else "run"
    own = () if name == "encode" else (f"{RECIPES}:{name}",)
    flags = (*own, *map(str, arguments))
    whole = server.run(command, [*flags, "--out", str(folder)], folder)
    assert whole.is_whole, whole.text
    return Task(name, command, flags, whole, result_of(folder))


def result_of(out: Path) -> dict[str, Any]:
    """Return what a finished run or a folder of shards holds, without times and speeds."""
    found: dict[str, Any] = {}
    for file in _files(out):
        name = file.relative_to(out).as_posix()
        if name.startswith("tensorboard/"):
            found.setdefault("tensorboard", []).extend(sorted(key for key, _ in _times(file)))
        elif name == "log.jsonl":
            found[name] = rows_of(file)
        elif name == "state/state.json":
            numbers = read_json(file)
            found[name] = [numbers["step"], numbers["broken"], numbers["fixed"]]
        elif name == "run.json":  # the command line of each start names its folder
            found[name] = {k: v for k, v in read_json(file).items() if k != "started"}
        elif name.endswith(".npz"):
            found[name] = {k: v.tolist() for k, v in read_arrays(file).items()}
        else:
            found[name] = file.read_bytes()
    return found


def rows_of(log: Path) -> list[dict[str, Any]]:
    """Return the rows of a log without what depends on the clock."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in UNEQUAL} for row in rows]


def differences(task: Task, out: Path) -> list[str]:
    """Return the names of what differs from the undisturbed run."""
    found = result_of(out)
    return sorted(
        name
        for name in found.keys() | task.result.keys()
        if found.get(name) != task.result.get(name)
    )


def _files(out: Path) -> Iterator[Path]:
    for file in sorted(out.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            yield file


def saved_step(out: Path) -> int:
    """Return the step of the state that the next start finds; 0 if there is none."""
    state = present(out / "state")
    return int(read_json(state / "state.json")["step"]) if state.exists() else 0


def check_readers(out: Path, had_bundle: bool) -> None:
    """Raise AssertionError unless a reader sees a whole bundle, if there was one, and no
    leftover."""
    listed = [bundle.name for bundle in list_bundles(out)]
    assert not any(is_leftover(name) for name in listed), listed
    if had_bundle:
        bundle = find_bundle(out)
        assert bundle.config["kind"] and (bundle.path / "model.safetensors").is_file()
        assert (out / "bundle").is_dir() and listed == ["bundle"]
