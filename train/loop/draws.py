"""Batches of training draws, numbered so that a run can resume at exactly the next one."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from regvq.data import Dataset, Sample
from regvq.errors import DataError

from ..cli.common import worker_start_method
from ..cli.stopping import end_with_parent, ignore_stop_signals, stop_signals_held

if TYPE_CHECKING:
    from regvq.data.token_shards import TokenShards


class LoaderError(DataError):
    """A loading process that died: one sentence, and the state of the run is unharmed."""


def images_of(samples: list[Sample]) -> Tensor:
    """Return the pictures of samples, (B, 3, S, S)."""
    return torch.stack([sample.image for sample in samples])


class Batches:
    """An endless stream of batches, starting at step ``first``.

    A batch is (B, 3, S, S), or the result of ``gather`` on its samples (called in the worker, so
    that only its result is sent). Batch ``step`` of process ``rank`` holds ``size`` draws from
    number ``(step * processes + rank) * size`` on. Draws are a function of the data set's seed
    alone: neither the number of workers nor an interruption changes them. ``broken`` collects the
    files that the copies of the data set in the workers skipped.
    """

    def __init__(
        self,
        dataset: Dataset,
        size: int,
        first: int,
        rank: int,
        processes: int,
        workers: int,
        gather: Callable[[list[Sample]], Any] = images_of,
    ) -> None:
        self.broken: dict[Path, str] = {}
        # Without workers the data set itself has noted its broken files.
        self._dataset = dataset if workers and hasattr(dataset, "note_broken") else None
        self._loader = DataLoader(
            _Numbered(dataset),
            batch_sampler=_Steps(size, first, rank, processes),
            num_workers=workers,
            collate_fn=partial(_collate, gather),
            pin_memory=torch.cuda.is_available(),
            multiprocessing_context=worker_start_method(workers),
            persistent_workers=workers > 0,
            worker_init_fn=start_loader,
        )

    def _note(self, path: Path, sentence: str) -> None:
        """Add up the broken files of all workers: each worker knows only its own share."""
        self.broken[path] = sentence
        if self._dataset is not None:
            self._dataset.note_broken(path, sentence)

    def __iter__(self) -> Iterator[Any]:
        with started(self._loader) as batches:
            for batch, broken, mistake in batches:
                for path, sentence in broken.items():
                    self._note(path, sentence)
                if mistake is not None:
                    raise DataError(mistake)
                yield batch


def draw_numbers(step: int, size: int, rank: int, processes: int) -> range:
    """Return the numbers of the draws in a process's batch of ``size``."""
    start = (step * processes + rank) * size
    return range(start, start + size)


def check_enough(dataset: Dataset | TokenShards, size: int, processes: int) -> None:
    """Raise DataError if a data set cannot fill one step of ``processes`` times ``size`` draws.

    Draws repeat the data set endlessly, so a step may hold the end of one round and the beginning
    of the next. A step that is larger than the data set would hold pictures twice in any case.
    """
    count, needed = len(dataset), size * processes
    if count >= needed:
        return
    place = getattr(dataset, "root", None) or f"the data set {dataset.name!r}"
    place = getattr(dataset, "place", place)
    fewer = f", or choose --batch {count // processes}" if count >= processes else ""
    raise DataError(
        f"{place} holds {count} picture{'s' if count > 1 else ''}, fewer than the {needed} of one "
        f"step; give more pictures{fewer}."
    )


def start_loader(worker: int) -> None:
    """Prepare a loading process: it ignores the signals that stop the run, and has one thread.

    Workers with several BLAS threads each compete for the cores (two of them drew scenes at a third
    of the speed of one).
    """
    from threadpoolctl import threadpool_limits

    ignore_stop_signals()
    end_with_parent()
    threadpool_limits(1)


@contextlib.contextmanager
def started(loader: DataLoader[Any]) -> Iterator[Iterator[Any]]:
    """Start the processes of a loader, yield its batches, and end the processes afterwards.

    The batches raise LoaderError, between two batches, if a process has died.
    """
    with stop_signals_held():
        iterator = iter(loader)
    _drop_torch_handler()
    workers = getattr(iterator, "_workers", [])
    try:
        yield _watched(iterator, workers)
    finally:
        for worker in workers:  # they ignore SIGTERM, with which torch would end slow ones
            worker.kill()


def _drop_torch_handler() -> None:
    """Remove torch's handler of SIGCHLD, also one that another loader of this process has set.

    It raises wherever the main thread is when a loading process ends, even in the middle of a step.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        return
    handler = signal.getsignal(signal.SIGCHLD)
    if getattr(handler, "__module__", "") == "torch.utils.data._utils.signal_handling":
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _watched(iterator: Iterator[Any], workers: list[Any]) -> Iterator[Any]:
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except (RuntimeError, OSError, EOFError) as error:
            dead = _dead(workers)
            if dead is None:
                raise
            raise LoaderError(f"a process that loads pictures {_end_of(dead)}") from error
        yield batch


def _dead(workers: list[Any], seconds: float = 1.0) -> Any | None:
    """Return a process that has died; its connection breaks a moment before the system says so."""
    end = time.monotonic() + seconds
    while True:
        for worker in workers:
            if not worker.is_alive():
                return worker
        if not workers or time.monotonic() > end:
            return None
        time.sleep(0.02)


def _end_of(worker: Any) -> str:
    code = worker.exitcode
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    memory = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
    return f"was killed by signal {-code}{memory}"


class _Steps:
    def __init__(self, size: int, first: int, rank: int, processes: int) -> None:
        self.size, self.first, self.rank, self.processes = size, first, rank, processes

    def __iter__(self) -> Iterator[list[int]]:
        for step in count(self.first):
            yield list(draw_numbers(step, self.size, self.rank, self.processes))


class _Numbered:
    """Draws by number, with the broken files that only this worker has found."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.known = 0

    def __getitem__(self, k: int) -> tuple[Sample | None, dict[Path, str], str | None]:
        try:
            sample, mistake = self.dataset.draw(k), None
        except DataError as error:  # sent as a sentence: DataLoader would wrap it in a traceback
            sample, mistake = None, str(error)
        broken = getattr(self.dataset, "broken", {})
        fresh = dict(list(broken.items())[self.known :])
        self.known = len(broken)
        return sample, fresh, mistake


def _collate(
    gather: Callable[[list[Sample]], Any],
    draws: list[tuple[Sample | None, dict[Path, str], str | None]],
) -> tuple[Any, dict[Path, str], str | None]:
    broken: dict[Path, str] = {}
    for _, fresh, mistake in draws:
        broken.update(fresh)
        if mistake is not None:
            return None, broken, mistake
    return gather([sample for sample, _, _ in draws]), broken, None
