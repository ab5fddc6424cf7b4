"""Training a prior on a tokenizer's tokens: its batches, its steps and its log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regvq.bundles.bundle import find_bundle
from regvq.checkpoints import load_tokenizer
from regvq.conditions import SemanticConfig, TextConfig
from regvq.conditions.from_samples import condition_of
from regvq.data import Dataset
from regvq.data.token_shards import TokenBatch, TokenShards
from regvq.errors import CheckpointError, DataError
from regvq.priors import LatentConfig, kind_of
from regvq.quantizers import LeveledQuantizer

from ..cli.errors import UsageError
from ..config.prior import PriorRunConfig
from ..export.prior import export_prior, sample_sheet
from .base import TrainingRun
from .contents import Contents
from .draws import Batches, check_enough
from .losses import values_of
from .memory import Part, mean_of, parts_of, prepare_networks
from .optim import adamw, averaged, set_lr
from .state import has_state
from .token_batches import (
    EncodedBatches,
    ShardBatches,
    check_data,
    held_out_batches,
    pictures_of,
    rows_of,
)
from .warm_start import prior_from

HELD_OUT = 256  # pictures of the validation loss
READ = 10_000  # captions from which a vocabulary is learned


class PriorTrainer(TrainingRun):
    """A prior's run."""

    config: PriorRunConfig

    def __init__(self, config: PriorRunConfig, out: Path) -> None:
        super().__init__(config, out)
        self.tokenizer_bundle = find_bundle(config.tokenizer)
        self.tokenizer = load_tokenizer(self.tokenizer_bundle, str(self.device))
        self.fixed["tokenizer"] = self.tokenizer.fingerprint
        self.continuous = isinstance(config.prior, LatentConfig)
        if self.continuous and config.tokens is not None:
            raise DataError(
                f"{config.tokens} holds token ids, but a latent prior learns continuous latents: "
                "leave out --tokens, so that pictures are encoded as they are drawn."
            )
        self.held_out = self._open("test")
        self.shards: TokenShards | None = None
        if config.tokens is not None:
            self.shards = TokenShards(config.tokens, self.tokenizer.fingerprint, config.seed)
        else:
            self.data = self._open("train")
        tokens = self.shards if self.shards is not None else self.data
        self._check_classes()
        check_data(config.prior.conditions, config.data, tokens, self.held_out)
        check_enough(tokens, config.batch, self.processes)

        torch.manual_seed(config.seed)
        shape = self._shape()
        try:
            self.prior = replace(config.prior, **shape).build()
            self.prior.validate_sampling(**asdict(config.sampling))  # before it is trained
        except ValueError as error:
            raise UsageError(f"{config.recipe}: {error}") from None
        self.prior.learn_vocabulary(self._captions())
        self.init_tokenizer: str | None = None  # of the weights of init, if it is another one
        if config.init is not None:
            self.init_tokenizer = self._initialize(config.init)
        elif config.embeddings == "codes" and not self.continuous:
            quantizer = self.tokenizer.quantizer
            leveled = isinstance(quantizer, LeveledQuantizer)
            self.prior.network.init_from_codebook(
                quantizer.level_codebooks() if leveled else quantizer.codebook()
            )
        if config.train_only != "all":
            frozen = self.prior.layout if config.train_only == "tokens" else self.prior.network
            frozen.requires_grad_(False)
            self.prior.trained_part = config.train_only
        self.prior.to(self.device)
        self.averaged = averaged(self.prior, config.optimizer.ema)
        self.optimizer = adamw(self.prior, config.optimizer)
        self.parts |= {
            "prior": self.prior,
            "averaged": self.averaged,
            "optimizer": self.optimizer,
        }
        prepare_networks(config, self.prior)
        self.parallel = self.accelerator.prepare(self.prior)

    def contents(self) -> Contents:
        """Return the identity of the pictures, or token shards, and of the tokenizer."""
        return super().contents() | self.fixed

    def _pictures(self) -> Dataset | TokenShards:
        return self.shards if self.shards is not None else self.data

    def _resume(self, numbers: Mapping[str, Any]) -> int:
        step = super()._resume(numbers)
        if "tokenizer" in numbers.get("fixed", {}):
            return step
        try:  # a state of an earlier version does not state it, but its bundle does
            before = find_bundle(self.out).config["tokenizer"]["fingerprint"]
        except (CheckpointError, KeyError, TypeError):
            return step
        if before != self.fixed["tokenizer"]:
            raise CheckpointError(
                f"{self.config.tokenizer} holds other weights than the tokenizer with which the "
                f"run in {self.out} was started; name that one with --tokenizer, or choose another "
                "--out."
            )
        return step

    def _initialize(self, source: Path) -> str | None:
        """Load the weights of ``source``, unless the run is resumed.

        Return the name of their tokenizer if it is another one than the run's.
        """
        if not has_state(self.state_folder):
            return prior_from(self.prior, source, self.tokenizer_bundle)
        try:  # the source may have been deleted since the start
            return find_bundle(self.out).config["recipe"]["init_tokenizer"]
        except (CheckpointError, KeyError, TypeError):
            return None

    def _open(self, split: str) -> Dataset:
        config, channels = self.config, self.tokenizer.channels
        return config.data.open(split, seed=config.seed, channels=channels)

    def _shape(self) -> dict[str, object]:
        """Return the settings of the prior that follow from its tokens."""
        f, side = self.tokenizer.downsampling, self.config.data.size
        levels = self.tokenizer.levels
        if self.continuous and levels > 1:
            raise UsageError(
                f"{self.config.recipe}: a latent diffusion prior draws latents for one code per "
                f"position, but {self.config.tokenizer} has {levels} levels: choose an "
                "autoregressive or a masked prior"
            )
        if side % f:
            raise DataError(
                f"data.size must be a multiple of {f}, the downsampling of {self.config.tokenizer},"
                f" got {side}."
            )
        grid = (side // f, side // f)
        if self.shards is not None and self.shards.grid != grid:
            height, width = self.shards.grid
            raise DataError(
                f"{self.shards.root} holds {height}x{width} tokens per picture, but pictures of "
                f"{side} pixels have {grid[0]}x{grid[1]}: set data.size to {height * f}."
            )
        if self.continuous:
            return {"grid": grid, "latent_dim": self.tokenizer.config.network.latent_dim}
        return {"grid": grid, "codebook_size": self.tokenizer.codebook_size, "levels": levels}

    def _check_classes(self) -> None:
        known = len(getattr(self.held_out, "classes", ()))
        for config in self.config.prior.conditions:
            if isinstance(config, SemanticConfig) and config.classes < known:
                raise DataError(
                    f"the maps of {self.config.data.name} have {known} classes, but the prior's "
                    f"semantic condition has {config.classes}: choose a recipe with {known}."
                )

    def _captions(self) -> Iterable[str]:
        """Return training captions, for the vocabulary."""
        if not any(isinstance(config, TextConfig) for config in self.config.prior.conditions):
            return ()
        rows: Iterable[int] = range(min(READ, self._length))
        if self.shards is not None:
            return (text for row in rows for text in self.shards[row].captions)
        return (self.data.draw(row).caption for row in rows)

    @property
    def _length(self) -> int:
        return len(self.shards if self.shards is not None else self.data)

    def _stream(self, step: int, last: int) -> Iterator[TokenBatch]:
        config, process = self.config, self.accelerator.process_index
        place = self._share(config.batch), step, process, self.accelerator.num_processes
        if self.shards is not None:
            yield from islice(ShardBatches(self.shards, *place), last - step)
            return
        batches = Batches(self.data, *place, config.data.workers, pictures_of)
        encoded = EncodedBatches(batches, self.tokenizer, self.continuous)
        yield from self._limited(encoded, last - step)

    def step(self, batch: TokenBatch, step: int) -> dict[str, Tensor]:
        """Take one optimizer step on a batch; return the loss terms, detached."""
        settings = self.config.optimizer
        set_lr(self.optimizer, settings.lr * self._lr_scale(step, settings))
        self.prior.train()
        self.optimizer.zero_grad(set_to_none=True)
        noise, parts = self._noise(step), parts_of(len(batch), self.config.accumulate)
        losses = mean_of([(part.share, self._backward(batch, noise, part)) for part in parts])
        losses["gradient_norm"] = torch.nn.utils.clip_grad_norm_(
            self.prior.parameters(), settings.clip
        ).detach()
        losses = self._check(losses, step)
        self.optimizer.step()
        self.averaged.update_parameters(self.prior)
        return losses

    def _backward(self, batch: TokenBatch, noise: torch.Generator, part: Part) -> dict[str, Tensor]:
        """Add a part's share of the gradient; return its loss terms, detached."""
        with part.unsynchronized(self.accelerator, self.parallel):
            with self._autocast():
                losses = self.parallel(*self._inputs(rows_of(batch, part.rows)), noise)
            total = sum(loss for name, loss in losses.items() if not name.endswith("bits"))
            self.accelerator.backward(part.share * total)
        return {name: loss.detach() for name, loss in losses.items()}

    def _inputs(self, batch: TokenBatch) -> tuple[Tensor, object]:
        condition = condition_of(
            self.config.prior.conditions, batch.captions, batch.segmentation, batch.labels
        )
        # Here, as the host would have to wait for values that are on a GPU.
        if batch.ids.device.type == "cpu":
            self.prior.check_training_batch(batch.ids, condition)
        else:  # encoded by the run's own tokenizer
            self.prior.conditioner.check(condition, len(batch.ids), allow_unused=True)
        ids = batch.ids.to(self.device, non_blocking=True)
        return ids, None if condition is None else condition.to(self.device)

    def _figures(self, losses: Mapping[str, Tensor]) -> tuple[dict[str, float], dict[str, str]]:
        figures = values_of(losses)
        shown = (name for name in ("bits", "layout_bits") if name in figures)
        return figures, {name: f"{figures[name]:.3f}" for name in shown}

    @cached_property
    def held_out_tokens(self) -> list[TokenBatch]:
        """The held-out pictures of the validation loss, encoded."""
        return held_out_batches(
            self.held_out, self.tokenizer, self.config.data.size, HELD_OUT, self.continuous
        )

    @torch.no_grad()
    def validate(self) -> tuple[str, float]:
        """Return the name and value of the loss of the averaged weights on held-out pictures.

        It is the bits per token, or the first loss of a prior without bits. The noise is always the
        same.
        """
        prior = self.averaged.module.eval()
        noise = torch.Generator(self.device).manual_seed(self.config.seed)
        total = seen = 0.0
        with self._autocast():
            for batch in self.held_out_tokens:
                losses = prior.loss(*self._inputs(batch), noise)
                name = "bits" if "bits" in losses else next(iter(losses))
                total += float(losses[name]) * len(batch)
                seen += len(batch)
        return name, total / seen

    def _measure(self) -> dict[str, float]:
        name, loss = self.validate()
        return {f"held_out_{name}": loss}

    def _score(self, row: Mapping[str, Any]) -> float | None:
        losses = [value for name, value in row.items() if name.startswith("held_out_")]
        return -losses[0] if losses else None

    def _facts(self) -> dict[str, str]:
        config, data = self.config, self.config.data
        rows, columns = self.prior.config.grid
        count = sum(p.numel() for p in self.prior.parameters() if p.requires_grad)
        kinds = [
            type(each).__name__.removesuffix("Config").lower() for each in config.prior.conditions
        ]
        count_of_levels = self.tokenizer.levels
        levels = f" at each of {count_of_levels} levels" if count_of_levels > 1 else ""
        source = f"token shards {config.tokens}" if config.tokens is not None else data.name
        return {
            "data": f"{source}: {self._length:,} pictures as {rows}x{columns} tokens, "
            f"{len(self.held_out):,} to measure on",
            "tokenizer": f"{config.tokenizer}, {self.tokenizer.codebook_size:,} codes{levels}",
            "model": f"{kind_of(self.prior.config)} prior, {count:,} trained parameters; "
            f"conditions: {', '.join(kinds) or 'none'}",
        }

    def _export_best(self, bundle: Path, step: int) -> None:
        self._export_to(bundle, step, *self.validate())

    def _export(self, bundle: Path, step: int, final: bool) -> None:
        name, loss = self.validate()
        sample_sheet(
            self.averaged.module,
            self.tokenizer,
            self.held_out_tokens[0],
            self.config,
            self.out / "samples" / f"{step:07d}.png",
        )
        self._export_to(bundle, step, name, loss)

    def _export_to(self, bundle: Path, step: int, name: str, loss: float) -> None:
        export_prior(
            bundle,
            prior=self.averaged.module,
            tokenizer=self.tokenizer,
            tokenizer_bundle=self.tokenizer_bundle,
            config=self.config,
            data=self.held_out,
            shards=self.shards,
            init_tokenizer=self.init_tokenizer,
            metrics={
                "step": step,
                "bits_per_token" if name == "bits" else name: loss,
                "held_out": sum(map(len, self.held_out_tokens)),
            },
            broken=len(self.broken),
            processes=self.processes,
            validations=self.validations(),
        )
