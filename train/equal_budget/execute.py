"""One run of the study, from its config to its ``result.json``; and its time and memory alone.

``result.json``, format 1: ``name``, ``codes``, ``seed``, ``staged``, ``contrastive``,
``codes_rate`` (1 where it is missing), ``limit``
(test pictures, null: all); ``budget`` (what compared runs must share),
``quantizer`` (its settings), ``parameters`` {``network``, ``quantizer``}, ``draws`` (fingerprint of
the training crops), ``figures`` (as ``train/evaluate.py`` writes, on held-out pictures), and
``training`` {``seconds`` (CPU), ``step_ms`` (CPU, median over the run), ``step_ms_plain`` and
``step_ms_judged`` (without and with the discriminator), ``utilization``, ``perplexity`` (last 100
steps), ``frozen_at`` (step at which the encoder was frozen)}.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regvq.bundles.storage import write_json
from regvq.data import open_dataset
from regvq.metrics.codebook_usage import usage_of
from regvq.metrics.reconstruction import evaluate_tokenizer
from regvq.quantizers import VQConfig

from ..cli.common import extra_peak
from ..config.tokenizer import RunConfig
from ..export.tokenizer import describe, spread
from ..loop.tokenizer import Trainer
from .crops import KeptDraws, keep_draws
from .runs import Run, Study, budget

FORMAT = 1
UNSTEADY = 5  # first steps, in which libraries load and buffers are allocated: not timed
TIMED = 10  # steps that a timing takes


class StudyTrainer(Trainer):
    """A trainer on kept crops that times its steps and writes no state: a run takes minutes."""

    def __init__(self, config: RunConfig, out: Path, draws: Path) -> None:
        super().__init__(config, out)
        self.data = KeptDraws(draws)
        self.times: list[float] = []
        self.reached = 0

    def step(self, images: Tensor, step: int) -> dict[str, Tensor]:
        """``Trainer.step``, timed by the processor's clock: other work on the machine waits."""
        begun = time.process_time()
        losses = super().step(images, step)
        self.times.append(time.process_time() - begun)
        return losses

    def _save(self, step: int) -> Path:
        self.reached = step
        return self.out


def draws_of(study: Study, seed: int, out: Path, longer: int = 1) -> Path:
    """The file of a seed's training crops, for ``longer`` times the study's steps, drawn if it is
    not there yet. A longer file begins with the crops of a shorter one."""
    config = _any_config(study, seed)
    data = open_dataset(
        "folder", study.root, size=study.size, seed=seed, split="train", crop=config.data.crop
    )
    count = longer * study.steps * study.batch
    return keep_draws(data, count, out / "draws" / f"seed{seed}-{study.size}px-{count}.npy")


def _any_config(study: Study, seed: int) -> RunConfig:
    return Run("draws", "", "main", "draws", VQConfig(), seed=seed).config(study)


def execute(run: Run, study: Study, out: Path) -> dict[str, Any] | None:
    """Train and judge a run; writes ``out/NAME`` and returns the result (None: it was stopped)."""
    config, folder = run.config(study), out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").unlink(missing_ok=True)
    draws = draws_of(study, run.seed, out, run.longer)
    begun = time.process_time()
    trainer = StudyTrainer(config, folder, draws)
    trainer.train()
    seconds = time.process_time() - begun
    if trainer.reached < config.steps:
        return None
    tokenizer = trainer.averaged.module.eval()
    counts = torch.zeros(tokenizer.codebook_size, dtype=torch.int64)
    figures = evaluate_tokenizer(
        tokenizer,
        spread(trainer.held_out, study.limit),
        features=trainer.features,
        device=tokenizer.device,
        code_counts=counts,
    )
    result = described(run, study) | {
        "draws": trainer.data.digest(),
        "parameters": _parameters(trainer),
        "figures": figures,
        "training": _training(trainer, seconds),
    }
    np.save(folder / "counts.npy", counts.numpy())
    if run.kind != "outside":
        recipe = describe(config, trainer.features, len(trainer.broken))
        tokenizer.save_pretrained(folder / "bundle", recipe=recipe)
    write_json(folder / "result.json", result)  # last: a run that has it is finished
    return result


def described(run: Run, study: Study) -> dict[str, Any]:
    """What is known of a run before it is made; a result must say the same to be taken over."""
    config = run.config(study)
    return {
        "format": FORMAT,
        "name": run.name,
        "codes": config.tokenizer.quantizer.size,
        "seed": run.seed,
        "staged": run.staged,
        "contrastive": run.contrastive,
        "codes_rate": run.codes_rate,
        "limit": study.limit,
        "budget": budget(config),
        "quantizer": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(config.tokenizer.quantizer).items()
        },
    }


def _parameters(trainer: Trainer) -> dict[str, int]:
    tokenizer = trainer.tokenizer
    network = [*tokenizer.encoder.parameters(), *tokenizer.decoder.parameters()]
    return {
        "network": sum(p.numel() for p in network),
        "quantizer": sum(p.numel() for p in tokenizer.quantizer.parameters()),
    }


def _training(trainer: StudyTrainer, seconds: float) -> dict[str, Any]:
    loss, steps = trainer.config.loss, trainer.config.steps
    turn = round(steps * (loss.discriminator_start + loss.listen_after))
    first, second = trainer.times[UNSTEADY:turn], trainer.times[turn:]
    usage = usage_of(trainer.usage.counts().cpu())
    frozen = int(trainer.stages.frozen_at) if trainer.stages is not None else None
    return {
        "seconds": seconds,
        "step_ms": 1e3 * median(trainer.times[UNSTEADY:] or trainer.times),
        "step_ms_plain": 1e3 * median(first or trainer.times),
        "step_ms_judged": 1e3 * median(second or trainer.times),
        "utilization": usage.utilization,
        "perplexity": usage.perplexity,
        "frozen_at": frozen,
    }


def time_alone(run: Run, study: Study, out: Path) -> dict[str, Any]:
    """Wall-clock time and memory of a run's training steps, discriminator included; writes them to
    ``out/NAME/timing.json``. To be called in a fresh process on an idle machine."""
    draws = draws_of(study, run.seed, out)
    # A small run first: what libraries load and allocate once is no run's own.
    tiny = replace(study, batch=2)
    _steps(StudyTrainer(_any_config(tiny, run.seed), out / run.name, draws), 2)
    times: list[float] = []

    def train() -> None:
        # Of NSVQ's stages the first, in which everything learns: the later ones do less.
        config = replace(run.config(study), stages=None)
        trainer = StudyTrainer(config, out / run.name, draws)
        times.extend(_steps(trainer, UNSTEADY + TIMED)[UNSTEADY:])

    peak = extra_peak(train)
    result = {
        "name": run.name,
        "step_ms": 1e3 * median(times),
        "peak_mb": peak / 1e6,
        "threads": torch.get_num_threads(),
    }
    (out / run.name).mkdir(parents=True, exist_ok=True)
    write_json(out / run.name / "timing.json", result)
    return result


def _steps(trainer: StudyTrainer, count: int) -> list[float]:
    """Seconds of the last ``count`` steps of a run, when everything in it is switched on."""
    images = torch.stack([trainer.data.draw(k).image for k in range(trainer.config.batch)])
    times = []
    for step in range(trainer.config.steps - count, trainer.config.steps):
        begun = time.perf_counter()
        trainer.step(images, max(0, step))
        times.append(time.perf_counter() - begun)
    return times
