"""Signals that stop a run: the first asks it to save and stop, a second one ends it at once.

A thread reads the numbers of arriving signals from a pipe, into which Python's handler in C writes
them. So a second signal ends the process even while the main thread waits inside a library, for
example for a process that has died. This module imports nothing heavy, so that a command can call
``stop_signals.install()`` before anything else.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
STOPPING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""The signals that stop a run: those of schedulers, service managers, terminals and Ctrl-C."""

_SAME_STOP = 0.3  # s; `timeout` and shells send a signal to a process and again to its group
_LAUNCHED_SAME_STOP = 3.0  # s; torchrun passes on a signal that its group has received, too
_LOST = 20.0  # s without progress after a signal: a process that this one waits for has ended


def under_launcher() -> bool:
    """Return True if torchrun or ``accelerate launch`` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def exit_code(number: int) -> int:
    """Return the exit code of a run that was stopped by a signal after its state was saved.

    It is 128 + ``number``, as shells expect, and 0 under a launcher, which prints a stack trace for
    any other code.
    """
    return 0 if under_launcher() else 128 + number


def launched_processes() -> int:
    """Return the number of processes that the launcher of this one started."""
    names = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
    counts = (os.environ.get(name, "") for name in names)
    return next((int(count) for count in counts if count.isdigit()), 1)


class StopSignals:
    """The stop signals of this process. There is one instance, ``stop_signals``."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The first stop signal that arrived; None as long as none did."""
        self.starting = True
        """True until training begins: nothing is to be saved, so one signal ends the process."""
        self.quiet = False
        """True in a process that does not answer a first signal: another one does."""
        self._kept: Callable[[], str] = lambda: "nothing was changed"
        self._phase = ""
        self._first: float | None = None
        self._progress = time.monotonic()
        self._pipe: tuple[int, int] | None = None
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Handle the stop signals from now on; do nothing outside the main thread.

        A signal that the process was told to ignore remains ignored: ``nohup`` ignores SIGHUP.
        """
        if self._pipe is not None or threading.current_thread() is not threading.main_thread():
            return
        self.number, self._first, self.starting, self._phase = None, None, True, ""
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        for number in STOPPING:
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(self._pipe[0],), daemon=True).start()

    def remove(self) -> None:
        """Restore the handlers that were there before."""
        if self._pipe is None:
            return
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        _, writer = self._pipe
        self._pipe, self._before = None, {}
        os.close(writer)  # ends the thread, which closes the other end

    @contextlib.contextmanager
    def training(self, kept: Callable[[], str]) -> Iterator[StopSignals]:
        """Within the block, the first signal only sets ``number``.

        ``kept`` returns the words on what is kept if a second signal ends the process.
        """
        installed = self._pipe is not None
        self.install()
        self.starting, self._kept = False, kept
        self.progress()
        try:
            yield self
        finally:
            self._phase = "the run is ending"
            if not installed:
                self.remove()

    def progress(self) -> None:
        """Note that the run is not waiting for a process that has died."""
        self._progress = time.monotonic()

    @contextlib.contextmanager
    def phase(self, words: str) -> Iterator[None]:
        """Within the block, a first signal is answered with ``words``, and so is one that came
        before it."""
        self._phase = words
        if self.number is not None and not self.quiet:
            _say(f"{words}; a second signal ends the run at once.")
        try:
            yield
        finally:
            self._phase = ""
            self.progress()

    def _note(self, number: int, frame: object) -> None:
        if self.number is None:
            self.number = number

    def _watch(self, reader: int) -> None:
        with contextlib.suppress(OSError):
            while self._pipe is not None and self._pipe[0] == reader:
                ready, _, _ = select.select([reader], [], [], 1.0)
                if ready:
                    found = os.read(reader, 1)
                    if not found:
                        break
                    if found[0] in STOPPING:
                        self._heard(found[0])
                elif self._is_stuck():
                    self._leave(int(self.number or 0), "a process that this one waits for is gone")
        os.close(reader)

    def _heard(self, number: int) -> None:
        now = time.monotonic()
        name = signal.Signals(number).name
        if self.starting:
            self._leave(number, f"{name}: stopped before the first step")
        if self._first is None:
            self._first = self._progress = now
            doing = self._phase or "the run stops after this step and saves its state"
            if not self.quiet:
                _say(f"{name}: {doing}; a second signal ends the run at once.")
        elif now - self._first > (_LAUNCHED_SAME_STOP if under_launcher() else _SAME_STOP):
            self._leave(number, f"{name} again: stopped at once")

    def _is_stuck(self) -> bool:
        waits = self._first is not None and not self._phase and launched_processes() > 1
        return waits and time.monotonic() - self._progress > _LOST

    def _leave(self, number: int, why: str) -> None:
        """End the process and its loaders, without giving the main thread a turn."""
        _say(f"{why}; {self._kept()}.")
        end_loaders()
        alone = launched_processes() == 1
        # Another code than 0 makes the launcher end the other processes, which would wait.
        os._exit(exit_code(number) if alone else 128 + number)


stop_signals = StopSignals()
"""The stop signals of this process."""


def ignore_stop_signals() -> None:
    """Make this process, a loader, deaf to the signals: the trainer ends it when it stops.

    A signal to the process group must not end the loaders before the trainer has saved its state.
    """
    signal.set_wakeup_fd(-1)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def end_with_parent() -> None:
    """Let the system kill this process when its parent ends, on Linux.

    Otherwise a loader of a run that was killed would live, and hold the run's lock, for seconds.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def stop_signals_held() -> Iterator[None]:
    """Hold back the signals while processes are started, which inherit that.

    Otherwise a signal could end a process that has not called ``ignore_stop_signals`` yet.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_loaders() -> None:
    """Kill the processes that ``multiprocessing`` started from this one: they ignore SIGTERM."""
    for child in multiprocessing.active_children():
        with contextlib.suppress(OSError, ValueError):
            child.kill()


class _Lasting:
    """A stream that outlives its terminal or pipe: then it writes nowhere, and raises nothing."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def keep_printing() -> None:
    """Let a run go on when its terminal is closed or the reader of its output has ended."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Lasting):
            setattr(sys, name, _Lasting(stream))


def _say(words: str) -> None:
    """Print a line from any thread: to the file itself, as a stream may be locked."""
    with contextlib.suppress(OSError):
        os.write(2, f"\n{words}\n".encode())
