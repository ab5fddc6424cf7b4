"""The parts of a run that tokenizers and priors share: one process or many, CPU or GPU.

A run is a function of its config: draws are numbered, noise is seeded by the step, the learning
rate follows the step. So a resumed run has the weights of an uninterrupted one, bit for bit on one
CPU.
"""

from __future__ import annotations

import json
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from regvq.errors import CheckpointError, printable
from regvq.malloc import keep_freed_memory

from ..config.base import AdamWConfig, CommonConfig
from .draws import Batches
from .optim import lr_scale, use_bf16
from .state import Part, load_state, save_state


class NonFiniteLoss(ArithmeticError):
    """A loss or a gradient that is not finite; states the term, the step and the saved state."""


class TrainingRun(ABC):
    """One run. ``train()`` resumes the run in ``out``, if any, and returns the bundle's folder.

    A subclass provides the batches, the step and the export; it puts the modules and optimizers
    that are saved and restored into ``parts``.
    """

    def __init__(self, config: CommonConfig, out: Path) -> None:
        self.config, self.out = config, out
        keep_freed_memory()
        # Autocast is our own: accelerate has one per process, and a study trains many models.
        self.accelerator = Accelerator(mixed_precision="no")
        self.half = use_bf16(config.precision)
        self.device = self.accelerator.device
        self.parts: dict[str, Part] = {}
        self.broken: dict[Path, str] = {}
        self.fixed: dict[str, str] = {}
        """Facts that must be the same when the run is resumed, although no setting states them."""
        self.stopping = False
        self._writer: Any = None

    @abstractmethod
    def _stream(self, step: int, last: int) -> Iterator[Sized]:
        """Yield the batches of steps ``step`` to ``last`` - 1; their len is the number of
        pictures."""

    @abstractmethod
    def step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Take one optimizer step; return the loss terms, detached."""

    @abstractmethod
    def _figures(self, losses: Mapping[str, Tensor]) -> tuple[dict[str, float], dict[str, str]]:
        """Return the figures of a step for the log, and those for the progress bar. Collective."""

    @abstractmethod
    def _export(self, bundle: Path, step: int, final: bool) -> None:
        """Write sample pictures and the bundle, on the main process only; ``final``: the last."""

    @property
    def state_folder(self) -> Path:
        """The folder of the run's state."""
        return self.out / "state"

    def train(self) -> Path:
        """Train to the last step (or ``stop_after``, or SIGTERM) and write state and bundle."""
        config, main = self.config, self.accelerator.is_main_process
        numbers = load_state(self.state_folder, self.parts)
        step = 0 if numbers is None else self._resume(numbers)
        last = min(config.steps, config.stop_after or config.steps)
        stream = self._stream(step, last)
        bar = tqdm(
            total=config.steps, initial=step, unit="step", disable=not main, dynamic_ncols=True
        )
        self._writer = self._open_writer() if main else None
        seen, started = 0, time.perf_counter()
        with bar, self._graceful_stop():
            for batch in stream:
                losses = self.step(batch, step)
                step += 1
                seen += len(batch) * self.accelerator.num_processes
                bar.update()
                if step % config.log_every == 0 or step == last:
                    speed = seen / (time.perf_counter() - started)
                    seen, started = 0, time.perf_counter()
                    self._log(step, losses, speed, bar)
                if step % config.save_every == 0 and step < last:
                    saving = time.perf_counter()
                    self._save(step, final=False)
                    started += time.perf_counter() - saving
                if self.stopping:
                    break
        bundle = self._save(step)
        if self._writer is not None:
            self._writer.close()
        if main and self.broken:
            names = ", ".join(sorted(printable(path.name) for path in self.broken)[:5])
            print(f"{len(self.broken)} broken pictures were skipped: {names}")
        return bundle

    def _resume(self, numbers: Mapping[str, Any]) -> int:
        """Return the step that a saved run has reached. Raises CheckpointError if resuming would
        change it."""
        for name, before in numbers.get("fixed", {}).items():
            if (now := self.fixed.get(name)) != before:
                raise CheckpointError(
                    f"the run in {self.out} was started with {name} {before!r}, and would resume "
                    f"with {now!r}; provide the same {name} again, or choose another --out."
                )
        self.broken |= {Path(path): words for path, words in numbers.get("broken", {}).items()}
        return int(numbers["step"])

    def _limited(self, batches: Batches, count: int) -> Iterator[Any]:
        """Yield the first ``count`` batches, and collect the files that turn out to be broken."""
        for batch in islice(batches, count):
            self.broken |= batches.broken
            yield batch
        self.broken |= batches.broken

    def _noise(self, step: int) -> torch.Generator:
        """Return the generator of a step's noise, the same after any interruption."""
        noise = torch.Generator(self.device)
        return noise.manual_seed(
            (self.config.seed << 40) + step * 65_536 + self.accelerator.process_index
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def _check(self, losses: Mapping[str, Tensor], step: int) -> None:
        """Raise before the optimizer spreads a value that is not finite into the weights."""
        if bool(torch.isfinite(torch.stack([x.float() for x in losses.values()])).all()):
            return
        term = next(name for name, x in losses.items() if not bool(torch.isfinite(x)))
        raise NonFiniteLoss(
            f"{term} is not finite at step {step}; the state of the last save is kept in "
            f"{self.state_folder}. Lower optimizer.lr or that term's weight and start again."
        )

    def _lr_scale(self, step: int, settings: AdamWConfig) -> float:
        return lr_scale(step, self.config.steps, settings.warmup, settings.schedule)

    def _log(self, step: int, losses: Mapping[str, Tensor], speed: float, bar: tqdm) -> None:
        figures, shown = self._figures(losses)  # a collective: every process takes part
        self._write({**figures, "images_per_second": speed}, step)
        bar.set_postfix(shown, img_s=f"{speed:.0f}")

    def _write(self, figures: Mapping[str, float], step: int) -> None:
        """Write the figures of a step to TensorBoard's log and to ``log.jsonl``."""
        if self._writer is None:
            return
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")

    def _save(self, step: int, final: bool = True) -> Path:
        bundle = self.out / "bundle"
        if self.accelerator.is_main_process:
            broken = {str(path): sentence for path, sentence in self.broken.items()}
            numbers = {"step": step, "broken": broken, "fixed": self.fixed}
            save_state(self.state_folder, self.parts, numbers)
            self._export(bundle, step, final)
        self.accelerator.wait_for_everyone()
        return bundle

    def _open_writer(self) -> object:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.out / "tensorboard"))

    @contextmanager
    def _graceful_stop(self) -> Iterator[None]:
        """On SIGTERM or Ctrl-C, finish the step, save and stop; a second Ctrl-C stops at once."""

        def stop(number: int, frame: object) -> None:
            self.stopping = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        try:
            before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # not the main thread: its owner handles signals
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
