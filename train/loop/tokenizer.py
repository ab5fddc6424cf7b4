"""Training a tokenizer: its batches, its steps and its log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import DistributedDataParallelKwargs
from torch import Tensor

from regvq.data import Dataset
from regvq.errors import FeatureError
from regvq.losses.adversarial import ramp
from regvq.metrics.codebook_usage import usage_of_levels
from regvq.networks.discriminator import Discriminator
from regvq.networks.features import Features, load_features
from regvq.quantizers import UsageWindow
from regvq.quantizers.levels import Replaced, replaced_in
from regvq.tokenizer import Tokenizer

from ..config.tokenizer import RunConfig
from ..export.tokenizer import export_bundle, labels, sample_sheet
from .base import TrainingRun
from .draws import Batches, check_enough
from .health import by_level, dying_level
from .losses import values_of
from .memory import Part, mean_of, parts_of, prepare_networks
from .objective import Objective, discriminator_objective
from .optim import adamw, averaged, set_lr
from .stages import JOINT, Stage, Stages, best_codes
from .state import has_state
from .validation import HeldOut, held_out_words, share_of_held_out, validate_tokenizer
from .warm_start import codes_from_latents, freeze_tokens, start_from

WINDOW = 100  # steps over which utilization and perplexity are counted
USAGE = "usage/per_step"  # the window's name in a saved state


class _PartDone(NamedTuple):
    """The losses of a part of a batch, and its latents, codes and ids, all detached."""

    losses: dict[str, Tensor]
    latents: Tensor
    codes: Tensor
    ids: Tensor


class TokenizerTrainer(TrainingRun):
    """A tokenizer's run."""

    config: RunConfig

    def __init__(self, config: RunConfig, out: Path) -> None:
        super().__init__(config, out)
        self.data = _open(config, "train", config.data.size)
        check_enough(self.data, config.batch, self.processes)
        self.held_out = _open(config, "test", config.data.size)
        # Features may be downloaded; before that, mistakes in the data are reported.
        self.features = _load_features(config)
        self.second = load_features(config.second_features.name, config.second_features.weights)
        for name, features in (("features", self.features), ("second_features", self.second)):
            if features is not None:
                features.to(self.device, memory_format=torch.channels_last)
                self.fixed[name] = features.label
        self.fixed.setdefault("features", "none")

        torch.manual_seed(config.seed)
        tokenizer = Tokenizer(config.tokenizer).to(memory_format=torch.channels_last)
        if config.init is not None and not has_state(self.state_folder):
            start_from(tokenizer, config.init, codes=config.codes_from == "init")
            if config.codes_from == "latents":
                codes_from_latents(tokenizer.to(self.device), self._first_pictures())
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
            channels = config.tokenizer.channels
            discriminator = Discriminator(config.discriminator, channels)
            discriminator = discriminator.to(memory_format=torch.channels_last)
            self.discriminator = discriminator.to(self.device)
            settings = config.optimizer
            self.discriminator_optimizer = adamw(
                self.discriminator,
                replace(settings, lr=settings.discriminator_lr, betas=settings.discriminator_betas),
            )
            self.parts |= {
                "discriminator": self.discriminator,
                "judge_optimizer": self.discriminator_optimizer,  # its name in saved states
            }
            self.parallel_discriminator = self.accelerator.prepare(self.discriminator)
        network = self.tokenizer
        prepare_networks(config, network.encoder, network.decoder, self.features, self.second)
        self.stages: Stages | None = None
        if config.stages is not None:
            self.stages = self.parts["stages"] = Stages(config.stages, config.steps)
        if config.tokenizer.levels.dropout > 0:
            # Codebooks of left-out levels have no gradient, which other processes would wait for.
            handler = DistributedDataParallelKwargs(find_unused_parameters=True)
            self.accelerator.ddp_handler = handler
        self.parallel = self.accelerator.prepare(self.tokenizer)
        self.objective = Objective(config.loss, self.features, self.second, tokenizer.visible)
        levels = self.tokenizer.levels
        self._most_used, self._warned = [0.0] * levels, False
        self.usage = UsageWindow(self.tokenizer.codebook_size, WINDOW, levels)

    def _first_pictures(self) -> Iterator[Tensor]:
        """Yield the run's batches from the first step on, the same in all processes."""
        config = self.config
        for images in Batches(self.data, config.batch, 0, 0, 1, config.data.workers):
            yield images.to(self.device, memory_format=torch.channels_last)

    def _pictures(self) -> Dataset:
        return self.data

    def _stream(self, step: int, last: int) -> Iterator[Tensor]:
        """Yield the batches of steps ``step`` to ``last`` - 1: crops of one size, then larger
        ones."""
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
                self._share(size),
                first,
                self.accelerator.process_index,
                self.accelerator.num_processes,
                config.data.workers,
            )
            yield from self._limited(batches, end - first)

    def step(self, images: Tensor, step: int) -> dict[str, Tensor]:
        """Take one optimizer step on images (B, C, S, S); return the loss terms, detached."""
        config, progress = self.config, step / self.config.steps
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        noise, scale = self._noise(step), self._lr_scale(step, config.optimizer)
        set_lr(self.optimizer, config.optimizer.lr * scale)
        if self.discriminator is not None:
            set_lr(self.discriminator_optimizer, config.optimizer.discriminator_lr * scale)
        stage = self._enter(step)
        self.tokenizer.quantizer.schedule(progress)
        start, generator_delay = config.loss.discriminator_start, config.loss.listen_after
        adversarial = (
            self.discriminator is not None and progress >= start and stage.has_discriminator
        )
        adversarial_scale = ramp(progress, start + generator_delay, config.loss.ramp)
        adversarial_scale *= stage.adversarial_scale

        self.optimizer.zero_grad(set_to_none=True)
        if adversarial:
            self.discriminator_optimizer.zero_grad(set_to_none=True)
        parts = list(parts_of(len(images), config.accumulate))
        done = [
            self._backward(
                images[part.rows], noise, part, step, adversarial_scale if adversarial else None
            )
            for part in parts
        ]
        losses = mean_of(
            [(part.share, each.losses) for part, each in zip(parts, done, strict=True)]
        )
        latents, codes, ids = (torch.cat(x) for x in zip(*(each[1:] for each in done), strict=True))
        norm = torch.nn.utils.clip_grad_norm_(self.tokenizer.parameters(), config.optimizer.clip)
        losses["gradient_norm"] = norm.detach()
        losses = self._check(losses, step)
        self.optimizer.step()
        if adversarial:
            self.discriminator_optimizer.step()
        replaced: Replaced = {}
        if config.train_only == "all":
            found = self.tokenizer.quantizer.update(latents, ids)
            replaced = replaced_in(found)
        self.averaged.update_parameters(self.tokenizer)
        self._reset_codes(replaced)
        if self.stages is not None:
            losses["stage"] = torch.full((), float(stage.number), device=self.device)
            if self.stages.watch(step, latents, codes):
                # Decoder and codes will adapt to the encoder's present weights, not to its average.
                averaged = self.averaged.module.encoder
                averaged.load_state_dict(self.tokenizer.encoder.state_dict())
        self.usage.add(ids)
        return losses

    def _backward(
        self,
        images: Tensor,
        noise: torch.Generator,
        part: Part,
        step: int,
        adversarial_scale: float | None,
    ) -> _PartDone:
        """Add a part's share of the gradients; without a scale the discriminator takes no part."""
        adversarial = adversarial_scale is not None
        with part.unsynchronized(self.accelerator, self.parallel):
            with self._autocast():
                decoded, latents, quantized = self.parallel(images, noise)
                result = self.objective(
                    images,
                    decoded,
                    quantized,
                    self.tokenizer.decoder.last_weight,
                    self.discriminator if adversarial else None,
                    adversarial_scale or 0.0,
                    step,
                )
            losses = result.losses | {name: x.detach() for name, x in quantized.losses.items()}
            # The gradient of the inner product is the one that was computed on the pictures.
            total = (decoded.float() * result.gradient).sum() + sum(quantized.losses.values())
            self.accelerator.backward(part.share * total)
        if adversarial:
            losses["discriminator"] = self._train_discriminator(images, decoded, part)
        latents, codes = latents.detach(), quantized.z.detach()
        if self.stages is not None:
            codes = best_codes(self.tokenizer.quantizer, latents, quantized)
        return _PartDone(losses, latents, codes, quantized.ids)

    def _enter(self, step: int) -> Stage:
        """Return the stage of a step, after freezing or unfreezing the encoder for it."""
        if self.stages is None:
            return JOINT
        stage = self.stages.at(step)
        quantizer, encoder = self.tokenizer.quantizer, self.tokenizer.encoder
        if stage.encoder_frozen != quantizer.encoder_frozen:
            quantizer.encoder_frozen = stage.encoder_frozen
            encoder.requires_grad_(not stage.encoder_frozen)
            # Wrapped again: processes wait for the gradient of every parameter that had one.
            self.parallel = self.accelerator.prepare(self.tokenizer)
        return stage

    def _train_discriminator(self, images: Tensor, decoded: Tensor, part: Part) -> Tensor:
        """Add a part's share of the discriminator's gradient; return its loss, detached."""
        with part.unsynchronized(self.accelerator, self.parallel_discriminator):
            with self._autocast():
                loss = discriminator_objective(self.parallel_discriminator, images, decoded)
            self.accelerator.backward(part.share * loss)
        return loss.detach()

    def _reset_codes(self, replaced: Replaced) -> None:
        """Clear the moments of replaced codes, and set their averages to the codes themselves."""
        for path, ids in replaced.items():
            codes = self.tokenizer.quantizer.get_submodule(path).codes
            for moment in self.optimizer.state.get(codes, {}).values():
                if moment.shape == codes.shape:
                    moment[ids] = 0
            averaged = self.averaged.module.quantizer.get_submodule(path).codes
            if ids.dtype == torch.bool:  # of a GPU, which an index by a mask would wait for
                averaged.copy_(torch.where(ids.unsqueeze(1), codes.detach(), averaged))
            else:
                averaged[ids] = codes.detach()[ids]

    def _figures(self, losses: Mapping[str, Tensor]) -> tuple[dict[str, float], dict[str, str]]:
        counts = self.usage.counts().cpu()
        usage = usage_of_levels(counts)
        figures = values_of(losses)
        shown = {name: f"{figures[name]:.3f}" for name in ("l1", "perceptual") if name in figures}
        shown |= {"used": f"{usage.utilization:.0%}", "ppl": f"{usage.perplexity:.0f}"}
        figures |= {"utilization": usage.utilization, "perplexity": usage.perplexity}
        return figures | by_level(counts), shown

    def _facts(self) -> dict[str, str]:
        config, network = self.config, self.config.tokenizer.network
        data, f = config.data, network.downsampling
        size = sum(p.numel() for p in self.tokenizer.parameters())
        more = ""
        if self.discriminator is not None:
            judge = sum(p.numel() for p in self.discriminator.parameters())
            more = f", and {judge:,} of the discriminator"
        larger = f", then {data.last_size}" if data.last_size else ""
        levels = config.tokenizer.levels
        several = f"; {levels.words()}" if levels.count > 1 else ""
        kind = type(config.tokenizer.quantizer).__name__.removesuffix("Config")
        return {
            "data": f"{data.name}: {len(self.data):,} pictures, "
            f"{held_out_words(self.config, self.held_out)}; crops of {data.size}{larger} pixels",
            "model": f"{kind}, {self.tokenizer.codebook_size:,} codes of {network.latent_dim} "
            f"dimensions, one per {f}x{f} pixels{several}; {size:,} parameters{more}",
            "losses": f"features {labels(self.features, self.second)}",
        }

    def _warning(self, figures: Mapping[str, float], step: int) -> str | None:
        if self._warned:
            return None
        words = dying_level(
            self.config, self.tokenizer.codebook_size, figures, self._most_used, step
        )
        self._warned = words is not None
        return words

    def _validate(self) -> dict[str, float]:
        found = validate_tokenizer(self.averaged.module, self._squares, self.features, self.device)
        return {f"validation_{name}": value for name, value in found.items()}

    @cached_property
    def _squares(self) -> HeldOut:
        config, process = self.config, self.accelerator
        rank, count = process.process_index, process.num_processes
        share = share_of_held_out(config, self.held_out, rank, count)
        side = config.data.last_size or config.data.size
        return HeldOut(self.held_out, side, share, config.data.workers)

    def _score(self, row: Mapping[str, Any]) -> float | None:
        if "validation_distance" in row:
            return -row["validation_distance"]
        return row.get("validation_psnr")

    def _export_best(self, bundle: Path, step: int) -> None:
        self._export_to(bundle, step, final=False, history=None)

    def _further_state(self) -> dict[str, Tensor]:
        return {USAGE: self.usage.per_step()}

    def _restore_further(self, tensors: Mapping[str, Tensor]) -> None:
        if USAGE in tensors:
            share = int(self.accelerator.is_main_process)
            self.usage.restore(tensors[USAGE].to(self.device), share)

    def _export(self, bundle: Path, step: int, final: bool) -> None:
        sample_sheet(self.averaged.module, self.held_out, self.out / "samples", step)
        self._export_to(bundle, step, final, self.out / "history.npz")

    def _export_to(self, bundle: Path, step: int, final: bool, history: Path | None) -> None:
        export_bundle(
            bundle,
            tokenizer=self.averaged.module,
            config=self.config,
            step=step,
            features=self.features,
            second=self.second,
            pictures=self.held_out,
            broken=len(self.broken),
            final=final,
            history=history,
            due=self._is_due(step),
            processes=self.processes,
            validations=self.validations(),
        )


def _open(config: RunConfig, split: str, size: int) -> Dataset:
    channels = config.tokenizer.channels
    return config.data.open(split, seed=config.seed, channels=channels, size=size)


def _load_features(config: RunConfig) -> Features | None:
    if config.features.name != "auto":
        return load_features(config.features.name, config.features.weights)
    try:
        name = "alexnet" if config.loss.lpips else "squeezenet"
        return load_features(name, config.features.weights)
    except FeatureError as error:
        if config.features.weights is not None:
            raise
        print(f"WARNING: {error}\nTraining without perceptual and contrastive loss.")
        return None
