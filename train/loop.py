"""The training loop of tokenizers: one process or many, CPU or GPU, interrupted or not.

A run is a function of its config: draws are numbered, noise is seeded by the step, the learning
rate follows the step. So a resumed run gives the weights of one that was never stopped, bit for
bit on one CPU.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from core.data import Dataset, open_dataset
from core.losses.adversarial import ramp
from core.metrics.codebook import usage_of
from core.networks.discriminator import Discriminator
from core.networks.features import FeatureError, Features, load_features
from core.quantizers import UsageWindow
from core.tokenizer import Tokenizer
from train.config import OptimizerConfig, RunConfig
from train.export import export_bundle, sample_sheet
from train.loader import Batches
from train.objective import Objective, learn_to_judge
from train.stages import JOINT, Stage, Stages
from train.start import freeze_tokens, start_from
from train.state import has_state, load_state, save_state

WINDOW = 100  # steps over which utilization and perplexity are counted


class NotFinite(ArithmeticError):
    """A loss or a gradient is not finite; names the term, the step and what is still good."""


class Trainer:
    """One run. ``train()`` goes on from what is in ``out`` and returns the bundle's folder."""

    def __init__(self, config: RunConfig, out: Path) -> None:
        self.config, self.out = config, out
        # Autocast is our own: accelerate's is one per process, and a study trains many tokenizers.
        self.accelerator = Accelerator(mixed_precision="no")
        self.half = _use_bf16(config)
        self.device = self.accelerator.device
        self.features = _load_features(config)
        if self.features is not None:
            self.features.to(self.device, memory_format=torch.channels_last)
        self.data = _open(config, "train", config.data.size)
        self.held_out = _open(config, "test", config.data.size)
        self.broken: dict[Path, str] = {}

        torch.manual_seed(config.seed)
        tokenizer = Tokenizer(config.tokenizer).to(memory_format=torch.channels_last)
        if config.init is not None and not has_state(self.state_folder):
            start_from(tokenizer, config.init)
        if config.train_only == "decoder":
            freeze_tokens(tokenizer)
        self.tokenizer = tokenizer.to(self.device)
        self.averaged = AveragedModel(self.tokenizer, multi_avg_fn=_average(config.optimizer.ema))
        self.averaged.requires_grad_(False).eval()
        self.optimizer = _adamw(self.tokenizer, config.optimizer, config.optimizer.lr)
        self.parts = {
            "tokenizer": self.tokenizer,
            "averaged": self.averaged,
            "optimizer": self.optimizer,
        }
        self.discriminator: Discriminator | None = None
        if config.loss.adversarial > 0:
            judge = Discriminator(config.discriminator).to(memory_format=torch.channels_last)
            self.discriminator = judge.to(self.device)
            rate = config.optimizer.discriminator_lr
            settings = replace(config.optimizer, betas=config.optimizer.discriminator_betas)
            self.judge_optimizer = _adamw(self.discriminator, settings, rate)
            self.parts |= {
                "discriminator": self.discriminator,
                "judge_optimizer": self.judge_optimizer,
            }
            self.parallel_judge = self.accelerator.prepare(self.discriminator)
        self.stages: Stages | None = None
        if config.stages is not None:
            self.stages = self.parts["stages"] = Stages(config.stages, config.steps)
        self.parallel = self.accelerator.prepare(self.tokenizer)
        self.objective = Objective(config.loss, self.features)
        self.usage = UsageWindow(self.tokenizer.codebook_size, WINDOW)
        self.stopping = False

    @property
    def state_folder(self) -> Path:
        """Where the run's state is kept."""
        return self.out / "state"

    def train(self) -> Path:
        """Run to the last step (or ``stop_after``, or SIGTERM) and write state and bundle."""
        config, chief = self.config, self.accelerator.is_main_process
        numbers = load_state(self.state_folder, self.parts)
        step = 0 if numbers is None else int(numbers["step"])
        last = min(config.steps, config.stop_after or config.steps)
        stream = self._stream(step, last)
        bar = tqdm(
            total=config.steps, initial=step, unit="step", disable=not chief, dynamic_ncols=True
        )
        writer = self._writer() if chief else None
        seen, begun = 0, time.perf_counter()
        with bar, self._graceful_stop():
            for images in stream:
                losses = self.step(images, step)
                step += 1
                seen += len(images) * self.accelerator.num_processes
                bar.update()
                if step % config.log_every == 0 or step == last:
                    speed = seen / (time.perf_counter() - begun)
                    seen, begun = 0, time.perf_counter()
                    self._log(step, losses, speed, bar, writer)
                if step % config.save_every == 0 and step < last:
                    saving = time.perf_counter()
                    self._save(step, final=False)
                    begun += time.perf_counter() - saving
                if self.stopping:
                    break
        bundle = self._save(step)
        if writer is not None:
            writer.close()
        if chief and self.broken:
            named = ", ".join(sorted(path.name for path in self.broken)[:5])
            print(f"{len(self.broken)} broken pictures were skipped: {named}")
        return bundle

    def _stream(self, step: int, last: int) -> Iterator[Tensor]:
        """Batches of steps ``step`` to ``last`` - 1: crops of one size, then larger ones."""
        config, larger = self.config, self.config.data.last_size
        turn = config.steps
        if larger is not None:
            turn = round(config.steps * (1 - config.data.last_share))
        parts = [(config.data.size, config.batch, 0, turn)]
        if larger is not None:
            fewer = max(1, config.batch * config.data.size**2 // larger**2)
            parts.append((larger, fewer, turn, config.steps))
        for side, size, first, end in parts:
            first, end = max(first, step), min(end, last)
            if first >= end:
                continue
            batches = Batches(
                self.data if side == config.data.size else _open(config, "train", side),
                size,
                first,
                self.accelerator.process_index,
                self.accelerator.num_processes,
                config.data.workers,
            )
            for images in islice(batches, end - first):
                self.broken |= batches.broken
                yield images
            self.broken |= batches.broken

    def step(self, images: Tensor, step: int) -> dict[str, Tensor]:
        """One optimizer step on images (B, 3, S, S); returns the loss terms, detached."""
        config, progress = self.config, step / self.config.steps
        images = images.to(
            self.device, memory_format=torch.channels_last, non_blocking=True
        )
        noise = torch.Generator(self.device)
        noise.manual_seed((config.seed << 40) + step * 65_536 + self.accelerator.process_index)
        for optimizer, rate in self._rates(step):
            for group in optimizer.param_groups:
                group["lr"] = rate
        stage = self._enter(step)
        self.tokenizer.quantizer.schedule(progress)
        start = config.loss.discriminator_start
        judging = self.discriminator is not None and progress >= start and stage.judging
        volume = ramp(progress, start + config.loss.listen_after, config.loss.ramp) * stage.volume

        with self._autocast():
            painted, latents, quantized = self.parallel(images, noise)
            result = self.objective(
                images,
                painted,
                quantized,
                self.tokenizer.decoder.last_weight,
                self.discriminator if judging else None,
                volume,
            )
        losses = result.losses | {name: x.detach() for name, x in quantized.losses.items()}
        # The inner product has the gradient that was found on the pictures.
        total = (painted.float() * result.gradient).sum() + sum(quantized.losses.values())
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(total)
        losses["gradient_norm"] = torch.nn.utils.clip_grad_norm_(
            self.tokenizer.parameters(), config.optimizer.clip
        ).detach()
        if judging:
            losses["discriminator"] = self._judge(images, painted)
        self._check(losses, step)
        self.optimizer.step()
        if judging:
            self.judge_optimizer.step()
        replaced = None
        if config.train_only == "all":
            replaced = self.tokenizer.quantizer.update(latents.detach(), quantized.ids)
        self.averaged.update_parameters(self.tokenizer)
        if replaced is not None:
            self._forget(replaced)
        if self.stages is not None:
            losses["stage"] = torch.tensor(float(stage.number), device=self.device)
            if self.stages.watch(step, latents.detach(), quantized.z.detach()):
                # Decoder and codes will settle on the encoder as it is, not as it was on average.
                averaged = self.averaged.module.encoder
                averaged.load_state_dict(self.tokenizer.encoder.state_dict())
        self.usage.add(quantized.ids)
        return losses

    def _enter(self, step: int) -> Stage:
        """The step's stage, with the encoder frozen or not as it says."""
        if self.stages is None:
            return JOINT
        stage = self.stages.at(step)
        quantizer, encoder = self.tokenizer.quantizer, self.tokenizer.encoder
        if stage.encoder_frozen != quantizer.encoder_frozen:
            quantizer.encoder_frozen = stage.encoder_frozen
            encoder.requires_grad_(not stage.encoder_frozen)
            # Wrapped anew: processes wait for the gradient of every parameter that had one.
            self.parallel = self.accelerator.prepare(self.tokenizer)
        return stage

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def _judge(self, images: Tensor, painted: Tensor) -> Tensor:
        with self._autocast():
            loss = learn_to_judge(self.parallel_judge, images, painted)
        self.judge_optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        return loss.detach()

    def _check(self, losses: dict[str, Tensor], step: int) -> None:
        """Raise before the optimizer spreads a value that is not finite into the weights."""
        if bool(torch.isfinite(torch.stack([x.float() for x in losses.values()])).all()):
            return
        term = next(name for name, x in losses.items() if not bool(torch.isfinite(x)))
        raise NotFinite(
            f"{term} is not finite at step {step}; the state of the last save is kept in "
            f"{self.state_folder}. Lower optimizer.lr or that term's weight and start again."
        )

    def _forget(self, replaced: Tensor) -> None:
        """A replaced code starts anew: without moments, and its average is the code itself."""
        codes = self.tokenizer.quantizer.codes
        for moment in self.optimizer.state.get(codes, {}).values():
            if moment.shape == codes.shape:
                moment[replaced] = 0
        self.averaged.module.quantizer.codes[replaced] = codes.detach()[replaced]

    def _rates(self, step: int) -> list[tuple[torch.optim.Optimizer, float]]:
        settings = self.config.optimizer
        share = learning_rate(step, self.config.steps, settings.warmup, settings.schedule)
        rates = [(self.optimizer, self.config.optimizer.lr * share)]
        if self.discriminator is not None:
            rates.append((self.judge_optimizer, self.config.optimizer.discriminator_lr * share))
        return rates

    def _log(self, step: int, losses: dict, speed: float, bar: tqdm, writer: object) -> None:
        usage = usage_of(self.usage.counts().cpu())  # a collective: every process takes part
        if writer is None:
            return
        figures = {name: float(x) for name, x in losses.items()}
        figures |= {"utilization": usage.utilization, "perplexity": usage.perplexity}
        figures["images_per_second"] = speed
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        shown = {name: f"{figures[name]:.3f}" for name in ("l1", "perceptual") if name in figures}
        bar.set_postfix(
            shown,
            used=f"{usage.utilization:.0%}",
            ppl=f"{usage.perplexity:.0f}",
            img_s=f"{speed:.0f}",
        )

    def _save(self, step: int, final: bool = True) -> Path:
        bundle = self.out / "bundle"
        if self.accelerator.is_main_process:
            save_state(self.state_folder, self.parts, {"step": step})
            sample_sheet(self.averaged.module, self.held_out, self.out / "samples", step)
            export_bundle(
                bundle,
                tokenizer=self.averaged.module,
                config=self.config,
                step=step,
                features=self.features,
                pictures=self.held_out,
                broken=len(self.broken),
                final=final,
            )
        self.accelerator.wait_for_everyone()
        return bundle

    def _writer(self) -> object:
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


def learning_rate(step: int, steps: int, warmup: float, schedule: str = "cosine") -> float:
    """Share of the largest rate at ``step``: linear to 1 over ``warmup`` of the steps, then a
    cosine to 0 at ``steps``, or 1 throughout if the ``schedule`` is constant."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _adamw(module: torch.nn.Module, config: OptimizerConfig, rate: float) -> torch.optim.AdamW:
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    decays = [p.ndim >= 2 and not n.startswith("quantizer.") for n, p in named]
    groups = [
        {
            "params": [p for (_, p), d in zip(named, decays, strict=True) if d == decay],
            "weight_decay": config.weight_decay if decay else 0.0,
        }
        for decay in (True, False)
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=config.betas, fused=True)


def _average(decay: float) -> object:
    """EMA of weights whose horizon grows with the run, so that early weights are soon forgotten."""

    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(averaged, current, 1 - now)

    return torch.no_grad()(average)


def _open(config: RunConfig, split: str, size: int) -> Dataset:
    data = config.data
    return open_dataset(
        data.name, data.root, size=size, seed=config.seed, split=split, crop=data.crop
    )


def _load_features(config: RunConfig) -> Features | None:
    if config.features.name != "auto":
        return load_features(config.features.name, config.features.weights)
    try:
        return load_features("squeezenet", config.features.weights)
    except FeatureError as error:
        if config.features.weights is not None:
            raise
        print(f"WARNING: {error}\nTraining goes on without perceptual and contrastive loss.")
        return None


def _use_bf16(config: RunConfig) -> bool:
    if config.precision != "auto":
        return config.precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
