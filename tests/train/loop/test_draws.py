"""Data sets that are smaller than a batch are refused, with advice."""

from __future__ import annotations

import multiprocessing
import os
import signal
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from core.data import open_dataset
from core.data.scenes import Scenes
from core.errors import DataError
from tests.helpers import published_layouts as made
from train.loop import draws
from train.loop.draws import (
    Batches,
    LoaderError,
    _end_of,
    _watched,
    check_enough,
    draw_numbers,
    start_loader,
    started,
)


@pytest.mark.parametrize(
    ("batch", "processes", "end"),
    [
        (4, 2, "holds 6 pictures, fewer than the 8 of one step; give more pictures, or choose "
               "--batch 3."),
        (7, 1, "fewer than the 7 of one step; give more pictures, or choose --batch 6."),
        (2, 6, "fewer than the 12 of one step; give more pictures, or choose --batch 1."),
        (1, 7, "holds 6 pictures, fewer than the 7 of one step; give more pictures."),
    ],
)  # fmt: skip
def test_too_few_pictures_for_a_batch_are_refused(
    tmp_path: Path, batch: int, processes: int, end: str
) -> None:
    data = open_dataset("imagenet", made.imagenet(tmp_path))
    with pytest.raises(DataError) as caught:
        check_enough(data, batch, processes)
    assert str(caught.value).startswith(f"{tmp_path} holds") and str(caught.value).endswith(end)


def test_just_enough_pictures_are_accepted(tmp_path: Path) -> None:
    data = open_dataset("imagenet", made.imagenet(tmp_path))
    check_enough(data, 6, 1)
    check_enough(data, 2, 3)
    with pytest.raises(DataError, match="the data set 'scenes' holds 1 picture, fewer"):
        check_enough(Scenes(size=16, length=1), 2, 1)


def test_a_dead_loader_is_found_although_it_seems_alive_for_a_moment():
    """Its connection is reset before the system reports its end."""

    class Dying:
        exitcode = -9
        asked = 0

        def is_alive(self):
            self.asked += 1
            return self.asked < 4

    def reset():
        raise ConnectionResetError(104, "Connection reset by peer")
        yield  # a generator

    with pytest.raises(LoaderError, match="was killed by signal 9"):
        next(_watched(reset(), [Dying()]))
    with pytest.raises(ConnectionResetError):
        next(_watched(reset(), []))


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="needs SIGCHLD")
def test_a_killed_loader_raises_nowhere_else() -> None:
    """torch's handler, once another loader has set it, would raise anywhere in the main thread."""
    before = signal.getsignal(signal.SIGCHLD)
    signal_handling._SIGCHLD_handler_set = False
    try:
        for batch in DataLoader(list(range(4)), num_workers=1):  # as a data set of the user's own
            assert len(batch) == 1
        assert signal.getsignal(signal.SIGCHLD) != before
        first = set(multiprocessing.active_children())  # one may not have ended yet
        loader = DataLoader(list(range(400)), num_workers=1, worker_init_fn=start_loader)
        with started(loader) as batches:
            next(batches)
            (process,) = set(multiprocessing.active_children()) - first
            os.kill(process.pid, signal.SIGKILL)
            # The process has ended, its signal has arrived, and nobody has waited for it.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "ended with exit code None"),
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was killed by signal 9, as the system does when memory runs out"),
        (-11, "was killed by signal 11"),
    ],
)
def test_the_end_of_a_loader_is_told(code: int | None, words: str) -> None:
    assert _end_of(SimpleNamespace(exitcode=code)) == words


def test_draws_are_shared_by_processes_and_steps() -> None:
    """Batches of all processes together are the draws in their order, each once."""
    for processes in (1, 3):
        found = [
            number
            for step in range(4)
            for rank in range(processes)
            for number in draw_numbers(step, 5, rank, processes)
        ]
        assert found == list(range(20 * processes))


class Noting:
    """A data set with a broken picture, which it notes when it is drawn."""

    name = "noting"

    def __init__(self) -> None:
        self.broken: dict[Path, str] = {}
        self.noted: list[Path] = []

    def draw(self, k: int) -> SimpleNamespace:
        if k % 4 == 1:
            self.broken[Path(f"{k % 8}.png")] = "it is broken"
        return SimpleNamespace(number=k)

    def note_broken(self, path: Path, sentence: str) -> None:
        self.noted.append(path)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_files_are_noted_in_the_process_of_the_run(workers: int) -> None:
    data = Noting()
    batches = Batches(data, 4, 0, 0, 1, workers, lambda samples: [each.number for each in samples])
    found = list(islice(batches, 3))
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert {Path("1.png"), Path("5.png")} == set(batches.broken)
    # Without workers the data set itself has found them; of workers, each has its own copy.
    assert set(data.noted) == (set() if workers == 0 else set(batches.broken))


def test_loaders_ignore_signals_and_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(draws, "ignore_stop_signals", lambda: done.append("signals"))
    monkeypatch.setattr(draws, "end_with_parent", lambda: done.append("parent"))
    monkeypatch.setattr("threadpoolctl.threadpool_limits", done.append)
    start_loader(3)
    assert done == ["signals", "parent", 1]


class _Loader:
    """A loader whose worker takes no notice of signals."""

    def __init__(self) -> None:
        self.killed = 0
        self._workers = [SimpleNamespace(kill=self.kill)]

    def __iter__(self) -> _Loader:
        return self

    def __next__(self) -> int:
        return 1

    def kill(self) -> None:
        self.killed += 1


def test_the_processes_of_a_loader_are_killed_at_its_end() -> None:
    loader: Any = _Loader()
    with pytest.raises(KeyboardInterrupt), started(loader):
        assert not loader.killed
        raise KeyboardInterrupt
    assert loader.killed == 1
