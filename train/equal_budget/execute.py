"""One run of the study, from its config to its ``result.json``; and its time and memory alone.

``result.json``, format 1: ``name``, ``codes``, ``seed``, ``staged``, ``contrastive``,
``codes_rate`` (1 if it is missing), ``limit`` (test pictures, null: all); ``budget`` (the settings
that compared runs must share), ``quantizer`` (its settings), ``levels`` (those of residual and
product codes, if there are any; ``codes`` are those of a level), ``parameters`` {``network``,
``quantizer``}, ``draws`` (fingerprint of the training crops), ``figures`` (as ``train/evaluate.py``
writes them, on held-out pictures), and ``training`` {``seconds`` (CPU), ``step_ms`` (CPU, median
over the run), ``step_ms_plain`` and ``step_ms_judged`` (without and with the discriminator),
``utilization``, ``perplexity`` (last 100 steps), ``frozen_at`` (step at which the encoder was
frozen)}.
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

from regvq.bundles.storage import save_tensors, state_for_disk, write_json
from regvq.data import open_dataset
from regvq.metrics.codebook_usage import usage_of_levels
from regvq.metrics.reconstruction import evaluate_tokenizer, no_counts
from regvq.quantizers import VQConfig

from ..cli.common import extra_peak
from ..config.tokenizer import RunConfig
from ..export.tokenizer import describe, sample_pictures
from ..loop.tokenizer import TokenizerTrainer
from .crops import KeptDraws, keep_draws
from .runs import Study, StudyRun, budget

FORMAT = 1
WEIGHTS = "weights.safetensors"
"""The weights of a run with an outside quantizer, which has no bundle."""
UNSTEADY = 5  # first steps, not timed: libraries are loaded and buffers allocated
TIMED = 10  # steps of a timing


class StudyTrainer(TokenizerTrainer):
    """A trainer on stored crops that times its steps and saves no state: a run takes minutes."""

    def __init__(self, config: RunConfig, out: Path, draws: Path) -> None:
        super().__init__(config, out)
        self.data = KeptDraws(draws)
        self.times: list[float] = []
        self.reached = 0

    def step(self, images: Tensor, step: int) -> dict[str, Tensor]:
        """Take a step, timed by the processor's clock, which excludes other work on the machine."""
        started = time.process_time()
        losses = super().step(images, step)
        self.times.append(time.process_time() - started)
        return losses

    def _save(self, step: int, final: bool = True) -> Path:
        self.reached = step
        return self.out


def draws_of(study: Study, seed: int, out: Path) -> Path:
    """Return the file of a seed's training crops, after writing it if it does not exist."""
    config = _any_config(study, seed)
    data = open_dataset(
        "folder", study.root, size=study.size, seed=seed, split="train", crop=config.data.crop
    )
    count = study.steps * study.batch
    return keep_draws(data, count, out / "draws" / f"seed{seed}-{study.size}px-{count}.npy")


def _any_config(study: Study, seed: int) -> RunConfig:
    return StudyRun("draws", "", "main", "draws", VQConfig(), seed=seed).config(study)


def execute(run: StudyRun, study: Study, out: Path) -> dict[str, Any] | None:
    """Train and evaluate a run; write ``out/NAME`` and return the result, or None if it was
    stopped."""
    config, folder = run.config(study), out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in ("log.jsonl", "judged.json"):  # not of the weights that are trained now
        (folder / earlier).unlink(missing_ok=True)
    draws = draws_of(study, run.seed, out)
    started = time.process_time()
    trainer = StudyTrainer(config, folder, draws)
    trainer.train()
    seconds = time.process_time() - started
    if trainer.reached < config.steps:
        return None
    tokenizer = trainer.averaged.module.eval()
    counts = no_counts(tokenizer)
    figures = evaluate_tokenizer(
        tokenizer,
        sample_pictures(trainer.held_out, study.limit),
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
    if run.kind == "outside":  # a bundle holds registered quantizers only
        save_tensors(state_for_disk(tokenizer, half=False), folder / WEIGHTS)
    else:
        recipe = describe(config, trainer.features, len(trainer.broken))
        tokenizer.save_pretrained(folder / "bundle", recipe=recipe)
    write_json(folder / "result.json", result)  # last: a run that has it is finished
    return result


def described(run: StudyRun, study: Study) -> dict[str, Any]:
    """Return the description of a run, which its result must have."""
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
        **({} if run.levels.count == 1 else {"levels": asdict(run.levels)}),
    }


def _parameters(trainer: TokenizerTrainer) -> dict[str, int]:
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
    usage = usage_of_levels(trainer.usage.counts().cpu())
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


def time_alone(run: StudyRun, study: Study, out: Path) -> dict[str, Any]:
    """Measure wall-clock time and memory of a run's training steps, discriminator included.

    Writes them to ``out/NAME/timing.json``. Call it in a new process on an idle machine.
    """
    draws = draws_of(study, run.seed, out)
    # A small run first: libraries load and allocate once, which must not count for this run.
    tiny = replace(study, batch=2)
    _steps(StudyTrainer(_any_config(tiny, run.seed), out / run.name, draws), 2)
    times: list[float] = []

    def train() -> None:
        # Only the first of NSVQ's stages, in which all parts learn: the later ones compute less.
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
    """Return the seconds of the last ``count`` steps of a run, in which all losses are active."""
    images = torch.stack([trainer.data.draw(k).image for k in range(trainer.config.batch)])
    times = []
    for step in range(trainer.config.steps - count, trainer.config.steps):
        started = time.perf_counter()
        trainer.step(images, max(0, step))
        times.append(time.perf_counter() - started)
    return times
