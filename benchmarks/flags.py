"""Time and memory of a tokenizer's step with --accumulate, --checkpointing and --compile.

``python benchmarks/flags.py`` takes steps of the trainer with each flag, each in its own process,
on the CPU or on the GPU that there is, and prints a Markdown table. Memory is the peak above that
of the trainer before its first step, with the gradients and moments, which are the same for all
flags, and with what the compiler takes. Losses of features and discriminator are off: their
networks are not checkpointed, and the discriminator is not compiled.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.threads import wait_passively

FLAGS: dict[str, dict[str, Any]] = {
    "none": {},
    "accumulate": {"accumulate": 4},
    "checkpointing": {"checkpointing": True},
    "both": {"accumulate": 4, "checkpointing": True},
    "compile": {"compile": True},
}
CASES = {"scenes-regvq": (64, 32), "imagenet128-simvq-65k": (64, 4)}
"""Recipes, with the side of the pictures and the batch at which they are measured."""


def measure(recipe: str, flags: str, side: int, batch: int, steps: int) -> dict[str, float]:
    """Return seconds and processor seconds per step, those of the first step, and megabytes."""
    import torch

    from train.cli.common import extra_peak
    from train.config.tokenizer import FeatureConfig
    from train.loop.tokenizer import TokenizerTrainer
    from train.recipes import config_of

    run = config_of(recipe)
    data = replace(run.data, name="scenes", root=None, size=side, last_size=None, workers=0)
    data = replace(data, aspect=4 / 3)
    loss = replace(run.loss, perceptual=0.0, contrastive="none", adversarial=0.0)
    run = replace(
        run, data=data, loss=loss, features=FeatureConfig(name="none"), batch=batch,
        **FLAGS[flags],
    )  # fmt: skip
    seconds: list[float] = []
    worked: list[float] = []  # seconds of all threads, which other programs hardly change
    with tempfile.TemporaryDirectory() as folder:
        trainer = TokenizerTrainer(run, Path(folder))
        images = torch.rand(batch, 3, side, side) * 2 - 1
        cuda = trainer.device.type == "cuda"

        def step() -> None:
            start, before = time.perf_counter(), time.process_time()
            trainer.step(images, len(seconds))
            if cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
            worked.append(time.process_time() - before)

        def two() -> None:  # the first one compiles, and makes gradients and moments
            step()
            step()

        if cuda:
            before = torch.cuda.memory_allocated()
            two()
            peak = float(torch.cuda.max_memory_allocated() - before)
        else:
            peak = extra_peak(two)
        for _ in range(steps):
            step()
    found = {"step": median(seconds[2:]), "worked": median(worked[2:])}
    return found | {"first": seconds[0], "megabytes": peak / 1e6}


def _words(flags: str) -> str:
    words = " ".join(f"--{name} {x if x is not True else ''}" for name, x in FLAGS[flags].items())
    return f"`{' '.join(words.split())}`" if words else "none"


def main() -> None:
    """Print the table."""
    wait_passively()
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--flags", nargs="+", default=list(FLAGS), choices=list(FLAGS))
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--size", type=int, help="side of the pictures; default: that of the case")
    parser.add_argument("--batch", type=int, help="default: that of the case")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(**json.loads(asked.one))))
        return
    print("| run | flags | s per step | processor s per step | MB | first step, s |")
    print("|---|---|---|---|---|---|")
    for case in asked.cases:
        side, batch = CASES[case]
        side, batch = asked.size or side, asked.batch or batch
        for flags in asked.flags:
            job = {"recipe": case, "flags": flags, "side": side, "batch": batch}
            done = subprocess.run(
                [sys.executable, __file__, "--one", json.dumps(job | {"steps": asked.steps})],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                print(
                    f"| {case} | {flags} | failed: {done.stderr.strip().splitlines()[-1]} | | | |"
                )
                continue
            found = json.loads(done.stdout.strip().splitlines()[-1])
            print(
                f"| {case}, {batch} pictures of {side} px | {_words(flags)} | {found['step']:.2f} "
                f"| {found['worked']:.2f} | {found['megabytes']:,.0f} | {found['first']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
