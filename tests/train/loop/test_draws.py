"""Data sets that are smaller than a batch are refused, with advice."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from core.data import open_dataset
from core.data.scenes import Scenes
from core.errors import DataError
from tests.helpers import published_layouts as made
from train.loop.draws import LoaderError, _watched, check_enough, start_loader, started


@pytest.mark.parametrize(
    ("batch", "processes", "end"),
    [
        (4, 2, "holds 6 pictures, fewer than the 8 of one step; give more pictures, or choose "
               "--batch 3."),
        (7, 1, "fewer than the 7 of one step; give more pictures, or choose --batch 6."),
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
        loader = DataLoader(list(range(400)), num_workers=1, worker_init_fn=start_loader)
        with started(loader) as batches:
            next(batches)
            (process,) = (p for p in multiprocessing.active_children() if p.is_alive())
            os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.3)  # the signal has arrived, and nobody has waited for the process
    finally:
        signal.signal(signal.SIGCHLD, before)
