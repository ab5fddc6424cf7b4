"""Kill real runs at random: ``python -m tests.faults [--kills N] [--seed S]``.

Tokenizers, NSVQ's stages, priors and encodings are killed at random calls of the file system, in
the middle of writes, after random times, and several times in a row; then bytes are flipped. A
table is printed, and the exit code is 1 if anything was lost or silent.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .flips import read_prior, read_shards, read_tokenizer, try_flips
from .injection import Fault
from .runs import Task, make_task, pictures
from .server import Server
from .table import TABLE
from .trials import try_errors, try_kills


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials and print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="kills of runs")
    parser.add_argument("--seed", type=int, default=0, help="seed of the places")
    flags = parser.parse_args(arguments)
    server = Server()
    try:
        _try_all(server, flags.kills, flags.seed)
    except KeyboardInterrupt:
        print("stopped")
    finally:
        print(TABLE)
        server.close()
    return 0 if TABLE.is_clean else 1


def _try_all(server: Server, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tasks = _tasks(server, place)
        killed, shown = 0, time.monotonic()
        while killed < kills:
            task = tasks[killed % len(tasks)]
            faults = _random_faults(draw, task)
            try_kills(server, task, place / "run", faults, f"kill, {task.name}")
            killed += len(faults)
            if time.monotonic() - shown > 30:
                print(f"{killed} of {kills} kills", flush=True)
                shown = time.monotonic()
        for _ in range(kills // 10):
            task = draw.choice(tasks)
            fault = Fault(draw.randrange(10, task.whole.calls), draw.choice(("ENOSPC", "EDQUOT")))
            try_errors(server, task, place / "run", fault, "full disk or quota")
        bundle = place / "tokenizer" / "bundle"
        try_flips("flip, tokenizer", bundle, read_tokenizer, 20, seed)
        try_flips("flip, prior", place / "prior" / "bundle", read_prior, 20, seed)
        try_flips("flip, shards", place / "encode", read_shards, 20, seed)


def _tasks(server: Server, place: Path) -> list[Task]:
    data, bundle = pictures(place / "data"), place / "tokenizer"
    root = ("--data.root", data)
    encoded = ("--data.name", "folder", *root, "--data.size", 16, "--shard", 2, "--device", "cpu")
    read = ("--tokenizer", bundle, "--tokens", place / "encode", *root)
    return [
        make_task(server, "tokenizer", bundle, *root),
        make_task(server, "nsvq", place / "nsvq", *root),
        make_task(server, "encode", place / "encode", "--checkpoint", bundle, *encoded),
        make_task(server, "prior", place / "prior", *read),
    ]


def _random_faults(draw: random.Random, task: Task) -> list[Fault | float]:
    """Return one kill, or up to three in a row."""
    faults: list[Fault | float] = []
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(1, task.whole.calls + 1)
        exchange = draw.random() < 0.7
        kinds = (Fault(at, "kill", exchange), Fault(at, "tear", exchange), draw.uniform(0.05, 1.5))
        faults.append(draw.choices(kinds, (6, 2, 2))[0])
    return faults


if __name__ == "__main__":
    sys.exit(main())
