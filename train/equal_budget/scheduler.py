"""The commands of the study that work through a list of runs.

Each run can have a process of its own. Several commands can share the work of one study: a run's
folder is claimed by a lock, which the system gives up when its process ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from regvq.errors import CheckpointError

from ..cli.errors import UsageError
from .catalog import all_runs, chosen
from .flags import DownstreamFlags, JudgeFlags, RunFlags, TimingFlags
from .runs import Study, StudyRun

_COMMAND = Path(__file__).resolve().parents[1] / "study.py"


def run_all(flags: RunFlags) -> int:
    """Train the chosen runs that are not finished; return the number of those that are, now."""
    todo = _choice(flags.group, flags.only, flags.jobs)
    if flags.list:
        for run in todo:
            print(f"{'done' if _result(run, flags) else 'to do':6} {run.group:6} {run.name}")
        return sum(_result(run, flags) is not None for run in todo)
    _check(todo, flags.study)
    flags.out.mkdir(parents=True, exist_ok=True)

    def make(run: StudyRun) -> bool:
        if _result(run, flags) is not None:
            return True
        with claimed(flags.out / run.name) as ours:
            if not ours:
                print(f"{run.name}: another process is training it", flush=True)
                return False
            if not flags.jobs:
                _execute(run, flags)
        if flags.jobs:
            _in_own_process("run", run, flags)  # which claims it
        result = _result(run, flags)
        print(_line(run, result), flush=True)
        return result is not None

    with ThreadPoolExecutor(max(1, flags.jobs)) as pool:
        return sum(pool.map(make, todo))


def time_all(flags: TimingFlags) -> None:
    """Time the chosen runs, one after the other."""
    todo = _choice(flags.group, flags.only, flags.jobs)
    _check(todo, flags.study)
    for run in todo:
        if flags.jobs == 0:
            from .execute import time_alone

            time_alone(run, flags.study, flags.out)
        else:
            _in_own_process("timing", run, flags)
        found = json.loads((flags.out / run.name / "timing.json").read_text(encoding="utf-8"))
        peak = f"{found['peak_mb']:6.0f}" if found["peak_mb"] is not None else "     ?"
        print(f"{run.name:24} {found['step_ms']:7.0f} ms  {peak} MB", flush=True)


def downstream_all(flags: DownstreamFlags) -> None:
    """Run the downstream test of the chosen runs that do not have it yet."""
    from .downstream import downstream

    for run in chosen(all_runs(), (), flags.only):
        file = flags.out / run.name / "downstream.json"
        if not file.exists() and downstream(run, flags.study, flags.prior, flags.out) is None:
            raise SystemExit(130)
        found = json.loads(file.read_text(encoding="utf-8"))
        print(
            f"{run.name:24} generation FD {found['generation_fd']:.0f}  reconstruction FD "
            f"{found['reconstruction_fd']:.0f}  {found['bits_per_token']:.3f} bits per token",
            flush=True,
        )


def judge_all(flags: JudgeFlags) -> None:
    """Measure the chosen runs that are not measured yet, on features that no run trained on."""
    from .execute import WEIGHTS
    from .judge import judge, load_networks

    runs = chosen(all_runs(), (), flags.only)
    if not flags.only:
        saved = ("bundle", WEIGHTS)
        runs = [r for r in runs if any((flags.out / r.name / part).exists() for part in saved)]
    networks = load_networks(flags.alexnet, flags.vgg16)
    for run in runs:
        file = flags.out / run.name / "judged.json"
        if not file.exists():
            judge(run, flags.study, networks, flags.out)
        found = json.loads(file.read_text(encoding="utf-8"))
        print(
            f"{run.name:24} LPIPS {found['lpips_alex']:.3f} (AlexNet), {found['lpips_vgg']:.3f} "
            f"(VGG-16)  AlexNet-FD {found['alexnet_fd']:.1f}",
            flush=True,
        )


def _choice(group: tuple[str, ...], only: tuple[str, ...], jobs: int) -> list[StudyRun]:
    if jobs < 0:
        raise UsageError(f"--jobs must be 0 or more, got {jobs}")
    return chosen(all_runs(), group, only)


def _check(runs: list[StudyRun], study: Study) -> None:
    """Raise once what would otherwise stop every run in its own process."""
    if not study.root.is_dir():
        raise UsageError(f"--study.root: {study.root} does not exist or is not a folder")
    if study.weights is not None and not study.weights.is_file():
        raise UsageError(f"--study.weights: {study.weights} does not exist or is not a file")
    for run in runs:
        run.config(study)  # raises ValueError


def _execute(run: StudyRun, flags: RunFlags) -> None:
    from .execute import execute

    if execute(run, flags.study, flags.out) is None:
        raise SystemExit(130)


def _result(run: StudyRun, flags: RunFlags) -> dict[str, Any] | None:
    """Return the result of a finished run. Raises CheckpointError if it is of another study."""
    from .execute import described

    file = flags.out / run.name / "result.json"
    if not file.exists():
        return None
    found = {"codes_rate": 1.0} | json.loads(file.read_text(encoding="utf-8"))
    wanted = json.loads(json.dumps(described(run, flags.study)))
    # Settings that are newer than a result had their default values in it.
    defaults = {setting.name: setting.default for setting in fields(run.quantizer)}
    found["quantizer"] = {
        name: found["quantizer"].get(name, defaults.get(name)) for name in wanted["quantizer"]
    }
    if differing := [key for key in wanted if found.get(key) != wanted[key]]:
        raise CheckpointError(
            f"{file} is a run with another {', '.join(differing[:3])}; "
            "choose another --out, or the same settings to resume."
        )
    return found


def _line(run: StudyRun, result: dict[str, Any] | None) -> str:
    if result is None:
        return f"{run.name}: not finished, see its log.txt"
    figures = result["figures"]
    distances = [f"{k} {v:.4g}" for k, v in figures.items() if k.endswith(("_distance", "_fd"))]
    return (
        f"{run.name:24} used {figures['utilization']:6.1%}  perplexity "
        f"{figures['perplexity']:7.1f}  PSNR {figures['psnr']:.2f}  {'  '.join(distances)}  "
        f"{result['training']['step_ms']:.0f} ms"
    )


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Claim a run's folder for this process; yield True if it is ours to write to.

    The system gives up the claim of a process that was killed.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    claim = FileLock(folder / "claim", thread_local=False)
    ours = True
    try:
        claim.acquire(timeout=0)
    except Timeout:
        ours = False
    except NotImplementedError:
        print(f"WARNING: {folder} is on a file system without locks: start one command only.")
    try:
        yield ours
    finally:
        claim.release()


def _in_own_process(command: str, run: StudyRun, flags: RunFlags | TimingFlags) -> None:
    """Call the command again for one run alone, with its output in the run's ``log.txt``."""
    study = flags.study
    words = [
        sys.executable, str(_COMMAND), command, "--only", run.name,
        "--jobs", "0", "--out", str(flags.out), "--study.root", str(study.root),
        "--study.steps", str(study.steps), "--study.batch", str(study.batch),
        "--study.size", str(study.size), "--study.widths", *map(str, study.widths),
        "--study.limit", str(study.limit), "--study.weights", str(study.weights),
        "--group", run.group,
    ]  # fmt: skip
    folder = flags.out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        last = (folder / "log.txt").read_text(encoding="utf-8").strip().splitlines()[-1:]
        print(f"{run.name} ended with {done.returncode}: {' '.join(last)}", flush=True)
