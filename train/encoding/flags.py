"""Flags of ``train/encode.py``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..cli.columns import ColumnsConfig
from ..cli.errors import UsageError


@dataclass(frozen=True)
class DataFlags(ColumnsConfig):
    """The pictures."""

    name: str
    """The data set: scenes, folder, captions, shards, parquet, imagenet, ade20k, celebamask, cub,
    coco, camvid, facades or flickr8k."""
    root: Path | None = None
    """The folder of a data set that is read from files."""
    split: Literal["train", "val", "test"] = "train"
    """The split, if the data set has splits."""
    size: int = 256
    """Side in pixels of the encoded squares; a multiple of the tokenizer's downsampling."""
    crop: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest side of an augmentation's crop, as fractions of the short side."""
    stretch: bool = False
    """Stretch every picture to a square before it is cropped."""
    seed: int = 0
    """Seed of the augmentations."""


@dataclass(frozen=True)
class EncodeFlags:
    """Flags of the command."""

    checkpoint: Path
    """A bundle, or a run's folder."""
    data: DataFlags
    out: Path
    """The folder to write; one with a part of the same shards is completed."""
    augmentations: int = 0
    """Number of random crops of each picture, half of them mirrored; 0: its center square, once."""
    limit: int | None = None
    """Only this many pictures, spread evenly over the data set; with augmentations, this many times
    that number of crops, of any of its pictures. None: all."""
    batch: int = 32
    """Pictures that are encoded together."""
    shard: int = 4096
    """Pictures per shard. An interruption costs at most one shard."""
    workers: int = 0
    """Processes that load pictures; 0 loads them in this process."""
    recipe: str | None = None
    """The file of a recipe of your own, FILE.py or FILE.py:NAME, which registers the bundle's
    quantizer or the data set."""
    device: str = "auto"
    """Device: cpu, cuda, cuda:1, mps, or auto (a GPU if there is one)."""


def check_flags(flags: EncodeFlags) -> None:
    """Raise UsageError for values that cannot be used."""
    for name in ("batch", "shard", "limit"):
        if (value := getattr(flags, name)) is not None and value < 1:
            raise UsageError(f"--{name} must be 1 or more, got {value}")
    for name in ("augmentations", "workers"):
        if getattr(flags, name) < 0:
            raise UsageError(f"--{name} must be 0 or more, got {getattr(flags, name)}")
    if flags.out.exists() and not flags.out.is_dir():
        raise UsageError(f"--out {flags.out} is a file; name a folder")
