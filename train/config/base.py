"""Settings of every run: frozen dataclasses that recipes fill in and flags override."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..cli.columns import ColumnsConfig

if TYPE_CHECKING:
    from regvq.data import Dataset


@dataclass(frozen=True)
class PicturesConfig(ColumnsConfig):
    """The pictures that a run trains on."""

    name: str = "scenes"
    """Data set: scenes (drawn by the code, no files), folder (any folder of pictures), captions
    (pictures with captions.jsonl or .txt files), shards (tar files), parquet (parquet files, or a
    data set of the Hub), or one in its published layout: imagenet, ade20k, celebamask, cub, coco,
    camvid, facades, flickr8k."""
    root: Path | None = None
    """The data set's folder, in its published layout. In a plain folder, subfolders train/ and val/
    or test/ are used as splits; where tokenizer.channels is not 3, or it holds nothing else, it may
    also hold arrays (.npy). For folder, shards and parquet also an address that fsspec knows
    (s3://, gs://, hf://, …), for the last two also on a web server and as a pattern, such as
    'https://HOST/train-{000..146}.tar', and for parquet hf://datasets/OWNER/NAME. A run that needs
    only pictures also accepts a plain folder of pictures."""
    size: int = 64
    """Side of the training crops, in pixels."""
    crop: tuple[float, float] = (0.0, 1.0)
    """Smallest and largest side of a crop, as fractions of the picture's short side; (1, 1) means
    whole squares."""
    aspect: float = 4 / 3
    """Largest ratio of the sides of a crop; 1: squares. Whole squares are never stretched."""
    stretch: bool = False
    """Stretch every picture to a square before it is cropped: for pictures that are crops of one
    object themselves, of which a square would cut off a part."""
    workers: int = 1
    """Processes that load pictures; 0 loads them in the training process."""

    @property
    def held_out(self) -> bool:
        """True if the data set holds pictures out of training (``core.data.has_held_out``)."""
        from regvq.data import has_held_out

        return has_held_out(self.name, self.root, self.subset)

    def open(self, split: str, *, seed: int, channels: int, size: int | None = None) -> Dataset:
        """Return a part of the data set, "train" or "test", whose crops are drawn by ``seed``.

        ``channels`` are those of the pictures, and ``size`` is the side of the crops in pixels
        (None: the setting). Raises as ``core.data.open_dataset``.
        """
        from regvq.data import open_dataset

        return open_dataset(
            self.name,
            self.root,
            size=self.size if size is None else size,
            seed=seed,
            split=split,
            crop=self.crop,
            aspect=self.aspect,
            stretch=self.stretch,
            channels=channels,
            columns=self.columns,
        )

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"data.workers must be 0 or more, got {self.workers}")
        if self.size < 1:
            raise ValueError(f"data.size must be at least 1, got {self.size}")
        low, high = self.crop
        if not 0 <= low <= high <= 1 or high == 0:
            raise ValueError(
                f"data.crop must be two increasing fractions in [0, 1], got {self.crop}"
            )
        if not 1 <= self.aspect < math.inf:
            raise ValueError(f"data.aspect must be at least 1, got {self.aspect}")


@dataclass(frozen=True)
class AdamWConfig:
    """AdamW with linear warm-up, then a cosine to zero or a constant rate."""

    lr: float = 4e-4
    """Largest learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of the two moments."""
    weight_decay: float = 1e-4
    """On matrices and kernels only: never on norms, biases or codes."""
    warmup: float = 0.03
    """Share of the steps in which the learning rate rises."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The learning rate after the warm-up."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones that a bundle holds."""

    def __post_init__(self) -> None:
        for name, value in (("lr", self.lr), ("clip", self.clip)):
            if not (value > 0 and (math.isfinite(value) or name == "clip")):
                raise ValueError(f"optimizer.{name} must be a number above 0, got {value}")
        check_range("optimizer.weight_decay", (self.weight_decay,), math.inf)
        check_range("optimizer.warmup", (self.warmup,), 1)
        check_range("optimizer.betas", self.betas, 1, below=True)
        check_range("optimizer.ema", (self.ema,), 1, below=True)


def check_range(
    name: str, values: Iterable[float], most: float, least: float = 0, below: bool = False
) -> None:
    """Raise ValueError, which names the setting, unless all values are from ``least`` to ``most``;
    with ``below``, smaller than ``most``. NaN and infinity are never allowed."""
    for value in values:
        fits = least <= value <= most and math.isfinite(value) and not (below and value == most)
        if not fits:
            limit = f" to {most:g}" if math.isfinite(most) else ""
            limit = f" to below {most:g}" if below else limit or " on"
            raise ValueError(f"{name} must be from {least:g}{limit}, got {value}")


@dataclass(frozen=True)
class CommonConfig:
    """Settings that every run has: its length, its seed, and its reports."""

    recipe: str = "custom"
    """The recipe's name; set by the recipe, not a flag."""
    steps: int = 6000
    """Optimizer steps of the whole run."""
    batch: int = 32
    """Pictures per step, on each process."""
    seed: int = 0
    """Seed of weights, draws and noise; the same seed gives the same run."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bfloat16 autocast if the processor or GPU computes in it."""
    out: Path | None = None
    """Run folder; None: runs/RECIPE. A run that it holds is resumed."""
    log_every: int = 20
    """Steps between log lines; the usage window spans 100 steps."""
    save_every: int = 500
    """Steps between checkpoints, sample pictures and bundles."""
    validate_every: int = 2000
    """Steps between measurements on the whole held-out set, each at the next save; the best
    checkpoint is kept in the run folder as best/. 0: none."""
    tracker: tuple[str, ...] = ("tensorboard",)
    """Trackers of the log, beside log.jsonl: tensorboard, and those that accelerate knows: wandb,
    trackio, mlflow, comet_ml, swanlab and others; none: no tracker."""
    stop_after: int | None = None
    """Stop at this step, as an interruption would; the schedule remains that of --steps."""
    accumulate: int = 1
    """Parts into which each process splits its pictures of a step: the memory of one part, and the
    gradient of all of them. The batch, and what a step costs, remain."""
    checkpointing: bool = False
    """Keep only the inputs of the networks' blocks for the backward pass, which computes the rest
    again: the same gradient in less memory, for about an eighth more time."""
    compile: bool = False
    """Compile the networks with torch.compile, which takes up to minutes at the start. Meant for
    GPUs: on a CPU it gained nothing where it was measured."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "save_every", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.validate_every < 0:
            raise ValueError(f"validate_every must be 0 or more, got {self.validate_every}")
        if self.stop_after is not None and self.stop_after < 1:
            raise ValueError(f"stop_after must be at least 1, got {self.stop_after}")
        if not 0 <= self.seed < 2**24:  # the noise of a step has a seed of 64 bits, 40 for the step
            raise ValueError(f"seed must be from 0 to {2**24 - 1:,}, got {self.seed}")
