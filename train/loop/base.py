"""The parts of a run that tokenizers and priors share: one process or many, CPU or GPU.

A run is a function of its config: draws are numbered, noise is seeded by the step, the learning
rate follows the step. So a resumed run has the weights of an uninterrupted one, bit for bit on one
CPU.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from regvq.bundles.bundle import find_bundle
from regvq.distributed import mean_over_processes
from regvq.errors import CheckpointError, printable
from regvq.malloc import keep_freed_memory

from ..cli.stopping import StopSignals, end_loaders, stop_signals
from ..config.base import AdamWConfig, CommonConfig
from .announcement import announcement
from .draws import Batches, LoaderError
from .kinds import RunParts
from .losses import LossRecord
from .optim import lr_scale, use_bf16
from .processes import (
    FAILED,
    LOADER_DIED,
    ProcessError,
    accelerator,
    agreed,
    lost_connection,
    share_of,
)
from .record import RunRecord, Validations, best_of, validations_of
from .resuming import check_no_state_is_missing, resumed
from .saving import SaveError, save_errors
from .settings import described_settings, recorded_processes
from .state import Part, load_state, repair_state, save_state
from .trackers import BOARD, Trackers, check_trackers


class NonFiniteLoss(ArithmeticError):
    """A loss or a gradient that is not finite; states the term, the step and the saved state."""


class TrainingRun(RunParts):
    """One run. ``train()`` resumes the run in ``out``, if any, and returns the bundle's folder.

    A subclass provides the methods of ``RunParts``; it puts the modules and optimizers that are
    saved and restored into ``parts``.
    """

    def __init__(self, config: CommonConfig, out: Path) -> None:
        self.config, self.out = config, out
        check_trackers(config.tracker)
        keep_freed_memory()
        self.accelerator = accelerator()
        self.half = use_bf16(config.precision)
        self.device = self.accelerator.device
        # All crops of a part of a run have one size, so the fastest convolutions are found once.
        torch.backends.cudnn.benchmark = self.device.type == "cuda"
        self.parts: dict[str, Part] = {}
        self._losses = LossRecord()
        self.broken: dict[Path, str] = {}
        self.fixed: dict[str, str] = {}
        """Facts that must be the same when the run is resumed, although no setting states them."""
        self.processes = recorded_processes(out) or self.accelerator.num_processes
        """Processes with which the run was started: they determine its pictures per step."""
        self.reached = 0
        """Steps that are done."""
        self.stopped_by: int | None = None
        """The signal that stopped ``train``; None if it trained to the last step."""
        self.announces = False
        """True if ``train`` prints what it is going to do."""
        self.saved: int | None = None
        """The step of the last whole state."""
        self.record: RunRecord | None = None
        """The log, TensorBoard's file and the samples, on the main process."""
        self.trackers: Trackers | None = None
        """The other trackers, on the main process."""

    @property
    def state_folder(self) -> Path:
        """The folder of the run's state."""
        return self.out / "state"

    def train(self) -> Path:
        """Train to the last step (or ``stop_after``, or a signal) and write state and bundle.

        Raises LoaderError, after the state was saved, if a process that loads pictures died, and
        ProcessError if another process of the run ended.
        """
        config, main = self.config, self.accelerator.is_main_process
        stop_signals.quiet = not main
        bundle, problem = self.out / "bundle", None
        try:
            if main:
                repair_state(self.state_folder)
            self.accelerator.wait_for_everyone()
            step, log = self._load()
            last = min(config.steps, config.stop_after or config.steps)
            if main and self.announces:
                words = announcement(
                    config, self.out, self._facts(), self.device, self.half,
                    (self.processes, self.accelerator.num_processes), step, last,
                )  # fmt: skip
                print(words, flush=True)
            bar = tqdm(
                total=config.steps, initial=step, unit="step", disable=not main, dynamic_ncols=True
            )
            with stop_signals.training(self._kept) as stop, bar:
                if main:
                    with save_errors(self, step):
                        self.record = RunRecord(
                            self.out, step, config.save_every, log, board=BOARD in config.tracker
                        )
                        self.trackers = Trackers(
                            config.tracker, self.out, described_settings(config),
                            self.record.rows(), self.record.last,
                        )  # fmt: skip
                        self._finish_export(step, last)
                problem = self._steps(stop, step, last, bar)
                whole = self.stopped_by is None and problem is None
                if whole or self.reached > step:
                    # What only the last bundle has takes time, which a stop may not have.
                    bundle = self._save(self.reached, final=whole)
        except RuntimeError as error:
            if isinstance(error, SaveError) or not lost_connection(error):
                raise
            raise ProcessError(
                f"another of the {self.accelerator.num_processes} processes of this run ended; "
                f"{self._kept()}."
            ) from error
        finally:
            end_loaders()
            if self.trackers is not None:
                self.trackers.finish()
        if problem is not None:
            raise LoaderError(f"{problem}; {self._kept()}.")
        if main and self.broken:
            names = ", ".join(sorted(printable(path.name) for path in self.broken)[:5])
            print(f"{len(self.broken)} broken pictures were skipped: {names}")
        return bundle

    def _load(self) -> tuple[int, Any]:
        """Load the saved state, if there is one; return the step that it has reached, and what it
        knows of the log."""
        further: dict[str, Tensor] = {}
        numbers = load_state(self.state_folder, self.parts, further)
        if numbers is None:
            check_no_state_is_missing(self.out)
            return 0, None
        self.reached = self.saved = self._resume(numbers)
        self._restore_further(further)
        return self.reached, numbers.get("log")

    def _steps(self, stop: StopSignals, first: int, last: int, bar: tqdm) -> str | None:
        """Take the steps ``first`` to ``last`` - 1, or fewer if all processes agree to stop.

        Return a sentence if a loader died.
        """
        config = self.config
        seen, started = 0, time.perf_counter()
        with closing(self._stream(first, last)) as stream:
            while True:
                batch, error = (None, None) if stop.number else _fetch(stream)
                code = self._agree(stop, error)
                if code == LOADER_DIED:
                    return str(error or "a process that loads pictures for another one died")
                if code or batch is None:
                    self.stopped_by = code if code and self.reached < last else None
                    return None
                losses = self.step(batch, self.reached)
                self.reached = step = self.reached + 1
                stop.progress()
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

    def _agree(self, stop: StopSignals, error: Exception | None) -> int:
        """Return the signal by which all processes stop before the next step, LOADER_DIED, or 0.

        Raises the error of a process in that process, and ProcessError in the others.
        """
        code = stop.number or 0
        if error is not None:
            code = LOADER_DIED if isinstance(error, LoaderError) else FAILED
        code = agreed(code, self.device)
        if code == FAILED:
            raise error or ProcessError("another process of this run ended with an error.")
        if code and code != LOADER_DIED:
            stop.number = code  # also in the processes that received no signal
        return code

    def _kept(self) -> str:
        """Return the words on what is kept if the run ends now."""
        if self.saved is None:
            return "no state was saved yet, and the same command starts the run again"
        return (
            f"the state of step {self.saved} is kept in {self.state_folder}, go on with the same "
            "command"
        )

    def _resume(self, numbers: Mapping[str, Any]) -> int:
        """Return the step that a saved run has reached. Raises CheckpointError if resuming would
        change it, or if the numbers are not those of a run."""
        found = resumed(numbers, self.config, self.out, self.fixed, self.processes)
        self.broken |= found.broken
        self.processes = found.processes
        return found.step

    def _share(self, batch: int) -> int:
        """Return this process's pictures per step, of a run that started with ``batch`` on each
        process. The total is that of the start, whatever the number of processes is now."""
        return share_of(batch * self.processes, self.accelerator.num_processes, self.out)

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

    def _check(self, losses: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return the means of the losses over all processes.

        Raises NonFiniteLoss, in all processes, before the optimizer spreads a value that is not
        finite into the weights. On a GPU it is raised before the next log or save instead: the host
        would have to wait at each step.
        """
        values = mean_over_processes(torch.stack([x.detach().float() for x in losses.values()]))
        self._losses.add(step, losses, values)
        if values.device.type == "cpu":
            self._check_finite()
        return dict(zip(losses, values.unbind(), strict=True))

    def _check_finite(self) -> None:
        """Raise NonFiniteLoss if a loss of the steps since the last call is not finite."""
        bad = self._losses.first_bad()
        if bad is None:
            return
        kept, init = "no state was saved yet", ""
        if self.saved is not None:
            kept = f"the state of step {self.saved} is kept in {self.state_folder}"
            init = f", --init {self.out} to continue from its weights"
        raise NonFiniteLoss(
            f"{bad.term} is not finite at step {bad.step}; {kept}. Start another run: another "
            f"--out, a lower --optimizer.lr than {self.config.optimizer.lr:g} or a lower weight of "
            f"that term{init}."
        )

    def _lr_scale(self, step: int, settings: AdamWConfig) -> float:
        return lr_scale(step, self.config.steps, settings.warmup, settings.schedule)

    def _log(self, step: int, losses: Mapping[str, Tensor], speed: float, bar: tqdm) -> None:
        self._check_finite()
        figures, shown = self._figures(losses)  # a collective: every process takes part
        if self.accelerator.is_main_process and (warning := self._warning(figures, step)):
            bar.write(f"WARNING: {warning}", file=sys.stderr)
        due = step % self.config.log_every == 0 or step == self.config.steps
        self._write({**figures, "images_per_second": speed}, step, stopped=not due)
        bar.set_postfix(shown, img_s=f"{speed:.0f}")

    def _write(self, figures: Mapping[str, float], step: int, stopped: bool = False) -> None:
        """Write the figures of a step to TensorBoard's file and to ``log.jsonl``.

        ``stopped``: True if the uninterrupted run does not have them (see ``RunRecord``).
        """
        if self.record is not None and figures:
            with save_errors(self, step):
                self.record.write(step, figures, stopped)
        if self.trackers is not None and figures and not stopped:
            self.trackers.write(step, figures)

    def _is_validated(self, step: int) -> bool:
        """Return True if the save at this step measures the whole held-out set."""
        every, save = self.config.validate_every, self.config.save_every
        before = (step - 1) // save * save  # the last save before
        return every > 0 and self._is_due(step) and step // every > before // every

    def _is_due(self, step: int) -> bool:
        """Return True if an uninterrupted run saves at this step, too."""
        return step % self.config.save_every == 0 or step == self.config.steps

    def _save(self, step: int, final: bool = True) -> Path:
        self._check_finite()
        bundle, further = self.out / "bundle", self._further_state()
        measured = {}
        if step != self.saved and self._is_validated(step):
            with stop_signals.phase("the held-out pictures are being measured"):
                measured = self._validate()
        saving = f"the state of step {step} is being saved, and its checkpoint will be exported"
        exporting = f"the state of step {step} is saved, and its checkpoint is being exported"
        if self.record is not None:
            with save_errors(self, step):
                if step != self.saved:
                    with stop_signals.phase(saving):
                        self._save_state(step, further, measured)
                with stop_signals.phase(exporting):
                    self._export(bundle, step, final)
                    self._keep_best(step)
                    self.record.thin_samples(step)
        with stop_signals.phase("the main process is saving"):
            self.accelerator.wait_for_everyone()
        self.saved = step
        return bundle

    def _save_state(
        self, step: int, further: Mapping[str, Tensor], measured: Mapping[str, float]
    ) -> None:
        figures = {**self._measure(), **measured}
        self._write(figures, step, stopped=not self._is_due(step))
        log = self.record.sync()  # the state vouches for the rows up to its step
        numbers = {
            "step": step,
            "processes": self.processes,
            "broken": {str(path): sentence for path, sentence in self.broken.items()},
            "fixed": self.fixed,
            "log": log,
        }
        save_state(self.state_folder, self.parts, numbers, further)
        self.saved = step

    def validations(self) -> Validations:
        """Return the figures of held-out pictures in the log, by step; on the main process only."""
        rows = [] if self.record is None else self.record.rows()
        return validations_of(rows, self._is_validated)

    def best(self) -> int | None:
        """Return the step of the best validation so far, on the main process; None without one."""
        return best_of(self.validations(), self._score)

    def _keep_best(self, step: int) -> None:
        if self._is_validated(step) and self.best() == step:
            self._export_best(self.out / "best", step)

    def _finish_export(self, step: int, last: int) -> None:
        """Export the saved state again if the export of a save was interrupted."""
        if not 0 < step < last or step % self.config.save_every:
            return
        bundle = self.out / "bundle"
        try:
            exported = find_bundle(bundle).metrics.get("step")
        except CheckpointError:
            exported = None
        if exported != step:
            print(f"The bundle of step {step} is written now: its export was interrupted.")
            self._export(bundle, step, final=False)
            self._keep_best(step)
            self.record.thin_samples(step)


def _fetch(stream: Iterator[Any]) -> tuple[Any, Exception | None]:
    """Return the next batch, or None at the end, or the error that prevented it."""
    try:
        return next(stream, None), None
    except Exception as error:
        return None, error
