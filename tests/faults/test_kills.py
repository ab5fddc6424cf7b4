"""Kills of real runs at calls of the file system: the next start goes on as if there was none."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import pytest

from .injection import Fault
from .runs import Task
from .server import Server
from .table import TABLE
from .trials import try_kills

pytestmark = pytest.mark.slow


def _clean(kind: str) -> bool:
    row = TABLE.rows[kind]
    assert row.tried, kind
    assert not row.lost, row.lost
    assert not row.silent, row.silent
    return True


def _around(task: Task, words: tuple[str, ...]) -> list[int]:
    """Return the numbers of the calls whose names begin with one of ``words``."""
    return [at for at, name in enumerate(task.whole.names, 1) if name.startswith(words)]


@pytest.mark.parametrize("every", [61, pytest.param(5, marks=pytest.mark.long)])
def test_a_killed_tokenizer_goes_on(
    server: Server, tokenizer: Task, tmp_path: Path, every: int
) -> None:
    """Calls from the start to the end, and each call around the places that count."""
    points = set(range(1, tokenizer.whole.calls + 1, every))
    points |= set(
        _around(tokenizer, ("exchange", "tensors", "os.rename state", "os.rename bundle"))
    )
    for at in sorted(points):
        try_kills(server, tokenizer, tmp_path / "run", [Fault(at)], "kill, tokenizer")
    assert _clean("kill, tokenizer")


def test_a_write_that_was_cut_by_a_kill(server: Server, tokenizer: Task, tmp_path: Path) -> None:
    points = _around(tokenizer, ("tensors", "write"))
    for at in points[:: max(1, len(points) // 8)]:
        try_kills(server, tokenizer, tmp_path / "run", [Fault(at, "tear")], "kill in a write")
    assert _clean("kill in a write")


@pytest.mark.parametrize("draws", [1, pytest.param(4, marks=pytest.mark.long)])
def test_two_kills_in_a_row(server: Server, tokenizer: Task, tmp_path: Path, draws: int) -> None:
    draw = random.Random(0)
    first = _around(tokenizer, ("exchange state", "exchange bundle", "tensors state"))
    for at in first[1:]:
        for _ in range(draws):
            second = draw.randrange(4, 60)
            faults = [Fault(at + draw.randrange(2)), Fault(second)]
            try_kills(server, tokenizer, tmp_path / "run", faults, "two kills")
    assert _clean("two kills")


@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.long)])
def test_kills_where_names_cannot_be_exchanged(
    server: Server, tokenizer: Task, tmp_path: Path, every: int
) -> None:
    """The fallback of two renames: a kill between them, and another one at the next start."""
    counted = server.run(
        "run", tokenizer.flags(tmp_path / "count"), tmp_path / "count",
        Fault(10**9, exchange=False),
    )  # fmt: skip
    assert counted.is_whole
    aside = counted.names.index("os.rename state") + 1  # then state.new is renamed to state
    seconds = ([], [Fault(14, exchange=False)], [Fault(16, exchange=False)])
    for at, second in [*product(range(aside, aside + 4), seconds)][::every]:
        faults = [Fault(at, exchange=False), *second]
        try_kills(server, tokenizer, tmp_path / "run", faults, "kill, without exchange")
    assert _clean("kill, without exchange")


def test_killed_encoding_and_prior_go_on(
    server: Server, encode: Task, prior: Task, tmp_path: Path
) -> None:
    for at in range(3, encode.whole.calls, encode.whole.calls // 5):
        try_kills(server, encode, tmp_path / "shards", [Fault(at)], "kill, encode")
    for at in range(20, prior.whole.calls, prior.whole.calls // 6):
        try_kills(server, prior, tmp_path / "prior", [Fault(at)], "kill, prior")
    assert _clean("kill, encode") and _clean("kill, prior")
