"""The last lines of a run: the place of everything, and the commands that come next."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from regvq.paths import IN_TREE, ROOT

from .columns import ColumnsConfig
from .common import program

if TYPE_CHECKING:
    from ..config.base import CommonConfig


def closing_lines(config: CommonConfig, out: Path, best: int | None) -> list[str]:
    """Return the lines that name the files of the finished run in ``out``, and what to type next.

    ``best``: the step of the best validation, whose checkpoint is in ``out/best``.
    """
    folder = shlex.quote(str(out))
    lines = []
    if best is not None and (out / "best").exists():
        lines.append(f"the best checkpoint, of step {best:,}, is {out / 'best'}")
    lines += [
        f"log: {out / 'log.jsonl'}; samples: {out / 'samples'}; state: {out / 'state'}",
        "next:",
        *([f"  tensorboard --logdir {folder}"] if "tensorboard" in config.tracker else []),
        f"  {_explorer(out)}",
        f"  {program('evaluate')} --checkpoint {folder} {_data(config)} --out report.json",
    ]
    if not hasattr(config, "prior"):
        tokens = shlex.quote(str(out.with_name(out.name + "-tokens")))
        lines.append(f"  {program('encode')} --checkpoint {folder} {_data(config)} --out {tokens}")
    return lines


def _explorer(out: Path) -> str:
    """Return the command that opens the explorer with the run among its checkpoints."""
    command = "python app.py" if IN_TREE else "regvq-app"
    if out.resolve().parent == (ROOT / "runs").resolve():
        return command
    return f"REGVQ_CHECKPOINTS={shlex.quote(str(out.resolve()))} {command}"


def _data(config: CommonConfig) -> str:
    root = config.data.root
    flags = f"--data.name {config.data.name}"
    if root is not None:
        flags += f" --data.root {shlex.quote(str(root))}"
    for name in (each.name for each in fields(ColumnsConfig)):
        if (value := getattr(config.data, name)) is not None:
            flags += f" --data.{name.replace('_', '-')} {shlex.quote(value)}"
    return flags
