"""Change the code in small ways, run the tests that cover it, and print which changes they notice.

    python -m tests.mutants                     # every module, 40 changes each
    python -m tests.mutants core/losses train/loop/objective.py --sample 100
    python -m tests.mutants --again             # only those that no test noticed the last time

Each change runs in a fork of a process that has imported torch, so that a run costs no more than
the tests. Results are kept in ``.mutants.json`` after every change, so that
the same command resumes. The survivors with a reason stand in ``survivors.toml``.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.abc
import importlib.machinery
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import tomllib

from .operators import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / ".mutants.json"
REASONS = Path(__file__).with_name("survivors.toml")
LIMIT = 300
"""Seconds after which a change counts as noticed: it made something endless."""

TESTS = {
    "core/losses": "tests/core/losses tests/train/loop/test_plain_loop.py",
    "core/quantizers": "tests/core/quantizers/test_objective.py tests/core/quantizers",
    "core/priors": "tests/core/priors/test_losses.py tests/core/priors/test_enumerated.py "
    "tests/core/priors",
    "core/metrics": "tests/core/metrics",
    "train/loop/objective.py": "tests/train/loop/test_plain_loop.py "
    "tests/train/loop/test_two_processes.py tests/train/loop/test_tokenizer.py",
    "train/loop/optim.py": "tests/train/loop/test_plain_loop.py tests/train/loop/test_tokenizer.py",
    "train/loop/stages.py": "tests/train/loop/test_stages.py tests/train/loop/test_plain_loop.py",
    "train/loop/tokenizer.py": "tests/train/loop/test_plain_loop.py tests/train/loop",
    "train/loop/prior.py": "tests/train/loop/test_plain_prior.py tests/train/loop",
    "train/loop": "tests/train/loop",
}
"""The tests of each module or folder; the longest match counts."""


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
    parser.add_argument("--again", action="store_true", help="run the survivors of last time anew")
    flags = parser.parse_args()
    os.chdir(ROOT)
    _prepare()
    results: dict[str, dict[str, object]] = _read(RESULTS)
    files = list(_files(flags.modules or sorted(TESTS)))
    todo: list[tuple[str, Mutant]] = []
    known: dict[str, list[tuple[Mutant, str]]] = {}
    for file in files:
        source = (ROOT / file).read_text(encoding="utf-8")
        known[file] = [(m, _key(file, m)) for m in mutants_of(source, flags.sample, flags.seed)]
        todo += [
            (file, mutant)
            for mutant, key in known[file]
            if key not in results or (flags.again and not results[key]["noticed"])
        ]
    for file in {file for file, _ in todo}:
        if not _passes(file):
            sys.exit(f"error: the tests of {file} fail without any change: {tests_of(file)}")
    for file, mutant, noticed, seconds in _run(todo, flags.jobs):
        results[_key(file, mutant)] = {
            "file": file, "line": mutant.line, "change": mutant.change, "noticed": noticed,
        }  # fmt: skip
        RESULTS.write_text(json.dumps(results, indent=0), encoding="utf-8")
        word = "noticed " if noticed else "SURVIVED"
        print(f"{word} {seconds:5.1f} s  {file}:{mutant.line} {mutant.change}", flush=True)
    _report(known, results)


def tests_of(file: str) -> list[str]:
    """Return the tests that cover a module."""
    matches = [key for key in TESTS if file == key or file.startswith(key + "/")]
    return TESTS[max(matches, key=len)].split()


def _files(names: Sequence[str]) -> Iterator[str]:
    seen = set()
    for name in names:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            relative = file.relative_to(ROOT).as_posix()
            if file.name not in ("__init__.py", "triton_kernel.py") and relative not in seen:
                seen.add(relative)
                yield relative


def _key(file: str, mutant: Mutant) -> str:
    return hashlib.sha256(f"{file}|{mutant.change}".encode()).hexdigest()[:16]


def _read(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _prepare() -> None:
    """Import what every test needs and no change touches; each fork then has it."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.dont_write_bytecode = True
    import accelerate
    import hypothesis
    import pytest
    import safetensors.torch
    import scipy
    import skimage
    import torch
    import torchvision

    torch.set_num_threads(1)
    del accelerate, hypothesis, pytest, safetensors, scipy, skimage, torchvision


def _run(
    todo: Sequence[tuple[str, Mutant]], jobs: int
) -> Iterator[tuple[str, Mutant, bool, float]]:
    """Yield each change with whether a test noticed it, and its seconds."""
    running: dict[int, tuple[str, Mutant, float]] = {}
    waiting = list(todo)[::-1]
    while waiting or running:
        while waiting and len(running) < jobs:
            file, mutant = waiting.pop()
            running[_start(file, mutant.source)] = file, mutant, time.monotonic()
        process, status = os.wait()
        file, mutant, since = running.pop(process)
        noticed = os.waitstatus_to_exitcode(status) != 0
        yield file, mutant, noticed, time.monotonic() - since


def _passes(file: str) -> bool:
    _, status = os.waitpid(_start(file, (ROOT / file).read_text(encoding="utf-8")), 0)
    return os.waitstatus_to_exitcode(status) == 0


def _start(file: str, source: str) -> int:
    """Run the tests of a module with another source in a fork; return its process number."""
    if process := os.fork():
        return process
    code = 1
    try:
        os.setsid()
        signal.alarm(LIMIT)  # ends the process, which counts as noticed
        nothing = os.open(os.environ.get("REGVQ_MUTANT_LOG", os.devnull), os.O_RDWR | os.O_CREAT)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        name = file.removesuffix(".py").replace("/", ".")
        sys.meta_path.insert(0, _Changed(name, ROOT / file, source))
        import pytest

        code = pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests_of(file)]
        )
    finally:
        os._exit(int(code))


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An importer that gives one module another source."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name != self.name:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=str(self.path))

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self.path)
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


def _report(
    known: dict[str, list[tuple[Mutant, str]]], results: dict[str, dict[str, object]]
) -> None:
    """Print the share noticed of each module, and the survivors with their reasons."""
    reasons = tomllib.loads(REASONS.read_text(encoding="utf-8")) if REASONS.is_file() else {}
    noticed = total = excused = 0
    print(f"\n{'module':44} {'noticed':>8} {'of':>5} {'share':>7}  without reason")
    for file, mutants in known.items():
        done = [(m, results[key]) for m, key in mutants if key in results]
        caught = sum(bool(result["noticed"]) for _, result in done)
        given = reasons.get(file, {})
        survivors = [m for m, result in done if not result["noticed"]]
        open_ones = [m for m in survivors if m.change not in given]
        share = f"{caught / len(done):.0%}" if done else "-"
        print(f"{file:44} {caught:8} {len(done):5} {share:>7}  {len(open_ones)}")
        noticed, total = noticed + caught, total + len(done)
        excused += len(survivors) - len(open_ones)
        for mutant in open_ones:
            print(f"    {file}:{mutant.line} {mutant.change}")
    if total:
        print(f"{'all':44} {noticed:8} {total:5} {noticed / total:7.0%}  ({excused} with a reason)")


if __name__ == "__main__":
    main()
