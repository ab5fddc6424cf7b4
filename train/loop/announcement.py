"""The words of a run at its start: what it is going to do, on what, and where to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ..config.base import CommonConfig
from .provenance import hardware


def announcement(
    config: CommonConfig,
    out: Path,
    facts: Mapping[str, str],
    device: torch.device,
    half: bool,
    processes: tuple[int, int],
    step: int,
    last: int,
) -> str:
    """Return the lines of a run that takes the steps after ``step`` up to ``last``.

    ``facts``: those of a tokenizer or a prior. ``processes``: those of the start, and those of now.
    """
    started, now = processes
    each = f" ({config.batch} on each of {started} processes)" if started > 1 else ""
    precision = "bfloat16 autocast" if half else "float32"
    lines = {
        "device": f"{device.type} ({hardware()}), {precision}, {_processes(now)}",
        **facts,
        "steps": f"{config.steps:,} of {config.batch * started} pictures{each}"
        f"{'' if now == started else f', now on {_processes(now)}'}; a checkpoint every "
        f"{config.save_every:,}",
        "to": str(out),
    }
    text = [f"{config.recipe}:", *(f"  {name:<10} {value}" for name, value in lines.items())]
    until = f"stops after step {last:,}" if last < config.steps else ""
    if step >= last:
        text.append(f"is at step {step:,} already: the checkpoint is written again")
    elif step:
        text.append(f"goes on at step {step + 1:,}{', ' if until else ''}{until}")
    elif until:
        text.append(until)
    return "\n".join(text)


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"
