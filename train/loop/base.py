"""What every training run does: one process or many, CPU or GPU, interrupted or not.

A run is a function of its config: draws are numbered, noise is seeded by the step, the learning
rate follows the step. So a resumed run gives the weights of one that was never stopped, bit for
bit on one CPU.
"""

from __future__ import annotations

import json
import math
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
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from regvq.errors import CheckpointError
from regvq.malloc import keep_freed_memory

from ..config.tokenizer import AdamWConfig, CommonConfig
from .draws import Batches
from .state import Part, load_state, save_state


class NotFinite(ArithmeticError):
    """A loss or a gradient is not finite; names the term, the step and what is still good."""


class Run(ABC):
    """One run. ``train()`` goes on from what is in ``out`` and returns the bundle's folder.

    A kind of run says what its batches are, what a step does with one, and what it hands out; it
    puts what is saved and restored into ``parts``.
    """

    def __init__(self, config: CommonConfig, out: Path) -> None:
        self.config, self.out = config, out
        keep_freed_memory()
        # Autocast is our own: accelerate's is one per process, and a study trains many models.
        self.accelerator = Accelerator(mixed_precision="no")
        self.half = use_bf16(config.precision)
        self.device = self.accelerator.device
        self.parts: dict[str, Part] = {}
        self.broken: dict[Path, str] = {}
        self.fixed: dict[str, str] = {}
        """What a run was begun with and must go on with, although no setting says it."""
        self.stopping = False
        self._writer: Any = None

    @abstractmethod
    def _stream(self, step: int, last: int) -> Iterator[Sized]:
        """Batches of steps ``step`` to ``last`` - 1, each with its number of pictures as len."""

    @abstractmethod
    def step(self, batch: Any, step: int) -> dict[str, Tensor]:
        """One optimizer step; returns the loss terms, detached."""

    @abstractmethod
    def _figures(self, losses: Mapping[str, Tensor]) -> tuple[dict[str, float], dict[str, str]]:
        """What is logged of a step's losses, and what of it the bar shows. Collective."""

    @abstractmethod
    def _export(self, bundle: Path, step: int, final: bool) -> None:
        """Write sample pictures and the bundle, on the main process only; ``final``: the last."""

    @property
    def state_folder(self) -> Path:
        """Where the run's state is kept."""
        return self.out / "state"

    def train(self) -> Path:
        """Run to the last step (or ``stop_after``, or SIGTERM) and write state and bundle."""
        config, chief = self.config, self.accelerator.is_main_process
        numbers = load_state(self.state_folder, self.parts)
        step = 0 if numbers is None else self._taken_up(numbers)
        last = min(config.steps, config.stop_after or config.steps)
        stream = self._stream(step, last)
        bar = tqdm(
            total=config.steps, initial=step, unit="step", disable=not chief, dynamic_ncols=True
        )
        self._writer = self._open_writer() if chief else None
        seen, begun = 0, time.perf_counter()
        with bar, self._graceful_stop():
            for batch in stream:
                losses = self.step(batch, step)
                step += 1
                seen += len(batch) * self.accelerator.num_processes
                bar.update()
                if step % config.log_every == 0 or step == last:
                    speed = seen / (time.perf_counter() - begun)
                    seen, begun = 0, time.perf_counter()
                    self._log(step, losses, speed, bar)
                if step % config.save_every == 0 and step < last:
                    saving = time.perf_counter()
                    self._save(step, final=False)
                    begun += time.perf_counter() - saving
                if self.stopping:
                    break
        bundle = self._save(step)
        if self._writer is not None:
            self._writer.close()
        if chief and self.broken:
            named = ", ".join(sorted(path.name for path in self.broken)[:5])
            print(f"{len(self.broken)} broken pictures were skipped: {named}")
        return bundle

    def _taken_up(self, numbers: Mapping[str, Any]) -> int:
        """The step at which a saved run stands. Raises CheckpointError if it would change."""
        for name, before in numbers.get("fixed", {}).items():
            if (now := self.fixed.get(name)) != before:
                raise CheckpointError(
                    f"the run in {self.out} was begun with {name} {before!r}, and it would go on "
                    f"with {now!r}; give it the same again, or choose another --out."
                )
        self.broken |= {Path(path): words for path, words in numbers.get("broken", {}).items()}
        return int(numbers["step"])

    def _taken(self, batches: Batches, count: int) -> Iterator[Any]:
        """The first ``count`` batches, with note taken of the files that turn out broken."""
        for batch in islice(batches, count):
            self.broken |= batches.broken
            yield batch
        self.broken |= batches.broken

    def _noise(self, step: int) -> torch.Generator:
        """The step's own randomness, which no interruption changes."""
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
        raise NotFinite(
            f"{term} is not finite at step {step}; the state of the last save is kept in "
            f"{self.state_folder}. Lower optimizer.lr or that term's weight and start again."
        )

    def _share(self, step: int, settings: AdamWConfig) -> float:
        return learning_rate(step, self.config.steps, settings.warmup, settings.schedule)

    def _log(self, step: int, losses: Mapping[str, Tensor], speed: float, bar: tqdm) -> None:
        figures, shown = self._figures(losses)  # a collective: every process takes part
        self._write({**figures, "images_per_second": speed}, step)
        bar.set_postfix(shown, img_s=f"{speed:.0f}")

    def _write(self, figures: Mapping[str, float], step: int) -> None:
        """Figures of a step, into TensorBoard's log and our own."""
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
        """On SIGTERM or Ctrl-C finish the step, save and leave; a second Ctrl-C leaves at once."""

        def stop(number: int, frame: object) -> None:
            self.stopping = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        try:
            before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # not the main thread: whoever runs us there handles signals
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of an optimizer this learning rate, times the group's own ``times``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("times", 1.0)


def learning_rate(step: int, steps: int, warmup: float, schedule: str = "cosine") -> float:
    """Share of the largest rate at ``step``: linear to 1 over ``warmup`` of the steps, then a
    cosine to 0 at ``steps``, or 1 throughout if the ``schedule`` is constant."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def adamw(
    module: nn.Module, config: AdamWConfig, codes: str = "", codes_rate: float = 1.0
) -> torch.optim.AdamW:
    """AdamW over what learns; matrices decay, unless their name begins with ``codes``: those learn
    at ``codes_rate`` times the rate instead."""
    kinds: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix, code = parameter.ndim >= 2, bool(codes) and name.startswith(codes)
        kind = (code or not matrix, codes_rate if matrix and code else 1.0)
        kinds.setdefault(kind, []).append(parameter)
    groups = [
        {
            "params": kinds[undecayed, times],
            "weight_decay": 0.0 if undecayed else config.weight_decay,
            "times": times,
        }
        for undecayed, times in sorted(kinds)
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """The running average of a module's weights, which is what a bundle holds."""
    return AveragedModel(module, multi_avg_fn=_average(decay)).requires_grad_(False).eval()


def _average(decay: float) -> object:
    """EMA of weights whose horizon grows with the run, so that early weights are soon forgotten."""

    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - now)

    return torch.no_grad()(average)


def use_bf16(precision: str) -> bool:
    """Whether to autocast to bfloat16; "auto": where the GPU or the processor computes in it."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
