"""Real runs of ``train/run.py`` in processes of their own, which tests stop and kill."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from core.paths import ROOT

RUN = ROOT / "train" / "run.py"
TINY = (
    "--tokenizer.network.widths", "8", "16", "--tokenizer.network.decoder-widths", "None",
    "--tokenizer.network.encoder-blocks", "1",
    "--tokenizer.network.decoder-blocks", "1", "--tokenizer.network.latent-dim", "4",
    "--tokenizer.quantizer.size", "32", "--batch", "2", "--data.size", "32", "--features.name",
    "none", "--loss.perceptual", "0", "--loss.adversarial", "0", "--log-every", "1",
)  # fmt: skip
"""A tokenizer's run of 50 steps per second; its log has a row for every step."""


def usual_signals() -> None:
    """Undo in a child what nohup or a launcher of the tests may have set for it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class RealRun:
    """A run in a process group of its own.

    ``ranks``: processes of torchrun, 0 without it. ``before``: words before the command, such as
    those of ``timeout``.
    """

    def __init__(
        self,
        out: Path,
        *flags: object,
        ranks: int = 0,
        recipe: str = "scenes-vq",
        before: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        self.out, self.ranks = out, ranks
        launcher = []
        if ranks:
            launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(ranks)]
            launcher += ["--master_port", str(free_port())]
        words = [*before, sys.executable, *launcher, RUN, recipe, *TINY, "--out", out, *flags]
        out.parent.mkdir(parents=True, exist_ok=True)
        self.file = out.with_suffix(f".{time.monotonic_ns()}.txt")
        settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
        with self.file.open("wb") as file:
            self.process = subprocess.Popen(
                [*map(str, words)],
                stdout=file,
                stderr=file,
                start_new_session=True,
                cwd=out.parent,
                env=os.environ | settings | environment,
                preexec_fn=usual_signals,
            )

    def __enter__(self) -> RealRun:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def said(self) -> str:
        """Everything that the run has printed."""
        return self.file.read_text(encoding="utf-8", errors="replace")

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the log."""
        file = self.out / "log.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def wait_for_step(self, step: int = 1, seconds: float = 300) -> None:
        """Wait until the log has the row of a step."""
        self.wait_until(lambda: bool(self.rows()) and self.rows()[-1]["step"] >= step, seconds)

    def wait_for_words(self, words: str, seconds: float = 300) -> None:
        """Wait until the run prints ``words``."""
        self.wait_until(lambda: words in self.said, seconds)

    def wait_until(self, holds: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.02)

    def send(self, number: int, group: bool = False) -> None:
        """Send a signal to the process, or to the whole group."""
        (os.killpg if group else os.kill)(self.process.pid, number)

    def send_to_rank(self, number: int, rank: int) -> None:
        """Send a signal to one of the processes that torchrun started."""
        os.kill(self.ranks_by_number()[rank], number)

    def ranks_by_number(self) -> dict[int, int]:
        """The process ids of the ranks."""
        found = {}
        for pid in children_of(self.process.pid):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
                settings = dict(word.split("=", 1) for word in words if "=" in word)
                if "RANK" in settings:
                    found[int(settings["RANK"])] = pid
        return found

    def ended(self, seconds: float = 300) -> int:
        """Wait for the end and return the exit code; negative: the signal that killed it."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s: {self.said}") from None

    def state_step(self) -> int | None:
        """The step of the saved state, None without one."""
        file = self.out / "state" / "state.json"
        return json.loads(file.read_text(encoding="utf-8"))["step"] if file.exists() else None


def children_of(pid: int) -> list[int]:
    """Return the ids of the processes that a process started."""
    file = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in file.read_text(encoding="utf-8").split()]


def free_port() -> int:
    """Return a port of this machine that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
