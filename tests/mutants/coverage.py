"""A map of lines to the tests that run them, kept in ``.mutants-map.json``.

A test also counts for the lines that its fixtures run, whichever test has set them up.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAP = ".mutants-map.json"
FOLDERS = tuple(f"{ROOT / folder}{os.sep}" for folder in ("core", "train"))
Lines = dict[str, set[int]]


@dataclass
class Covered:
    """The tests of one file: their seconds, and the lines that each of them runs."""

    seconds: dict[str, float] = field(default_factory=dict)
    lines: dict[str, Lines] = field(default_factory=dict)


class Recorder:
    """A plugin of pytest that records each test's lines of ``core`` and ``train``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.of_test: dict[str, Lines] = {}
        self._of_fixture: dict[int, Lines] = defaultdict(lambda: defaultdict(set))
        self._now: Lines = defaultdict(set)
        self._names: dict[str, str | None] = {}

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        path = frame.f_code.co_filename
        if path not in self._names:
            inside = path.startswith(FOLDERS)
            self._names[path] = path.removeprefix(f"{ROOT}{os.sep}") if inside else None
        name = self._names[path]
        if name is None:
            return None
        seen = self._now[name]

        def line(frame: FrameType, event: str, argument: object) -> Any:
            seen.add(frame.f_lineno)
            return line

        seen.add(frame.f_lineno)
        return line

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        before, self._now = self._now, self._of_fixture[id(fixturedef)]
        self._start()
        try:
            return (yield)
        finally:
            self._now = before
            self._start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> Iterator[None]:
        own: Lines = defaultdict(set)
        self._now = own
        since = sum(os.times()[:4])
        self._start()
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.seconds[item.nodeid] = sum(os.times()[:4]) - since
            for definitions in item._fixtureinfo.name2fixturedefs.values():
                for definition in definitions:
                    for name, lines in self._of_fixture.get(id(definition), {}).items():
                        own[name] |= lines
            self.of_test[item.nodeid] = own

    def _start(self) -> None:
        sys.settrace(None)
        sys.settrace(self._call)


def update_map(test_files: Sequence[str], keep: Path = ROOT) -> dict[str, Covered]:
    """Return what the tests of some files cover; run those that changed, or whose code did.

    ``keep``: the folder of the map.
    """
    file = keep / MAP
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    stale = [name for name in test_files if not _is_fresh(name, kept.get(name))]
    if stale:
        print(f"recording the lines that {len(stale)} files of tests run", flush=True)
        if process := os.fork():
            _, status = os.waitpid(process, 0)
            if os.waitstatus_to_exitcode(status) != 0:
                sys.exit("error: tests fail without any change; run them by pytest")
        else:
            _record(stale, kept, file)
        kept = json.loads(file.read_text(encoding="utf-8"))
    return {name: _covered(kept[name]) for name in test_files if name in kept}


def _covered(entry: dict[str, Any]) -> Covered:
    lines = {
        test: {name: set(numbers) for name, numbers in files.items()}
        for test, files in entry["lines"].items()
    }
    return Covered(entry["seconds"], lines)


def _digest(name: str) -> str:
    path = ROOT / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


def _is_fresh(name: str, entry: dict[str, Any] | None) -> bool:
    return entry is not None and all(_digest(f) == d for f, d in entry["digests"].items())


def _record(stale: Sequence[str], kept: dict[str, Any], file: Path) -> None:
    recorder = Recorder()
    code = 1
    try:
        quiet = ["-q", "-p", "no:cacheprovider", "-m", "not slow and not browser"]
        code = pytest.main([*quiet, *stale], plugins=[recorder])
        digests: dict[str, str] = {}
        for name in stale:
            tests = [t for t in recorder.of_test if t.split("::")[0] == name]
            covered = {name}.union(*(recorder.of_test[t] for t in tests))
            digests |= {one: _digest(one) for one in covered if one not in digests}
            kept[name] = {
                "digests": {one: digests[one] for one in sorted(covered)},
                "seconds": {t: recorder.seconds[t] for t in tests},
                "lines": {
                    t: {one: sorted(lines) for one, lines in recorder.of_test[t].items()}
                    for t in tests
                },
            }
        file.write_text(json.dumps(kept), encoding="utf-8")
    finally:
        os._exit(int(code))
