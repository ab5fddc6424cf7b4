"""Loading of training pictures, and encoding of a data set into token shards.

``python benchmarks/run.py --only loading`` loads batches of 32 crops as the trainer does: drawn
scenes, and photographs from a folder of JPEG files of 256 pixels that it writes. Then it encodes
scenes by ``train/encode.py`` and the shipped tokenizer, in batches as the command's defaults are.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from apart import call_apart
from company import CORES
from pages import table

FILES, SIDE, BATCH = 400, 64, 32
CHECKPOINT = "scenes-regvq"


def write_photographs(folder: Path, count: int, side: int = 256) -> None:
    """Write ``count`` drawn scenes as JPEG files."""
    from core.data import open_dataset
    from core.images import to_pictures

    drawn = open_dataset("scenes", size=side, split="test")
    for index in range(count):
        picture = to_pictures(drawn[index % len(drawn)].image[None])[0]
        picture.save(folder / f"{index:04d}.jpg", quality=92)


def batches(name: str, root: str | None, workers: int, seconds: float, batch: int) -> float:
    """Return the pictures per second that training gets from its loader."""
    import torch

    from core.data import open_dataset
    from train.loop.draws import Batches

    torch.set_num_threads(1)
    crop = {} if name == "scenes" else {"crop": (0.5, 1.0)}
    data = open_dataset(name, root and Path(root), size=SIDE, split="train", **crop)
    stream = iter(Batches(data, batch, 0, 0, 1, workers))
    for _ in range(2 * workers + 1):  # starts the workers and fills their tables
        next(stream)
    count, started = 0, time.perf_counter()
    while not count or time.perf_counter() - started < seconds:
        count += len(next(stream))
    return count / (time.perf_counter() - started)


def encoded(count: int, side: int, workers: int, threads: int) -> float:
    """Return the pictures per second of ``train/encode.py``, from the start to the last shard."""
    import torch

    from core.paths import ROOT
    from train.encoding.encode import encode
    from train.encoding.flags import DataFlags, EncodeFlags

    torch.set_num_threads(threads)
    bundle = ROOT / "checkpoints" / CHECKPOINT

    def run(limit: int, out: Path) -> float:
        flags = EncodeFlags(bundle, DataFlags("scenes", size=side), out, limit=limit,
                            workers=workers)  # fmt: skip
        started = time.perf_counter()
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            encode(flags)
        return time.perf_counter() - started

    with tempfile.TemporaryDirectory() as folder:
        run(2, Path(folder) / "first")  # imports modules and loads the weights
        return count / run(count, Path(folder) / "all")


def measure(tiny: bool = False) -> list[dict[str, Any]]:
    """Return a row per source and number of worker processes."""
    rows = []
    seconds, batch = (0.0, 2) if tiny else (5.0, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), 3 if tiny else FILES, 64 if tiny else 256)
        for name, root, words in (
            ("scenes", None, f"scenes, {SIDE} pixels"),
            ("folder", folder, f"JPEG files of 256 pixels, crops of {SIDE}"),
        ):
            for workers in (0,) if tiny else (0, 1, CORES):
                rate = call_apart("loading:batches", not tiny, name=name, root=root,
                                  workers=workers, seconds=seconds, batch=batch)  # fmt: skip
                rows.append({"task": words, "workers": workers, "pictures_per_second": rate})
    count, sides = (2, (16,)) if tiny else (1024, (64, 128))
    for side in sides:
        for workers in (0,) if tiny else (0, 1):
            rate = call_apart("loading:encoded", not tiny, count=count, side=side,
                              workers=workers, threads=1 if tiny else CORES)  # fmt: skip
            words = f"encode.py, {CHECKPOINT}, scenes of {side} pixels"
            rows.append({"task": words, "workers": workers, "pictures_per_second": rate})
    return rows


def tables(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown of the figures."""
    columns = {"task": "", "workers": "worker processes", "pictures_per_second.0": "pictures/s"}
    return table(columns, rows)
