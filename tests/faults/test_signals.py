"""A signal at any call of a run: it stops with a whole state, and the next start finishes it.

Signals to groups, ranks and loaders are in ``tests/train/loop/test_stopping.py``.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .injection import Fault
from .runs import Task, differences
from .server import Server
from .table import TABLE
from .test_kills import _clean

pytestmark = pytest.mark.slow

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("tokenizer", 6),
        ("prior", 3),
        pytest.param("tokenizer", 24, marks=pytest.mark.long),
        pytest.param("prior", 12, marks=pytest.mark.long),
    ],
)
def test_a_signal_stops_with_a_whole_state(
    server: Server, request: pytest.FixtureRequest, tmp_path: Path, name: str, points: int
) -> None:
    task: Task = request.getfixturevalue(name)
    kind = f"signal, {name}"
    for index in range(points):
        number = SIGNALS[index % len(SIGNALS)]
        at = 1 + index * task.whole.calls // points
        out = tmp_path / str(index)
        end = server.run(task.command, task.flags(out), out, Fault(at, number.name))
        # Before the handlers stand the signal has its usual effect; in the last save, none.
        stopped = end.code in (128 + number, -number) or (end.code == 0 and at > points)
        again = server.run(task.command, task.flags(out), out)
        lost = not stopped or "Traceback" in end.text or again.code != 0
        wrong = differences(task, out) if again.is_whole else []
        case = f"{number.name} at {at}: {end.code} {wrong} {end.text[-300:]}"
        TABLE.add(kind, case, lost=lost, silent=bool(wrong))
    assert _clean(kind)
