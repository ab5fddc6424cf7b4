"""A process that has imported everything once, and forks a child for each task.

Started as ``python -m tests.faults.server``. It reads a line of JSON per request from its standard
input and writes a line of JSON per answer. Importing takes seconds; a child starts at once.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.paths import ROOT

from .injection import Fault, install

HANGS = 300.0
"""Seconds after which a child counts as hanging; a run takes one to five."""


@dataclass(frozen=True)
class Ended:
    """The end of a child: ``code`` is its exit code, negative for a signal."""

    code: int
    text: str
    calls: int = 0
    names: tuple[str, ...] = ()
    saves: tuple[tuple[int, int], ...] = ()
    """The number of calls, and the step, of every state that was in place."""

    @property
    def is_whole(self) -> bool:
        """True if the command ended without an error."""
        return self.code == 0


class Server:
    """The client of the process."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        environment.pop("RANK", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.server"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        command: str,
        arguments: Sequence[object],
        folder: Path,
        fault: Fault | None = None,
        *,
        largest_file: int | None = None,
        kill_after: float | None = None,
    ) -> Ended:
        """Run ``train/COMMAND.py`` with a fault beneath ``folder``, and return its end.

        ``largest_file``: the limit of file sizes in bytes, which the system enforces as a quota.
        ``kill_after``: seconds after which the system kills the child.
        """
        pid = self.start(command, arguments, folder, fault, largest_file, kill_after)
        return self.wait(pid)

    def start(
        self,
        command: str,
        arguments: Sequence[object],
        folder: Path,
        fault: Fault | None = None,
        largest_file: int | None = None,
        kill_after: float | None = None,
    ) -> int:
        """Start a child as ``run`` does, and return its process id."""
        return self._ask(
            command=command,
            arguments=[str(argument) for argument in arguments],
            folder=str(folder),
            fault=None if fault is None else asdict(fault),
            largest_file=largest_file,
            kill_after=kill_after,
        )["pid"]

    def wait(self, pid: int) -> Ended:
        """Wait until a child has ended, or was stopped by SIGSTOP (code -19)."""
        found = self._ask(wait=pid)
        saves = tuple((calls, step) for calls, step in found.pop("saves", ()))
        return Ended(saves=saves, names=tuple(found.pop("names", ())), **found)

    def _ask(self, **request: Any) -> dict[str, Any]:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the process that runs the tasks has ended")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def _child(request: dict[str, Any], report: str) -> int:
    """Run a command in this process, which ends after it; return the exit code."""
    import torch

    import train.loop.base as base

    torch.set_num_threads(1)
    folder = Path(request["folder"])
    fault = None if request["fault"] is None else Fault(**request["fault"])
    saves: list[tuple[int, int]] = []
    save_state = base.save_state

    def watched(*args: Any, **options: Any) -> None:
        save_state(*args, **options)
        saves.append((injection.calls, args[2]["step"]))

    base.save_state = watched
    if (limit := request["largest_file"]) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if (seconds := request["kill_after"]) is not None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process as SIGKILL does
        signal.setitimer(signal.ITIMER_REAL, seconds)
    sys.argv = [f"{request['command']}.py", *request["arguments"]]
    injection = install(folder, fault)
    try:
        if request["command"] == "encode":
            from train.encode import main
        else:
            from train.run import main
        main(request["arguments"])
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    found = {"calls": injection.calls, "names": injection.names, "saves": saves}
    Path(report).write_text(json.dumps(found))
    return code


def _start(request: dict[str, Any], place: str) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        text = os.open(f"{place}/{os.getpid()}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(text, 1)
        os.dup2(text, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = _child(request, f"{place}/{os.getpid()}.json")
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _wait(pid: int, place: str) -> dict[str, Any] | None:
    """Return the end of a child; kill it and return None if it hangs.

    A fork may keep a lock that another thread held: about one of some hundred children hangs
    before it does anything, which is the harness's fault and not the run's.
    """
    end = time.monotonic() + HANGS
    done, status = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
    while not done:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.01)
        done, status = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
    if os.WIFSTOPPED(status):
        return {"code": -os.WSTOPSIG(status), "text": ""}
    text, report = Path(f"{place}/{pid}.txt"), Path(f"{place}/{pid}.json")
    found = json.loads(report.read_text()) if report.exists() else {}
    found |= {
        "code": os.waitstatus_to_exitcode(status),
        "text": text.read_text(errors="replace") if text.exists() else "",
    }
    for file in (text, report):
        file.unlink(missing_ok=True)
    return found


def _warm_up(place: Path) -> None:
    """Import what children need, by a run: the first one of a process takes a second longer."""
    from tqdm import tqdm

    import train.encoding.encode
    import train.loop.prior
    from train.run import main as train

    from .runs import RECIPES, pictures

    tqdm.monitor_interval = 0  # its thread may hold tqdm's lock when a child is forked
    data, out = pictures(place / "data"), place / "run"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            train([f"{RECIPES}:tokenizer", "--data.root", str(data), "--out", str(out)])
    except BaseException:
        print(said.getvalue(), file=sys.stderr)
        raise


def main() -> None:
    """Serve requests until the standard input ends."""
    import torch

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    with tempfile.TemporaryDirectory() as place:
        _warm_up(Path(place))
        started: dict[int, dict[str, Any]] = {}
        for line in sys.stdin:
            request = json.loads(line)
            if "wait" in request:
                pid = request["wait"]
                answer = _wait(pid, place) or _wait(_start(started[pid], place), place)
                assert answer is not None, f"a child hung twice: {started[pid]}"
            else:
                answer = {"pid": _start(request, place)}
                started[answer["pid"]] = request
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
