"""A simple model of large runs: hours, tokens, shards, and the next bottleneck.

``python benchmarks/scale.py`` prints what the ImageNet recipes and a hundred million pictures take
on 1, 8 and 64 GPUs. The operations of a step are counted from the recipes (``flops.py``); every
other input is a flag with its source below, so that a reader puts in the figures of the machine at
hand. ``--measure`` measures here what a processor core loads per second and what an item costs in
memory, and uses these figures. Nothing is measured on a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.threads import wait_passively

wait_passively()

from flops import StepCost, tokenizer_cost, transformer_cost  # noqa: E402

from train.recipes import config_of  # noqa: E402

RECIPES = {
    "imagenet128-simvq-65k": 4,
    "imagenet128-nsvq-65k": 4,
    "imagenet256-nsvq-65k": 4,
    "imagenet256-vq": 8,
}
"""The recipes of the table, and the GPUs for which their batch is meant (their docstrings)."""
IMAGENET, MANY = 1_281_167, 100_000_000
GPUS = (1, 8, 64)
PRIOR = {"width": 1024, "layers": 24, "heads": 16}
"""The transformer of the priors at the papers' scale (train/recipes/papers/priors.py)."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of the model beside the operations: each is a flag."""

    peak: float = 989.0
    """TFLOP/s of a GPU in bfloat16. NVIDIA's data sheet of the H100 SXM, without sparsity."""
    utilization: float = 0.45
    """Share of that peak that training reaches. Assumed."""
    loader: float = 250.0
    """Pictures per second that one processor core reads, decodes and crops to 256 pixels. Measured
    on the CPU of this project's machine (loading.py); see --measure."""
    cores: int = 16
    """Processor cores per GPU for loading. Assumed."""
    picture_kb: float = 115.4
    """Kilobytes per picture. ImageNet's training archive: 147.9 GB of 1,281,167 pictures."""
    shard_gb: float = 1.0
    """Gigabytes per tar shard. Assumed."""
    storage: float = 2.0
    """Gigabytes per second that storage gives to one machine of 8 GPUs. Assumed."""
    inside: float = 300.0
    """Gigabytes per second and GPU in which gradients are exchanged within a machine. Assumed: two
    thirds of NVLink's 450 in one direction."""
    network: float = 40.0
    """The same between machines. Assumed: four fifths of 400 Gbit/s per GPU."""
    item_bytes: float = 1000.0
    """Bytes of memory per picture of the index of tar shards, in each process. Measured on this
    project's machine (loading.py); see --measure."""
    memory_gb: float = 2000.0
    """Gigabytes of memory of a machine of 8 GPUs. Assumed."""


class Run(NamedTuple):
    """A run of the model: the pictures that it draws, their cost, and the pictures per step.

    ``tokens``: it reads token shards, which cost next to nothing, instead of pictures.
    """

    name: str
    pictures: float
    cost: StepCost
    batch: int
    tokens: bool = False


class Hours(NamedTuple):
    """The hours of a run by what limits it: the largest is the run's length."""

    compute: float
    loading: float
    storage: float
    gradients: float

    @property
    def run(self) -> float:
        """The hours of the run: everything overlaps, so that the slowest part decides."""
        return max(self)

    @property
    def limit(self) -> str:
        """The part that decides."""
        return self._fields[self.index(max(self))]

    @property
    def next(self) -> str:
        """The part that decides once the first is faster, and how much faster that may become."""
        first, second = sorted(self, reverse=True)[:2]
        return (
            f"{self._fields[self.index(second)]} ({_number(first / second)}x)" if second else "none"
        )


def hours(run: Run, gpus: int, given: Inputs) -> Hours:
    """Return how long a run takes on so many GPUs, by each part of it."""
    machines = max(1.0, gpus / 8)
    compute = run.pictures * run.cost.train / (gpus * given.peak * 1e12 * given.utilization)
    loading = 0.0 if run.tokens else run.pictures / (gpus * given.cores * given.loader)
    size = run.cost.tokens * run.cost.bytes_per_token if run.tokens else given.picture_kb * 1e3
    storage = run.pictures * size / (machines * given.storage * 1e9)
    # Each GPU sends and receives nearly twice its gradients (float32) per step, all-reduced.
    sent = 2 * (gpus - 1) / gpus * 4 * run.cost.parameters
    speed = given.inside if gpus <= 8 else given.network
    gradients = run.pictures / run.batch * sent / (speed * 1e9)
    return Hours(*(seconds / 3600 for seconds in (compute, loading, storage, gradients)))


@lru_cache(maxsize=1)
def recipe_runs() -> list[Run]:
    """Return the runs of the recipes as they are."""
    runs = []
    for name, meant in RECIPES.items():
        config = config_of(name)
        batch = config.batch * meant
        runs.append(Run(name, config.steps * batch, tokenizer_cost(config), batch))
    return runs


def table(runs: Sequence[Run], given: Inputs) -> list[str]:
    """Return a Markdown table of hours and limits."""
    lines = [
        "| run | pictures | TFLOP per picture | GPUs | hours | GPU days | limit | next |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        for gpus in GPUS:
            found = hours(run, gpus, given)
            lines.append(
                f"| {run.name} | {run.pictures / 1e6:,.0f} M | {run.cost.train / 1e12:.2f} "
                f"| {gpus} | {_number(found.run)} | {_number(found.run * gpus / 24)} "
                f"| {found.limit} | {found.next} |"
            )
    return lines


def many_runs(pictures: int, runs: Sequence[Run]) -> list[Run]:
    """Return runs of one epoch over so many pictures: the tokenizers, and a prior on their tokens.

    The batch is that of the recipe, but at least 4,096: 64 GPUs would otherwise hold few pictures.
    """
    chosen = {"imagenet128-nsvq-65k": 128, "imagenet256-nsvq-65k": 256}
    batch = 4096
    found = [
        Run(f"tokenizer, {chosen[run.name]} px, one epoch", pictures, run.cost, batch)
        for run in runs
        if run.name in chosen
    ]
    prior = transformer_cost(**PRIOR, tokens=256, codes=65_536)
    name = f"prior of {prior.parameters / 1e6:.0f} M weights, {prior.tokens} tokens, one epoch"
    return [*found, Run(name, pictures, prior, batch, tokens=True)]


def data_table(given: Inputs, runs: Sequence[Run]) -> list[str]:
    """Return a Markdown table of what a data set of a size is: bytes, shards, tokens, hours."""
    side = {"imagenet128-nsvq-65k": 128, "imagenet256-nsvq-65k": 256}
    lines = [
        "| pictures | GB | shards | tokens | GB of tokens | GPU hours to encode at 128, 256 px "
        "| GB of index per process |",
        "|---|---|---|---|---|---|---|",
    ]
    costs = [run.cost for run in runs if run.name in side]
    for pictures in (IMAGENET, MANY):
        gb = pictures * given.picture_kb / 1e6
        tokens = pictures * costs[0].tokens
        rate = given.peak * 1e12 * given.utilization
        encode = ", ".join(_number(pictures * cost.encode / rate / 3600) for cost in costs)
        lines.append(
            f"| {pictures:,} | {gb:,.0f} | {gb / given.shard_gb:,.0f} | {tokens / 1e9:.2f} G | "
            f"{tokens * costs[0].bytes_per_token / 1e9:.1f} | {encode} | "
            f"{pictures * given.item_bytes / 1e9:.1f} |"
        )
    return lines


def index_limit(given: Inputs, gpus: int = 8, processes: int = 9) -> float:
    """Return the number of pictures whose index fits the memory of a machine, with a training
    process per GPU and eight loading processes for each."""
    return given.memory_gb * 1e9 / (gpus * processes * given.item_bytes)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"


def document(given: Inputs) -> str:
    """Return the tables with their inputs."""
    runs = recipe_runs()
    inputs = ["| input | value |", "|---|---|"]
    inputs += [f"| {field.name} | {getattr(given, field.name):,g} |" for field in fields(given)]
    many = many_runs(MANY, runs)
    return "\n".join(
        [
            "**The recipes on ImageNet, as they are**", "", *table(runs, given), "",
            f"**{MANY:,} pictures, one epoch in batches of 4,096**", "", *table(many, given), "",
            "**The data**", "", *data_table(given, runs), "",
            f"A machine of 8 GPUs with 8 loading processes each holds the index of "
            f"{index_limit(given) / 1e6:,.0f} million pictures.", "",
            "**Inputs**", "", *inputs,
        ]
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> str:
    """Run the command and return what it printed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for field in fields(Inputs):
        kind = int if field.name == "cores" else float
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    parser.add_argument("--measure", action="store_true", help="measure loader and item-bytes here")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    flags = vars(parser.parse_args(arguments))
    out, measure = flags.pop("out"), flags.pop("measure")
    for name, value in flags.items():
        if not 0 < value < float("inf"):
            parser.error(f"--{name.replace('_', '-')} must be above 0, got {value:g}")
    if measure:
        from crop_rates import bytes_per_item, pictures_per_second

        found = {side: pictures_per_second(side) for side in (128, 256)}
        for side, rate in found.items():
            print(f"measured: {rate:.0f} pictures per second and core at {side} pixels")
        flags["loader"], flags["item_bytes"] = found[256], bytes_per_item()
        print(f"measured: {flags['item_bytes']:.0f} bytes of memory per item of tar shards\n")
    text = document(Inputs(**flags))
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
