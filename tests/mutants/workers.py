"""Processes that run tests on changed code.

Most changes are inside functions. For these, one process collects all tests; each fork of it
exchanges the functions' code objects and runs the tests of the changed lines, those first that
take the least time. A change that importing the module runs needs a process that has imported
nothing of the project yet.
"""

from __future__ import annotations

import functools
import gc
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from .coverage import ROOT
from .operators import Mutant
from .startup.sitecustomize import Changed

PYTEST = ("-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow and not browser")


@dataclass(frozen=True)
class Job:
    """A change with the tests to run, and the seconds after which it made something endless."""

    file: str
    mutant: Mutant
    tests: tuple[str, ...]
    """None: the tests that have noticed other changes."""
    limit: int
    is_complete: bool
    """True if these are all tests of the changed lines."""

    def runs_at_import(self) -> bool:
        """Return True if the change cannot be made by an exchange of functions' code."""
        if self.mutant.at_import:
            return True
        before, after = _codes_of(self.file), _codes(compile(self.mutant.source, "", "exec"))
        return [_shape(code) for code in before] != [_shape(code) for code in after]


@dataclass(frozen=True)
class Result:
    """The outcome of one change: 0 of ``code`` if all tests passed, 5 if none ran."""

    code: int
    seconds: float
    failed: str = ""
    """The test that noticed it, if that is known."""


def prepare() -> None:
    """Import what every test needs and no change touches; each fork then has it."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.dont_write_bytecode = True
    import accelerate
    import hypothesis
    import safetensors.torch
    import scipy
    import skimage
    import torch
    import torchvision

    # A failure is enough; hypothesis would spend seconds to find the smallest.
    phases = hypothesis.Phase.explicit, hypothesis.Phase.generate
    hypothesis.settings.register_profile("mutants", phases=phases, database=None)
    hypothesis.settings.load_profile("mutants")
    torch.set_num_threads(1)
    del accelerate, hypothesis, safetensors, scipy, skimage, torchvision


def run_jobs(
    jobs: Sequence[Job], processes: int, test_files: Sequence[str]
) -> Iterator[tuple[Job, Result]]:
    """Yield each change with its result as soon as it is known."""
    anew = [job.runs_at_import() for job in jobs]
    inside = [job for job, is_anew in zip(jobs, anew, strict=True) if not is_anew]
    if inside:
        yield from _serve(inside, processes, test_files)
    rest = [job for job, is_anew in zip(jobs, anew, strict=True) if is_anew]
    yield from _schedule(rest, processes, _start_anew)


def _start_anew(job: Job, scratch: Path) -> int:
    """Run a job's tests in a fork whose imports give the changed module; return its number."""

    def work() -> int:
        name = _tell_processes(job, scratch)
        tempfile.tempdir = str(scratch.parent)  # nobody would delete what ``conftest`` makes
        sys.meta_path.insert(0, Changed(name, ROOT / job.file, job.mutant.source))
        return pytest.main([*PYTEST, f"--basetemp={scratch}", *job.tests])

    return _fork(work, job.limit)


def _tell_processes(job: Job, scratch: Path) -> str:
    """Make the processes that tests start import the change; return the module's name."""
    source = scratch.with_suffix(".source")
    source.write_text(job.mutant.source, encoding="utf-8")
    name = job.file.removesuffix(".py").replace("/", ".")
    os.environ["REGVQ_MUTANT"] = os.pathsep.join((name, str(ROOT / job.file), str(source)))
    folder = Path(__file__).with_name("startup")
    os.environ["PYTHONPATH"] = os.pathsep.join((str(folder), os.environ.get("PYTHONPATH", "")))
    return name


def _schedule(
    jobs: Sequence[Job], processes: int, start: Callable[[Job, Path], int]
) -> Iterator[tuple[Job, Result]]:
    running: dict[int, tuple[Job, Path, float]] = {}
    waiting = list(jobs)[::-1]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        while waiting or running:
            while waiting and len(running) < processes:
                job, scratch = waiting.pop(), Path(folder, str(len(waiting)))
                running[start(job, scratch)] = job, scratch, time.monotonic()
            process, status = os.wait()
            if process not in running:
                continue
            job, scratch, since = running.pop(process)
            shutil.rmtree(scratch, ignore_errors=True)
            failed = scratch.with_suffix(".failed")
            name = failed.read_text(encoding="utf-8") if failed.is_file() else ""
            yield job, Result(os.waitstatus_to_exitcode(status), time.monotonic() - since, name)


def _fork(work: Callable[[], int], limit: int) -> int:
    if process := os.fork():
        return process
    code = 1
    try:
        os.setsid()
        signal.alarm(limit)  # ends the process, which counts as noticed
        _silence()
        code = work()
    finally:
        os._exit(int(code))


def _silence() -> None:
    """Send what this process prints to $REGVQ_MUTANT_LOG, or nowhere."""
    log = os.environ.get("REGVQ_MUTANT_LOG", os.devnull)
    nothing = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def _serve(
    jobs: Sequence[Job], processes: int, test_files: Sequence[str]
) -> Iterator[tuple[Job, Result]]:
    """Collect the tests in a fork, which runs the jobs; yield what it reports."""
    read, write = os.pipe()
    if not (process := os.fork()):
        os.close(read)
        try:
            _silence()
            with os.fdopen(write, "wb", buffering=0) as out:
                pytest.main([*PYTEST, *test_files], plugins=[_Server(jobs, processes, out)])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as reports:
        for _ in jobs:
            try:
                index, result = pickle.load(reports)
            except EOFError:
                sys.exit("error: the process that collects the tests ended; run them by pytest")
            yield jobs[index], result
    os.waitpid(process, 0)


class _Server:
    """A plugin of pytest that runs jobs instead of the collected tests."""

    def __init__(self, jobs: Sequence[Job], processes: int, out: Any) -> None:
        self.jobs, self.processes, self.out = jobs, processes, out

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        functions = _functions_of({job.file for job in self.jobs})
        numbers = {id(job): index for index, job in enumerate(self.jobs)}
        failures: dict[str, Counter[str]] = defaultdict(Counter)  # by changed file
        gc.collect()
        gc.freeze()

        def start(job: Job, scratch: Path) -> int:
            def work() -> int:
                session.config._tmp_path_factory._given_basetemp = scratch
                _tell_processes(job, scratch)
                _exchange(job, functions)
                # What noticed most other changes of the file comes first.
                first = [test for test, _ in failures[job.file].most_common(5)]
                every = [test for counter in failures.values() for test in counter]
                tests = job.tests or every
                order = dict.fromkeys([*(t for t in first if t in tests), *tests])
                session.items = [items[test] for test in order if test in items]
                for index, item in enumerate(session.items):
                    following = session.items[index + 1 : index + 2] or [None]
                    item.ihook.pytest_runtest_protocol(item=item, nextitem=following[0])
                    if session.testsfailed:
                        scratch.with_suffix(".failed").write_text(item.nodeid, encoding="utf-8")
                        return 1
                return 0 if session.items else 5

            return _fork(work, job.limit)

        for job, result in _schedule(self.jobs, self.processes, start):
            if result.failed:
                failures[job.file][result.failed] += 1
            self.out.write(pickle.dumps((numbers[id(job)], result)))
        return True


Place = tuple[str, str, int]
"""A file, the qualified name of a function, and its first line."""


def _functions_of(files: set[str]) -> dict[Place, list[FunctionType]]:
    found: dict[Place, list[FunctionType]] = defaultdict(list)
    paths = {str(ROOT / file): file for file in files}
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename in paths:
            code = thing.__code__
            place = paths[code.co_filename], code.co_qualname, code.co_firstlineno
            found[place].append(thing)
    return found


def _exchange(job: Job, functions: dict[Place, list[FunctionType]]) -> None:
    """Give the living functions of a module the code of its changed source."""
    after = _codes(compile(job.mutant.source, str(ROOT / job.file), "exec"))
    for old, new in zip(_codes_of(job.file), after, strict=True):
        for function in functions.get((job.file, old.co_qualname, old.co_firstlineno), []):
            function.__code__ = new


@functools.cache
def _codes_of(file: str) -> list[CodeType]:
    return _codes(compile((ROOT / file).read_text(encoding="utf-8"), file, "exec"))


def _shape(code: CodeType) -> tuple[str, tuple[str, ...]]:
    return code.co_qualname, code.co_freevars


def _codes(code: CodeType) -> list[CodeType]:
    """Return a code object's functions in their order, at all depths."""
    found = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found += [constant, *_codes(constant)]
    return found
