"""Two starts with the same --out: the second one says who writes there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from .injection import Fault
from .runs import Task, differences
from .server import Server
from .table import TABLE
from .test_kills import _clean

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("tokenizer", (0, 0.6)),
        pytest.param("tokenizer", (0, 0.3, 0.6, 0.9), marks=pytest.mark.long),
        pytest.param("encode", (0, 0.3, 0.6, 0.9), marks=pytest.mark.long),
    ],
)
def test_the_second_start_is_refused(
    server: Server,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    name: str,
    shares: tuple[float, ...],
) -> None:
    task: Task = request.getfixturevalue(name)
    locked = task.whole.names.index("os.rename .lock.json.new") + 2
    for number, share in enumerate(shares):
        out = tmp_path / f"{name}{number}"
        fault = Fault(locked + int(share * (task.whole.calls - locked)), "SIGSTOP")
        first = server.start(task.command, task.flags(out), out, fault)
        assert server.wait(first).code == -signal.SIGSTOP
        second = server.run(task.command, task.flags(out), out)
        said = second.code == 2 and f"{out} is in use by process {first} on " in second.text
        os.kill(first, signal.SIGCONT)
        assert server.wait(first).is_whole
        wrong = differences(task, out)
        TABLE.add("double start", second.text[-300:], lost=not said, silent=bool(wrong))
    assert _clean("double start")


def test_the_lock_ends_with_its_process(server: Server, tokenizer: Task, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = server.start("run", tokenizer.flags(out), out, Fault(80, "SIGSTOP"))
    assert server.wait(first).code == -signal.SIGSTOP
    os.kill(first, signal.SIGKILL)
    assert server.wait(first).code == -signal.SIGKILL
    assert server.run("run", tokenizer.flags(out), out).is_whole
    assert differences(tokenizer, out) == []
