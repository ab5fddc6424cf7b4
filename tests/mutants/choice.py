"""The tests that meet a change, in the order in which they run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from .coverage import Covered
from .operators import Mutant
from .workers import Job

_DEFAULTS = "tests/train/recipes/test_paper_defaults.py tests/train/recipes/test_defaults.py"
TESTS = {
    "core/losses": f"tests/core/losses tests/train/loop {_DEFAULTS}",
    "core/quantizers": f"tests/core/quantizers tests/core/test_distributed.py "
    f"tests/train/loop/test_stages.py {_DEFAULTS}",
    "core/priors": f"tests/core/priors tests/train/loop/test_prior.py "
    f"tests/train/loop/test_plain_prior.py {_DEFAULTS}",
    "core/metrics": "tests/core/metrics tests/core/judges tests/train/evaluation",
    "train/loop": f"tests/train/loop {_DEFAULTS}",
}
"""The tests of each folder, of which those that run a changed line are chosen."""

TELLING = ("test_objective.py", "test_losses.py", "test_enumerated.py", "test_plain_prior.py",
           "test_plain_loop.py")  # fmt: skip
"""Tests against a second writing of the same computation, which notice most."""

QUICK = 0.2
"""Seconds up to which a test runs before the longer ones of more telling files."""

STATING = "defaults.py"
"""The end of the names of tests of values that modules have from their import on."""


def chosen(file: str, mutant: Mutant, covered: Mapping[str, Covered], patience: float) -> Job:
    """Return a change with its tests: of the mirrored file, the quick ones, the telling ones.

    A test of a value that importing the module sets may run no line of the module: all tests of the
    mirrored file count. Tests are left out that together take longer than ``patience`` seconds.
    """
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    mirrored = f"/test_{PurePosixPath(file).name}"
    for test_file, entry in covered.items():
        for test, lines in entry.lines.items():
            met = lines.get(file, set())
            stated = mutant.at_import and test_file.endswith((STATING, mirrored))
            if stated or (met if mutant.at_import else not met.isdisjoint(mutant.lines)):
                found[test_file].append((entry.seconds[test], test))

    def rank(test: tuple[str, float, str]) -> tuple[bool, bool, bool, float, str, float]:
        name, cost, _ = test
        return (
            not (name.endswith(mirrored) or (mutant.at_import and name.endswith(STATING))),
            cost > QUICK,
            not name.endswith(TELLING),
            sum(seconds for seconds, _ in found[name]),
            name,
            cost,
        )

    tests: list[str] = []
    seconds = 0.0
    for _, cost, test in sorted(((n, s, t) for n in found for s, t in found[n]), key=rank):
        if tests and seconds + cost > patience:
            continue
        tests.append(test)
        seconds += cost
    complete = len(tests) == sum(map(len, found.values()))
    return Job(file, mutant, tuple(tests), int(60 + 6 * seconds), complete)


def folders_of(files: Iterable[str]) -> list[str]:
    """Return the folders and files of tests that may meet a change of some files."""
    names: dict[str, None] = {}
    for file in files:
        matches = [key for key in TESTS if file == key or file.startswith(key + "/")]
        if matches:
            names |= dict.fromkeys(TESTS[max(matches, key=len)].split())
    return list(names)
