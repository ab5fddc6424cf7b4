"""Time and memory of a tokenizer's step with --accumulate, --checkpointing and --compile.

``python benchmarks/flags.py`` takes steps of the trainer with each flag in turn, on the CPU or on
the GPU that there is, and prints a Markdown table: the least seconds of a step, on a CPU those that
the processor worked, and the peak memory of a process of its own above that of the trainer before
its first step, with the gradients and moments, which are the same for all flags, and with what the
compiler takes. Losses of features and discriminator are off: their networks are not checkpointed,
and the discriminator is not compiled.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.threads import wait_passively

wait_passively()

from apart import call_apart  # noqa: E402
from gpu_setup import Setup  # noqa: E402
from measured_runs import pictures, run_of  # noqa: E402

FLAGS: dict[str, dict[str, Any]] = {
    "none": {},
    "accumulate": {"accumulate": 4},
    "checkpointing": {"checkpointing": True},
    "both": {"accumulate": 4, "checkpointing": True},
    "compile": {"compile": True},
}
CASES = {"scenes-regvq": (64, 32), "imagenet128-simvq-65k": (64, 8)}
"""Recipes, with the side of the pictures and the batch at which they are measured."""


class Steps:
    """A trainer with some flags, and steps of it on drawn noise."""

    def __init__(self, recipe: str, flags: str, side: int, batch: int, folder: Path) -> None:
        from train.config.tokenizer import FeatureConfig
        from train.recipes import config_of

        loss = replace(config_of(recipe).loss, perceptual=0.0, contrastive="none", adversarial=0.0)
        changes = {"loss": loss, "features": FeatureConfig(name="none"), **FLAGS[flags]}
        self.trainer = run_of(recipe, folder / flags, size=side, batch=batch, workers=0,
                              changes=changes)  # fmt: skip
        self.images = pictures(self.trainer)
        self.device, self.taken = Setup(self.trainer.device.type), 0

    def __call__(self) -> float:
        """Take a step; return the seconds that the processor worked for it, or those of a GPU."""
        clock = time.perf_counter if self.device.on_gpu else time.process_time
        start = clock()
        self.trainer.step(self.images, self.taken)
        self.device.wait()
        self.taken += 1
        return clock() - start


def megabytes(recipe: str, flags: str, side: int, batch: int) -> float:
    """Return the peak memory of the first two steps, above that of the trainer before them."""
    with tempfile.TemporaryDirectory() as folder:
        step = Steps(recipe, flags, side, batch, Path(folder))
        return step.device.peak(lambda: (step(), step())) / 1e6


def seconds(
    recipe: str, names: Sequence[str], side: int, batch: int, rounds: int
) -> dict[str, tuple[float, float]]:
    """Return the seconds of the first step and the least of a later one, by flags.

    Steps of all flags take turns, so that what else the machine does falls on all of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        steps = {name: Steps(recipe, name, side, batch, Path(folder)) for name in names}
        first = {name: step() for name, step in steps.items()}
        taken = [{name: step() for name, step in steps.items()} for _ in range(rounds)]
    return {name: (first[name], min(each[name] for each in taken)) for name in names}


def _words(flags: str) -> str:
    words = " ".join(f"--{name} {x if x is not True else ''}" for name, x in FLAGS[flags].items())
    return f"`{' '.join(words.split())}`" if words else "none"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--flags", nargs="+", default=list(FLAGS), choices=list(FLAGS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", type=int, help="side of the pictures; default: that of the case")
    parser.add_argument("--batch", type=int, help="default: that of the case")
    asked = parser.parse_args()
    print("| run | flags | seconds of a step | MB | seconds of the first step |")
    print("|---|---|---|---|---|")
    for case in asked.cases:
        side, batch = CASES[case]
        side, batch = asked.size or side, asked.batch or batch
        times = seconds(case, asked.flags, side, batch, asked.rounds)
        for flags in asked.flags:
            peak = call_apart("flags:megabytes", recipe=case, flags=flags, side=side, batch=batch)
            first, step = times[flags]
            print(
                f"| {case}, {batch} pictures of {side} px | {_words(flags)} | {step:.2f} "
                f"| {peak:,.0f} | {first:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
