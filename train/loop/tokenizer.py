"""Training a tokenizer: its steps, its batches and what is logged of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from regvq.data import Dataset, open_dataset
from regvq.errors import FeatureError
from regvq.losses.adversarial import ramp
from regvq.metrics.codebook_usage import usage_of
from regvq.networks.discriminator import Discriminator
from regvq.networks.features import Features, load_features
from regvq.quantizers import UsageWindow
from regvq.tokenizer import Tokenizer

from ..config.tokenizer import RunConfig
from ..export.tokenizer import export_bundle, sample_sheet
from .base import Run, adamw, averaged, set_rate
from .draws import Batches, check_enough
from .objective import Objective, learn_to_judge
from .stages import JOINT, Stage, Stages
from .state import has_state
from .warm_start import freeze_tokens, start_from

WINDOW = 100  # steps over which utilization and perplexity are counted


class Trainer(Run):
    """A tokenizer's run."""

    config: RunConfig

    def __init__(self, config: RunConfig, out: Path) -> None:
        super().__init__(config, out)
        self.data = _open(config, "train", config.data.size)
        check_enough(self.data, config.batch, self.accelerator.num_processes)
        self.held_out = _open(config, "test", config.data.size)
        # After the data: what may be downloaded comes after what may be wrong.
        self.features = _load_features(config)
        if self.features is not None:
            self.features.to(self.device, memory_format=torch.channels_last)
        self.fixed["features"] = "none" if self.features is None else self.features.label

        torch.manual_seed(config.seed)
        tokenizer = Tokenizer(config.tokenizer).to(memory_format=torch.channels_last)
        if config.init is not None and not has_state(self.state_folder):
            start_from(tokenizer, config.init)
        if config.train_only == "decoder":
            freeze_tokens(tokenizer)
        self.tokenizer = tokenizer.to(self.device)
        self.averaged = averaged(self.tokenizer, config.optimizer.ema)
        self.optimizer = adamw(
            self.tokenizer, config.optimizer, codes="quantizer.", codes_rate=config.codes_rate
        )
        self.parts = {
            "tokenizer": self.tokenizer,
            "averaged": self.averaged,
            "optimizer": self.optimizer,
        }
        self.discriminator: Discriminator | None = None
        if config.loss.adversarial > 0:
            judge = Discriminator(config.discriminator).to(memory_format=torch.channels_last)
            self.discriminator = judge.to(self.device)
            settings = config.optimizer
            self.judge_optimizer = adamw(
                self.discriminator,
                replace(settings, lr=settings.discriminator_lr, betas=settings.discriminator_betas),
            )
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
            yield from self._taken(batches, end - first)

    def step(self, images: Tensor, step: int) -> dict[str, Tensor]:
        """One optimizer step on images (B, 3, S, S); returns the loss terms, detached."""
        config, progress = self.config, step / self.config.steps
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        noise, share = self._noise(step), self._share(step, config.optimizer)
        set_rate(self.optimizer, config.optimizer.lr * share)
        if self.discriminator is not None:
            set_rate(self.judge_optimizer, config.optimizer.discriminator_lr * share)
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

    def _judge(self, images: Tensor, painted: Tensor) -> Tensor:
        with self._autocast():
            loss = learn_to_judge(self.parallel_judge, images, painted)
        self.judge_optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        return loss.detach()

    def _forget(self, replaced: Tensor) -> None:
        """A replaced code starts anew: without moments, and its average is the code itself."""
        codes = self.tokenizer.quantizer.codes
        for moment in self.optimizer.state.get(codes, {}).values():
            if moment.shape == codes.shape:
                moment[replaced] = 0
        self.averaged.module.quantizer.codes[replaced] = codes.detach()[replaced]

    def _figures(self, losses: Mapping[str, Tensor]) -> tuple[dict[str, float], dict[str, str]]:
        usage = usage_of(self.usage.counts().cpu())
        figures = {name: float(x) for name, x in losses.items()}
        shown = {name: f"{figures[name]:.3f}" for name in ("l1", "perceptual") if name in figures}
        shown |= {"used": f"{usage.utilization:.0%}", "ppl": f"{usage.perplexity:.0f}"}
        figures |= {"utilization": usage.utilization, "perplexity": usage.perplexity}
        return figures, shown

    def _export(self, bundle: Path, step: int, final: bool) -> None:
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
            history=self.out / "history.npz",
        )


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
