"""The study: every quantizer on the same network, pictures, steps and seeds.

``python train/study.py run --study.root PHOTOS``     train and judge what is not finished yet
``python train/study.py timing --study.root PHOTOS``  time and memory of a step, each run alone
``python train/study.py downstream --study.root PHOTOS``  a prior on each tokenizer's tokens
``python train/study.py report``                      RESULTS.md, charts, docs/study/results.json
``python train/study.py ship``                        chosen tokenizers as bundles in checkpoints/

Each run is a folder of its own below --out with ``result.json`` (its schema: train/study_one.py),
``counts.npy``, ``log.jsonl``, ``log.txt``, ``bundle/`` and, once timed, ``timing.json``. A run that
has its result is not made again. ``docs/study/results.json`` gathers them (schema:
train/study_report.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

if not __package__:  # run as a file: python train/study.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from regvq.paths import ROOT

from .cli.errors import UsageError, one_line_errors, parse_flags
from .equal_budget.runs import DownstreamConfig, Group, Study, all_runs, chosen

if TYPE_CHECKING:
    from .equal_budget.runs import Run

OUT = ROOT / "runs" / "study"
SHIPPED = ("vqgan", "regvq", "simvq", "nsvq")


@dataclass(frozen=True)
class RunFlags:
    """Train and judge."""

    study: Study
    group: tuple[Group, ...] = ()
    """Only these parts; none: all."""
    only: tuple[str, ...] = ()
    """Only the runs of these names."""
    out: Path = OUT
    """Where the runs' folders are."""
    jobs: int = 1
    """Processes at once; 0: one run after the other in this very process."""
    list: bool = False
    """Name the runs and whether each is finished, and do nothing."""


@dataclass(frozen=True)
class TimingFlags:
    """Time and memory of a training step, each run alone in its own process."""

    study: Study
    group: tuple[Group, ...] = ("main", "large")
    only: tuple[str, ...] = ()
    out: Path = OUT
    jobs: Literal[0, 1] = 1
    """1: each in a process of its own; 0: in this very process."""


@dataclass(frozen=True)
class DownstreamFlags:
    """Train the same prior on the tokens of finished runs and judge what it generates."""

    study: Study
    prior: DownstreamConfig = field(default_factory=DownstreamConfig)
    only: tuple[str, ...] = SHIPPED
    """The runs of these names."""
    out: Path = OUT


@dataclass(frozen=True)
class ReportFlags:
    """Write the report from the results that are there."""

    out: Path = OUT
    results: Path | None = None
    """Read a docs/study/results.json instead of the runs' folders."""
    more: tuple[Path, ...] = ()
    """--out of studies on other pictures; each gets a table, under its folder's name."""
    to: Path = ROOT
    """Where RESULTS.md and docs/study/ are written."""


@dataclass(frozen=True)
class ShipFlags:
    """Write tokenizers of the study as bundles."""

    only: tuple[str, ...] = SHIPPED
    out: Path = OUT
    to: Path = ROOT / "checkpoints"
    """Where bundles called study-NAME are written."""
    data: str = ""
    """What the pictures were, for the card."""
    terms: str = ""
    """Under which terms the weights may be used, given those of the pictures."""
    pictures: str = "photographs of the study"
    """What they were judged on, for the card."""


def run(flags: RunFlags) -> int:
    """Makes what is not finished; returns how many runs of the choice are finished now."""
    todo = _choice(flags.group, flags.only, flags.jobs)
    if flags.list:
        for one in todo:
            print(f"{'done' if _result(one, flags) else 'to do':6} {one.group:6} {one.name}")
        return sum(_result(one, flags) is not None for one in todo)
    flags.out.mkdir(parents=True, exist_ok=True)

    def make(one: Run) -> bool:
        if _result(one, flags) is not None:
            return True
        if _held(flags.out / one.name / "claim"):
            print(f"{one.name}: another process is at it", flush=True)
            return False
        if flags.jobs:
            _in_own_process("run", one, flags)
        else:
            with _claimed(flags.out / one.name) as ours:
                if ours:
                    _execute(one, flags)
        result = _result(one, flags)
        print(_line(one, result), flush=True)
        return result is not None

    with ThreadPoolExecutor(max(1, flags.jobs)) as pool:
        return sum(pool.map(make, todo))


def timing(flags: TimingFlags) -> None:
    """Times every run of the choice, one after the other."""
    for one in _choice(flags.group, flags.only, flags.jobs):
        if flags.jobs == 0:
            from .equal_budget.execute import time_alone

            time_alone(one, flags.study, flags.out)
        else:
            _in_own_process("timing", one, flags)
        found = json.loads((flags.out / one.name / "timing.json").read_text(encoding="utf-8"))
        print(f"{one.name:24} {found['step_ms']:7.0f} ms  {found['peak_mb']:6.0f} MB", flush=True)


def follow(flags: DownstreamFlags) -> None:
    """Makes the downstream test of every run of the choice that does not have it yet."""
    from .equal_budget.downstream import downstream

    for one in chosen(all_runs(), (), flags.only):
        file = flags.out / one.name / "downstream.json"
        if not file.exists() and downstream(one, flags.study, flags.prior, flags.out) is None:
            raise SystemExit(130)
        found = json.loads(file.read_text(encoding="utf-8"))
        print(
            f"{one.name:24} generation FD {found['generation_fd']:.0f}  reconstruction FD "
            f"{found['reconstruction_fd']:.0f}  {found['bits_per_token']:.3f} bits a token",
            flush=True,
        )


def _choice(group: tuple[str, ...], only: tuple[str, ...], jobs: int) -> list[Run]:
    if jobs < 0:
        raise UsageError(f"--jobs must be 0 or more, got {jobs}")
    return chosen(all_runs(), group, only)


def _execute(one: Run, flags: RunFlags) -> None:
    from .equal_budget.execute import execute

    if execute(one, flags.study, flags.out) is None:
        raise SystemExit(130)


def _result(one: Run, flags: RunFlags) -> dict[str, Any] | None:
    """The finished result of a run; UsageError if it is of another study."""
    from regvq.errors import CheckpointError

    from .equal_budget.execute import described

    file = flags.out / one.name / "result.json"
    if not file.exists():
        return None
    found = {"codes_rate": 1.0} | json.loads(file.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(described(one, flags.study)))
    # A setting that a quantizer got since then stands at its default in what was made before.
    defaults = {setting.name: setting.default for setting in fields(one.quantizer)}
    found["quantizer"] = {
        name: found["quantizer"].get(name, defaults.get(name)) for name in wanted["quantizer"]
    }
    if differing := [key for key in wanted if found.get(key) != wanted[key]]:
        raise CheckpointError(
            f"{file} is a run with another {', '.join(differing[:3])}; "
            "choose another --out, or the same settings to go on."
        )
    return found


def _line(one: Run, result: dict[str, Any] | None) -> str:
    if result is None:
        return f"{one.name}: not finished, see its log.txt"
    figures = result["figures"]
    distances = [f"{k} {v:.4g}" for k, v in figures.items() if k.endswith(("_distance", "_fd"))]
    return (
        f"{one.name:24} used {figures['utilization']:6.1%}  perplexity "
        f"{figures['perplexity']:7.1f}  PSNR {figures['psnr']:.2f}  {'  '.join(distances)}  "
        f"{result['training']['step_ms']:.0f} ms"
    )


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether the folder is ours to write to: two commands can share the work of one study."""
    folder.mkdir(parents=True, exist_ok=True)
    claim = folder / "claim"
    for _ in range(2):
        try:
            with claim.open("x", encoding="utf-8") as file:
                file.write(str(os.getpid()))
            break
        except FileExistsError:
            if _held(claim):
                yield False
                return
            claim.unlink(missing_ok=True)  # its process was killed
    try:
        yield True
    finally:
        claim.unlink(missing_ok=True)


def _held(claim: Path) -> bool:
    """Whether the process that wrote the claim, if there is one, is still there."""
    try:
        os.kill(int(claim.read_text(encoding="utf-8")), 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _in_own_process(command: str, one: Run, flags: RunFlags | TimingFlags) -> None:
    """The command again for one run alone, its output in the run's ``log.txt``."""
    study = flags.study
    words = [
        sys.executable, str(Path(__file__).resolve()), command, "--only", one.name,
        "--jobs", "0", "--out", str(flags.out), "--study.root", str(study.root),
        "--study.steps", str(study.steps), "--study.batch", str(study.batch),
        "--study.size", str(study.size), "--study.widths", *map(str, study.widths),
        "--study.limit", str(study.limit), "--study.weights", str(study.weights),
        "--group", one.group,
    ]  # fmt: skip
    folder = flags.out / one.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        last = (folder / "log.txt").read_text(encoding="utf-8").strip().splitlines()[-1:]
        print(f"{one.name} ended with {done.returncode}: {' '.join(last)}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    with one_line_errors(ValueError):
        flags = parse_flags(
            Annotated[RunFlags, tyro.conf.subcommand("run", prefix_name=False)]
            | Annotated[TimingFlags, tyro.conf.subcommand("timing", prefix_name=False)]
            | Annotated[DownstreamFlags, tyro.conf.subcommand("downstream", prefix_name=False)]
            | Annotated[ReportFlags, tyro.conf.subcommand("report", prefix_name=False)]
            | Annotated[ShipFlags, tyro.conf.subcommand("ship", prefix_name=False)],
            arguments,
            program="python train/study.py",
            description=__doc__,
        )
    from regvq.errors import CheckpointError, DataError, FeatureError

    from .loop.base import NotFinite

    with one_line_errors(ValueError, CheckpointError, DataError, FeatureError, NotFinite):
        if isinstance(flags, RunFlags):
            run(flags)
        elif isinstance(flags, TimingFlags):
            timing(flags)
        elif isinstance(flags, DownstreamFlags):
            follow(flags)
        elif isinstance(flags, ReportFlags):
            from .equal_budget.report import write_report

            write_report(flags.out, flags.results, flags.to, flags.more)
        else:
            from .equal_budget.ship import ship

            ship(flags.only, flags.out, flags.to, flags.data, flags.terms, flags.pictures)


if __name__ == "__main__":
    main()
