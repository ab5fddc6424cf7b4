"""Helpers of the commands, also on platforms without the modules of POSIX."""

from __future__ import annotations

import math
import mmap
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.paths import ROOT
from tests.helpers import fresh
from train.cli import common
from train.cli.common import (
    bundle_name,
    evenly_spaced,
    extra_peak,
    pick_device,
    program,
    worker_start_method,
)
from train.cli.errors import UsageError

COMMANDS = ("run", "encode", "evaluate", "judge", "patches", "publish", "study")


def test_indices_are_spread_evenly() -> None:
    assert evenly_spaced(10, 4) == [0, 2, 5, 7]
    assert evenly_spaced(3, 7) == evenly_spaced(3, None) == [0, 1, 2]


def test_a_bundle_has_the_name_of_its_run(tmp_path: Path) -> None:
    assert bundle_name(tmp_path / "photos" / "bundle") == "photos"
    assert bundle_name(tmp_path / "photos") == "photos"


def test_a_device_that_is_missing_is_named() -> None:
    assert pick_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="--device warp cannot be used here: "):
        pick_device("warp")


def test_the_peak_of_a_call_is_measured() -> None:
    size, page = 60_000_000, 4096

    def take() -> None:
        with mmap.mmap(-1, size) as block:  # fresh pages: the heap may hold freed ones
            for start in range(0, size, page):
                block[start] = 1

    assert extra_peak(take) > 3e7


def no_proc(*_: object, **__: object) -> None:
    raise FileNotFoundError("/proc")


def test_without_proc_and_resource_the_peak_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak is NaN on Windows."""
    monkeypatch.setattr(Path, "write_text", no_proc)
    monkeypatch.setitem(sys.modules, "resource", None)
    called = []
    assert math.isnan(extra_peak(lambda: called.append(1))) and called == [1]


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd", 1024)])
def test_without_proc_the_peak_is_that_of_the_process(
    platform: str, unit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = iter((100, 140))
    usage = SimpleNamespace(
        RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=next(peaks))
    )
    monkeypatch.setattr(Path, "write_text", no_proc)
    monkeypatch.setitem(sys.modules, "resource", usage)
    monkeypatch.setattr(common.sys, "platform", platform)
    assert extra_peak(lambda: None) == 40 * unit


@pytest.mark.parametrize(("platform", "method"), [("linux", "fork"), ("darwin", None),
                                                  ("win32", None)])  # fmt: skip
def test_workers_are_forked_only_on_linux(
    platform: str, method: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common.sys, "platform", platform)
    assert worker_start_method(2) == method and worker_start_method(0) is None


def test_a_command_is_named_as_it_was_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert program("run") == "python train/run.py"
    monkeypatch.setattr(common, "__name__", "regvq_train.cli.common")
    assert program("run") == "python -m regvq_train.run"
    monkeypatch.setattr(common.sys, "argv", ["/usr/bin/regvq-train"])
    assert program("run") == "regvq-train" and program("study") == "python -m regvq_train.study"


@pytest.mark.parametrize("command", [*COMMANDS, "export_tokenizer", "import_tokenizer"])
def test_a_command_names_the_packages_that_it_lacks(command: str) -> None:
    """In a process of its own: here, another test may have imported the command before."""
    code = (
        "import importlib, sys\n"
        "sys.modules['tyro'] = sys.modules['accelerate'] = None\n"
        f"importlib.import_module('train.{command}').main([])"
    )
    done = fresh.run(["-c", code], ROOT)
    assert done.returncode == 2
    assert done.stderr == (
        "error: training needs accelerate, tyro: pip install 'regvq-studio[train]'\n"
    )


@pytest.mark.parametrize(
    ("command", "how"), [*((command, "file") for command in COMMANDS), ("run", "module")]
)
def test_commands_start_without_the_modules_of_posix(command: str, how: str) -> None:
    """Every command prints its help, as a file and as a module."""
    start = (
        f"runpy.run_path({str(ROOT / 'train' / (command + '.py'))!r}, run_name='__main__')"
        if how == "file"
        else f"runpy.run_module('train.{command}', run_name='__main__', alter_sys=True)"
    )
    place = ROOT / "train" if how == "file" else ROOT
    code = (
        "import sys, runpy\n"
        "for name in ('resource', 'fcntl', 'pwd', 'grp', 'termios'):\n"
        "    sys.modules[name] = None\n"
        f"sys.path[0] = {str(place)!r}\n"
        f"sys.argv = ['{command}', '--help']\n{start}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage: python train/" + command in done.stdout
