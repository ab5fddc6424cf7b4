"""The processes of a run: launchers, shares of a batch, and lost connections."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.errors import CheckpointError
from train.cli.errors import UsageError
from train.loop import processes
from train.loop.processes import accelerator, lost_connection, share_of


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("accelerate launch --num_processes 4 train/run.py", "4"),
        ("accelerate launch --num-processes=3 train/run.py", "3"),
        ("accelerate launch -n 2 train/run.py", "2"),
        ("accelerate launch -n=6", "6"),
        ("accelerate launch --cpu train/run.py --steps 9", None),
    ],
)
def test_the_number_of_processes_is_that_of_the_launcher(
    line: str, count: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, Any]] = []

    def place(path: str) -> SimpleNamespace:
        def text(**how: Any) -> str:
            read.append((path, how))
            return line.replace(" ", "\0") + "\0"

        return SimpleNamespace(read_text=text)

    monkeypatch.setattr(processes, "Path", place)
    monkeypatch.setattr(processes.os, "getppid", lambda: 4321)
    assert processes._asked_of_accelerate() == count
    assert read == [("/proc/4321/cmdline", {"encoding": "utf-8"})]


@pytest.mark.parametrize("error", [OSError(), ValueError()])
def test_without_a_readable_command_line_the_number_is_unknown(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: str) -> Any:
        raise error

    monkeypatch.setattr(processes, "Path", failing)
    assert processes._asked_of_accelerate() is None


@pytest.mark.parametrize(
    ("variables", "asked"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "1"}, True),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, False),
        ({"MASTER_ADDR": "1"}, False),
        ({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "1", "LOCAL_RANK": "0"}, False),
        ({"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "1", "RANK": "0"}, False),
        ({}, False),
    ],
)
def test_a_launcher_that_starts_one_process_of_several_is_named(
    variables: dict[str, str], asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "LOCAL_RANK", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes._was_asked_for_several() is asked
    if asked:
        monkeypatch.setattr(processes, "_asked_of_accelerate", lambda: "3")
        monkeypatch.setattr(sys, "argv", ["train/run.py", "--out", "a folder"])
        command = "`torchrun --nproc_per_node 3 train/run.py --out 'a folder'`"
        with pytest.raises(UsageError, match="starts only one process") as caught:
            accelerator()
        assert command in str(caught.value)


def test_the_command_of_a_program_is_named_without_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_asked_of_accelerate", lambda: None)
    monkeypatch.setattr(sys, "argv", [str(Path("/usr/bin/regvq-train")), "scenes-vq"])
    assert processes._torchrun_command() == (
        "torchrun --nproc_per_node N --no-python regvq-train scenes-vq"
    )
    assert "--nproc_per_node 5 " in processes._torchrun_command(5)


def test_accelerators_that_torch_has_or_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not processes._has("no_such_module")
    for is_there in (True, False):
        module = SimpleNamespace(is_available=lambda value=is_there: value)
        monkeypatch.setattr(torch, "imaginary", module, raising=False)
        assert processes._has("imaginary") is is_there


@pytest.mark.parametrize(("total", "parts"), [(12, 1), (12, 3), (12, 12)])
def test_shares_of_a_step(total: int, parts: int) -> None:
    assert share_of(total, parts, Path("out")) * parts == total


def test_steps_that_cannot_be_shared_name_the_fitting_numbers() -> None:
    with pytest.raises(CheckpointError, match="start it with 1 or 2 or 3 or 4 or 6 or 12 proc"):
        share_of(12, 5, Path("out"))
    with pytest.raises(CheckpointError, match="with 1 or 61 processes"):
        share_of(61, 2, Path("out"))
    with pytest.raises(CheckpointError, match="with 1 or 2 or 4 or 8 or 16 or 32 or 64 proc"):
        share_of(128, 3, Path("out"))
    with pytest.raises(CheckpointError, match="with 1 or 2 or 5 or 10 or 13 or 26 proc"):
        share_of(130, 3, Path("out"))  # numbers up to 64 are named


@pytest.mark.parametrize(
    ("launched", "made", "has", "on_cpu"),
    [(1, 1, False, False), (1, 4, False, False), (2, 2, False, True), (2, 2, True, False)],
)
def test_several_processes_without_an_accelerator_train_on_the_processors(
    launched: int, made: int, has: bool, on_cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of processes are compared only where a launcher has stated one."""
    asked: list[dict[str, Any]] = []
    started = SimpleNamespace(num_processes=made)
    monkeypatch.setattr(processes, "Accelerator", lambda **how: asked.append(how) or started)
    monkeypatch.setattr(processes, "launched_processes", lambda: launched)
    monkeypatch.setattr(processes, "_was_asked_for_several", lambda: False)
    monkeypatch.setattr(processes, "_has", lambda name: has and name == "npu")
    assert accelerator() is started
    assert asked == [{"mixed_precision": "no", "cpu": on_cpu}]


def test_processes_that_would_each_train_alone_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = SimpleNamespace(num_processes=1)
    monkeypatch.setattr(processes, "Accelerator", lambda **_: alone)
    monkeypatch.setattr(processes, "launched_processes", lambda: 3)
    monkeypatch.setattr(sys, "argv", ["train/run.py", "scenes-vq"])
    with pytest.raises(UsageError, match="3 processes were started, but 1 would train") as caught:
        accelerator()
    assert "`torchrun --nproc_per_node 3 train/run.py scenes-vq`" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[1] Connection closed by peer [127.0.0.1]"), True),
        (RuntimeError("Connection reset by peer"), True),
        (RuntimeError("Broken pipe"), True),
        (RuntimeError("NCCL error"), True),
        (RuntimeError("third_party/gloo/gloo/transport"), True),
        (torch.distributed.DistBackendError("of another kind"), True),
        (RuntimeError("a shape does not fit"), False),
    ],
)
def test_lost_connections_are_told_from_other_errors(
    error: RuntimeError, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not lost_connection(error), "a run of one process has no connection"
    for size in (2, 3):
        monkeypatch.setattr(processes, "world_size", lambda size=size: size)
        assert lost_connection(error) is lost
