"""Signals to a run: to its process, its group, one of its ranks, its loaders; once and twice."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from core.bundles.bundle import find_bundle
from tests.faults.table import TABLE
from tests.helpers.real_runs import RUN, TINY, RealRun, children_of, usual_signals

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs signals and /proc"),
]
LONG = ("--steps", 100_000, "--save-every", 100_000)


def saved(run: RealRun) -> int:
    """Return the step of the saved state, which must be the last of the log and the bundle's."""
    step = run.state_step()
    assert step is not None, run.said
    assert run.rows()[-1]["step"] == step or run.rows()[-1]["step"] == step + 1
    assert find_bundle(run.out).metrics["step"] == step
    assert "Traceback" not in run.said
    TABLE.add("signal to process, group or loader", run.out.name)
    return step


@pytest.mark.parametrize(
    ("number", "group", "workers"),
    [
        (signal.SIGTERM, True, 2),
        (signal.SIGINT, False, 0),
        pytest.param(signal.SIGHUP, True, 1, marks=pytest.mark.long),
    ],
)
def test_a_signal_saves_and_stops(tmp_path, number, group, workers):
    with RealRun(tmp_path / "run", *LONG, "--data.workers", workers) as run:
        run.wait_for_step(2)
        run.send(number, group)
        assert run.ended() == 128 + number, run.said
        step = saved(run)
        assert f"stopped at step {step}, go on with the same command" in run.said
        assert "the checkpoint is" not in run.said


def test_a_signal_twice_within_an_instant_is_one_stop(tmp_path):
    """``timeout`` sends its signal to the process and then to the process's group."""
    with RealRun(tmp_path / "run", *LONG) as run:
        run.wait_for_step(2)
        run.send(signal.SIGTERM)
        run.send(signal.SIGTERM, group=True)
        assert run.ended() == 128 + signal.SIGTERM, run.said
        saved(run)


def test_a_second_signal_ends_at_once_and_says_what_is_kept(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW_EXPORT)
    with RealRun(tmp_path / "run", *LONG, recipe="slow.py:slow") as run:
        run.wait_for_step(2)
        run.send(signal.SIGTERM, group=True)
        run.wait_for_words("its checkpoint is being exported; a second signal ends the run at once")
        time.sleep(0.5)
        run.send(signal.SIGTERM, group=True)
        # The export takes an hour: only a run that ends at once ends within ``ended``'s wait.
        assert run.ended() == 128 + signal.SIGTERM, run.said
        assert run.process.poll() is not None
        step = run.state_step()
        assert f"the state of step {step} is kept in" in run.said
        assert "Traceback" not in run.said


SLOW_EXPORT = """
import time

import regvq_train.loop.tokenizer as loop
from regvq_train.recipes import config_of

loop.sample_sheet = lambda *_: time.sleep(3600)

def slow():
    return config_of("scenes-vq")
"""


def hears_signals(process: int) -> bool:
    """Return True once a process has a handler of its own for SIGTERM."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize(
    ("number", "delay"), [(signal.SIGINT, 0), (signal.SIGTERM, 0.3), (signal.SIGINT, 1.2)]
)
def test_a_signal_in_the_first_seconds_ends_without_a_trace(tmp_path, number, delay):
    """Counted from the moment at which the command, and no longer Python itself, answers it."""
    with RealRun(tmp_path / "run", *LONG) as run:
        run.wait_until(lambda: hears_signals(run.process.pid), 60)
        time.sleep(delay)
        run.send(number, group=True)
        assert run.ended() in (128 + number, -number), run.said
        assert "Traceback" not in run.said


def test_a_loader_that_dies_ends_in_a_save_and_a_sentence(tmp_path):
    with RealRun(tmp_path / "run", *LONG, "--data.workers", 2) as run:
        run.wait_for_step(2)
        loader = children_of(run.process.pid)[-1]
        os.kill(loader, signal.SIGKILL)
        assert run.ended() == 2, run.said
        step = saved(run)
        assert (
            "error: a process that loads pictures was killed by signal 9, as the system does when "
            f"memory runs out; the state of step {step} is kept in {run.out}/state, go on with the "
            "same command." in run.said
        )


def test_loaders_end_with_the_trainer(tmp_path):
    with RealRun(tmp_path / "run", *LONG, "--data.workers", 2) as run:
        run.wait_for_step(2)
        loaders = children_of(run.process.pid)
        assert len(loaders) == 2
        run.send(signal.SIGTERM)
        run.ended()
        assert [pid for pid in loaders if Path(f"/proc/{pid}").exists()] == []


def in_terminal() -> None:
    """Make the child's input its controlling terminal."""
    usual_signals()
    os.close(os.open(os.ttyname(0), os.O_RDWR))


def test_a_closed_terminal_saves_and_stops(tmp_path):
    ours, theirs = pty.openpty()
    words = [sys.executable, RUN, "scenes-vq", *TINY, *LONG, "--out", tmp_path / "run"]
    process = subprocess.Popen(
        [*map(str, words)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=in_terminal,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    log = tmp_path / "run" / "log.jsonl"
    end = time.monotonic() + 300
    while not (log.exists() and log.read_text().count("\n") > 2):
        assert time.monotonic() < end
        time.sleep(0.05)
        try:
            os.read(ours, 65_536)
        except BlockingIOError:
            continue
    os.close(ours)
    assert process.wait(300) == 128 + signal.SIGHUP
    step = json.loads((tmp_path / "run/state/state.json").read_text())["step"]
    assert find_bundle(tmp_path / "run").metrics["step"] == step > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "rank",
    ["group", *(pytest.param(other, marks=pytest.mark.long) for other in (0, 1, "launcher"))],
)
def test_two_ranks_stop_at_the_same_step(tmp_path, rank):
    with RealRun(tmp_path / "run", *LONG, ranks=2) as run:
        run.wait_for_step(3)
        if isinstance(rank, int):
            run.send_to_rank(signal.SIGTERM, rank)
            assert run.ended() == 0, run.said
        else:
            run.send(signal.SIGTERM, group=rank == "group")
            run.ended()
        step = run.state_step()
        assert run.rows()[-1]["step"] == step == find_bundle(run.out).metrics["step"], run.said
        assert f"stopped at step {step}, go on with the same command" in run.said
        assert all(a["step"] + 1 == b["step"] for a, b in pairwise(run.rows()))
        TABLE.add("signal to ranks", str(rank))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_rank_that_dies_ends_the_other_with_a_sentence(tmp_path, rank):
    with RealRun(tmp_path / "run", *LONG, "--save-every", 5, ranks=2) as run:
        run.wait_for_step(12)
        run.send_to_rank(signal.SIGKILL, rank)
        assert run.ended() != 0
        assert "another of the 2 processes of this run ended; the state of step" in run.said
        assert run.state_step() >= 5
        TABLE.add("a rank that dies", str(rank))
