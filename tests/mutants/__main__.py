"""Change the code in small ways, run the tests that cover it, and print which changes they notice.

    python -m tests.mutants                     # every module, 40 changes each
    python -m tests.mutants core/losses train/loop/objective.py --sample 100
    python -m tests.mutants --again             # survivors of the last time that have no reason

The tests of a change are those that run the changed line, by a map that is recorded first; they
run in a fork of a process that has everything imported (``workers.py``). Results are kept in
``.mutants.json`` after every change, so that the same command resumes. The survivors with a reason
stand in ``survivors.toml``. Python 3.11 or later is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import tomllib

from .choice import TESTS, chosen, folders_of
from .coverage import ROOT, update_map
from .operators import Mutant, mutants_of
from .workers import Job, Result, prepare, run_jobs

RESULTS = ".mutants.json"
REASONS = Path(__file__).with_name("survivors.toml")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("modules", nargs="*", help="files or folders (default: all of TESTS)")
    parser.add_argument("--sample", type=int, default=40, help="changes per module (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    parser.add_argument(
        "--again", action="store_true", help="run the survivors without a reason anew"
    )
    parser.add_argument("--only", default="", help="a text in the name of the changes to run")
    parser.add_argument(
        "--patience", type=float, default=20, help="seconds of tests per change (default: 20)"
    )
    parser.add_argument(
        "--tests", nargs="+", help="run no other tests than those of these files and folders"
    )
    parser.add_argument(
        "--keep", type=Path, default=ROOT, help="the folder of the results and of the map"
    )
    flags = parser.parse_args()
    keep = flags.keep.resolve()
    os.chdir(ROOT)
    results: dict[str, dict[str, object]] = _read(keep / RESULTS)
    reasons = tomllib.loads(REASONS.read_text(encoding="utf-8")) if REASONS.is_file() else {}
    known: dict[str, list[tuple[Mutant, str]]] = {}
    todo: list[tuple[str, Mutant]] = []
    for file in _files(flags.modules or sorted(TESTS)):
        source = (ROOT / file).read_text(encoding="utf-8")
        known[file] = [(m, _key(file, m)) for m in mutants_of(source, flags.sample, flags.seed)]
        todo += [
            (file, mutant)
            for mutant, key in known[file]
            if flags.only in f"{file}:{mutant.line} {mutant.change}"
            and (key not in results or (flags.again and _is_open(results[key], reasons)))
        ]
    if todo:
        prepare()
        for folder in TESTS:
            part = [(file, mutant) for file, mutant in todo if file.startswith(folder)]
            _run(part, results, keep, flags)
    _report(known, results, reasons)


def _is_open(result: dict[str, object], reasons: dict[str, dict[str, str]]) -> bool:
    """Return True for a survivor that has no reason."""
    given = reasons.get(str(result["file"]), {})
    return not result["noticed"] and result["change"] not in given


def _run(
    todo: Sequence[tuple[str, Mutant]],
    results: dict[str, dict[str, object]],
    keep: Path,
    flags: argparse.Namespace,
) -> None:
    files = sorted({file for file, _ in todo})
    test_files = list(_files(flags.tests or folders_of(files), "test_*.py"))
    covered = update_map(test_files, keep)
    jobs = [chosen(file, mutant, covered, flags.patience) for file, mutant in todo]
    unmet = [job for job in jobs if not job.tests]
    for job in unmet:
        _keep(job, Result(0, 0.0), results, keep)
    jobs = [job for job in jobs if job.tests]
    if not jobs:
        return
    # At last the tests that noticed something run on the unchanged code.
    source = (ROOT / jobs[0].file).read_text(encoding="utf-8")
    unchanged = Job(jobs[0].file, Mutant(0, "", source, at_import=False), (), 3600, True)
    for job, result in run_jobs([*jobs, unchanged], flags.jobs, test_files):
        if job is not unchanged:
            _keep(job, result, results, keep)
        elif result.failed:
            for one in results.values():
                one["noticed"] = one["noticed"] and one.get("by") != result.failed
            _write(results, keep)
            sys.exit(f"error: {result.failed} fails without any change, too: its results are void")


def _keep(job: Job, result: Result, results: dict[str, dict[str, object]], keep: Path) -> None:
    mutant, noticed = job.mutant, result.code != 0
    results[_key(job.file, mutant)] = {
        "file": job.file, "line": mutant.line, "change": mutant.change, "noticed": noticed,
        "tests": len(job.tests), "complete": job.is_complete, "by": result.failed,
    }  # fmt: skip
    _write(results, keep)
    word = "noticed " if noticed else "SURVIVED"
    count = f"{len(job.tests)}{'' if job.is_complete else '+'} tests"
    print(
        f"{word} {result.seconds:5.1f} s  {job.file}:{mutant.line} {mutant.change}  ({count})",
        flush=True,
    )


def _write(results: dict[str, dict[str, object]], keep: Path) -> None:
    (keep / RESULTS).write_text(json.dumps(results, indent=0), encoding="utf-8")


def _files(names: Sequence[str], pattern: str = "*.py") -> Iterator[str]:
    seen = set()
    for name in names:
        path = ROOT / name
        for file in sorted(path.rglob(pattern)) if path.is_dir() else [path]:
            relative = file.relative_to(ROOT).as_posix()
            if file.name not in ("__init__.py", "triton_kernel.py") and relative not in seen:
                seen.add(relative)
                yield relative


def _key(file: str, mutant: Mutant) -> str:
    return hashlib.sha256(f"{file}|{mutant.change}".encode()).hexdigest()[:16]


def _read(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _report(
    known: dict[str, list[tuple[Mutant, str]]],
    results: dict[str, dict[str, object]],
    reasons: dict[str, dict[str, str]],
) -> None:
    """Print each module's share noticed, of all changes and of those without a reason not to."""
    noticed = total = excused = 0
    print(
        f"\n{'module':44} {'noticed':>8} {'of':>5} {'share':>6} {'reasons':>8} {'share':>6}  open"
    )
    for file, mutants in known.items():
        done = [(m, results[key]) for m, key in mutants if key in results]
        caught = sum(bool(result["noticed"]) for _, result in done)
        survivors = [m for m, result in done if not result["noticed"]]
        open_ones = [m for m in survivors if m.change not in reasons.get(file, {})]
        given = len(survivors) - len(open_ones)
        print(_line(file, caught, len(done), given))
        noticed, total, excused = noticed + caught, total + len(done), excused + given
        for mutant in open_ones:
            print(f"    {file}:{mutant.line} {mutant.change}")
    print(_line("all", noticed, total, excused))


def _line(name: str, noticed: int, total: int, excused: int) -> str:
    share = f"{noticed / total:.0%}" if total else "-"
    rest = f"{noticed / (total - excused):.0%}" if total > excused else "-"
    left = total - noticed - excused
    return f"{name:44} {noticed:8} {total:5} {share:>6} {excused:8} {rest:>6}  {left}"


if __name__ == "__main__":
    main()
