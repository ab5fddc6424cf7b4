"""The lines that a run prints at its start, word for word."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from train.config.base import CommonConfig
from train.loop import announcement as module
from train.loop.announcement import announcement
from train.loop.provenance import hardware


def said(
    step: int = 0, last: int = 100, processes: tuple[int, int] = (1, 1), half: bool = False
) -> list[str]:
    config = CommonConfig(recipe="small", steps=2000, batch=8, save_every=1500)
    facts = {"data": "scenes: 24 pictures"}
    words = announcement(
        config, Path("runs/one"), facts, torch.device("cpu"), half, processes, step, last
    )
    return words.splitlines()


def test_every_line() -> None:
    assert said(last=2000) == [
        "small:",
        f"  device     cpu ({hardware()}), float32, 1 process",
        "  data       scenes: 24 pictures",
        "  steps      2,000 of 8 pictures; a checkpoint every 1,500",
        "  to         runs/one",
    ]


@pytest.mark.parametrize(
    ("step", "last", "words"),
    [
        (0, 1200, "stops after step 1,200"),
        (1000, 2000, "goes on at step 1,001"),
        (1000, 1200, "goes on at step 1,001, stops after step 1,200"),
        (1199, 1200, "goes on at step 1,200, stops after step 1,200"),
        (1200, 1200, "is at step 1,200 already: the checkpoint is written again"),
        (1300, 1200, "is at step 1,300 already: the checkpoint is written again"),
        (2000, 2000, "is at step 2,000 already: the checkpoint is written again"),
    ],
)
def test_the_last_line_says_where_the_run_is(step: int, last: int, words: str) -> None:
    assert said(step, last)[5:] == [words]


@pytest.mark.parametrize(
    ("processes", "device", "steps"),
    [
        ((1, 1), "1 process", "2,000 of 8 pictures; a checkpoint"),
        ((1, 2), "2 processes", "2,000 of 8 pictures, now on 2 processes; a checkpoint"),
        ((2, 2), "2 processes", "2,000 of 16 pictures (8 on each of 2 processes); a checkpoint"),
        ((3, 1), "1 process",
         "2,000 of 24 pictures (8 on each of 3 processes), now on 1 process; a checkpoint"),
    ],
)  # fmt: skip
def test_processes(processes: tuple[int, int], device: str, steps: str) -> None:
    lines = said(last=2000, processes=processes, half=True)
    assert lines[1].endswith(f", bfloat16 autocast, {device}")
    assert steps in lines[3]


def test_hardware_names_a_processor_and_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from train.loop import provenance

    assert module.hardware is provenance.hardware
    name, comma, threads = hardware().rpartition(", ")
    assert name.strip() and comma and threads == f"{torch.get_num_threads()} threads"
    for processor, machine, wanted in (("", "x86_64", "x86_64"), ("M4", "arm64", "M4")):
        monkeypatch.setattr(provenance.platform, "processor", lambda p=processor: p)
        monkeypatch.setattr(provenance.platform, "machine", lambda m=machine: m)
        monkeypatch.setattr(
            provenance, "Path", lambda _: SimpleNamespace(read_text=lambda **_: "flags: none")
        )
        assert provenance.hardware.__wrapped__().startswith(f"{wanted}, ")
