"""Python in a new process that does not import torch again, for tests that start many.

``run`` is ``subprocess.run`` of Python, done by a fork of a process that has imported the packages
of others (``PACKAGES``) and nothing of this project. A test of what is imported, of the threads of
OpenMP or of signals starts a process of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torch.utils.data", "numpy", "PIL.Image", "safetensors.torch", "tyro")
SECONDS = 300.0


def run(
    arguments: Sequence[object],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run Python with the arguments ``-c CODE``, ``-m MODULE ...`` or ``FILE ...`` in ``cwd``.

    ``env``: its whole environment, by default that of this process. Raises
    ``subprocess.TimeoutExpired`` after ``seconds``.
    """
    words = [str(argument) for argument in arguments]
    if not hasattr(os, "fork"):
        command = [sys.executable, *words]
        return subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=seconds
        )
    with tempfile.TemporaryDirectory() as place:
        request = {
            "words": words, "cwd": str(cwd), "env": dict(os.environ if env is None else env),
            "place": place, "seconds": seconds,
        }  # fmt: skip
        code = _server().ask(request)
        if code is None:
            raise subprocess.TimeoutExpired(words, seconds)
        out, err = (Path(place, name).read_text(errors="replace") for name in ("out", "err"))
    return subprocess.CompletedProcess(words, code, out, err)


class _Server:
    """The client of the process that forks."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lock = threading.Lock()
        atexit.register(self.process.stdin.close)

    def ask(self, request: dict[str, Any]) -> int | None:
        with self.lock:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            pid = int(self.process.stdout.readline())
        done = Path(request["place"]) / "code"
        while not done.exists():
            if self.process.poll() is not None:
                raise RuntimeError(f"the process that forks has ended: {self.process.returncode}")
            time.sleep(0.01)
        said = done.read_text()
        return None if said == f"{pid} hangs" else int(said)


_STARTED: list[_Server] = []


def _server() -> _Server:
    if not _STARTED:
        _STARTED.append(_Server())
    return _STARTED[0]


def _child(request: dict[str, Any]) -> None:
    """Be a new Python process with the words of a request; it ends by an exception or returns."""
    import runpy

    first, *rest = request["words"]
    path = [one for one in request["env"].get("PYTHONPATH", "").split(os.pathsep) if one]
    if first == "-c":
        sys.argv, sys.path[:0] = ["-c", *rest[1:]], ["", *path]
        module = type(sys)("__main__")
        sys.modules["__main__"] = module
        exec(compile(rest[0], "<string>", "exec"), vars(module))
    elif first == "-m":
        sys.argv, sys.path[:0] = rest, [request["cwd"], *path]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[:0] = [first, *rest], [str(Path(first).resolve().parent), *path]
        runpy.run_path(first, run_name="__main__")


def _forked(request: dict[str, Any]) -> int:
    """Run a request in a child, whose process id is returned."""
    import traceback

    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number, name in ((1, "out"), (2, "err")):
            file = os.open(os.path.join(request["place"], name), os.O_WRONLY | os.O_CREAT)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        try:
            _child(request)
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        threading._shutdown()  # waits for threads, as a process at its end does
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _awaited(pid: int, place: str, seconds: float) -> None:
    """Write the exit code of a child to the file ``code``, or that the child hangs."""
    import signal

    end = time.monotonic() + seconds
    done, status = os.waitpid(pid, os.WNOHANG)
    while not done and time.monotonic() < end:
        time.sleep(0.01)
        done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    said = str(os.waitstatus_to_exitcode(status)) if done else f"{pid} hangs"
    Path(place, "part").write_text(said)
    Path(place, "part").rename(Path(place, "code"))


def main() -> None:
    """Serve requests until the standard input ends."""
    import importlib

    del sys.path[0]  # the folder of this file
    for name in PACKAGES:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        # A process between, so that this one neither waits nor has threads when it forks.
        between = os.fork()
        if not between:
            pid = _forked(request)
            answers.write(f"{pid}\n")
            answers.flush()
            _awaited(pid, request["place"], request["seconds"])
            os._exit(0)
        _reap()


def _reap() -> None:
    """Let the processes between that have ended go."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    main()
