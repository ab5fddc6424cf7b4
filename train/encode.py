"""Encode a data set: ``python train/encode.py --checkpoint DIR --data.name NAME --out DIR``.

Writes token shards (core.data.token_shards) for training priors. Started again with the same flags
after an interruption, it resumes; the files are those of an encoding that was never interrupted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if not __package__:  # run as a file: python train/encode.py
    import _bootstrap

    __package__ = _bootstrap.PACKAGE

from .cli.common import pick_device, spread_over
from .cli.errors import UsageError, one_line_errors, parse_flags

if TYPE_CHECKING:
    from regvq.data import Dataset, Sample
    from regvq.tokenizer import Tokenizer


@dataclass(frozen=True)
class DataFlags:
    """Which pictures."""

    name: str
    """The data set: scenes, folder, captions, shards, imagenet, ade20k, celebamask, cub, coco,
    camvid, facades or flickr8k."""
    root: Path | None = None
    """The folder, for data sets that are read from files."""
    split: Literal["train", "val", "test"] = "train"
    """Which part, where the data set has parts."""
    size: int = 256
    """Side in pixels of what is encoded; a multiple of the tokenizer's downsampling."""
    crop: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest side of an augmentation's crop, as fractions of the short side."""
    seed: int = 0
    """Seed of the augmentations."""


@dataclass(frozen=True)
class EncodeFlags:
    """Flags of the command."""

    checkpoint: Path
    """A bundle, or a run's folder."""
    data: DataFlags
    out: Path
    """The folder to write; one that holds a part of the same shards is finished."""
    augmentations: int = 0
    """So many random crops of each picture, half of them mirrored; 0: its centre square, once."""
    limit: int | None = None
    """Only so many pictures, spread evenly over the data set; with augmentations, so many times
    them, of any of its pictures. None: all."""
    batch: int = 32
    """Pictures that go through together."""
    shard: int = 4096
    """Pictures in a shard. What an interruption costs is at most one shard."""
    workers: int = 0
    """Processes that load pictures; 0 loads in this process."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps, or auto (a GPU if there is one)."""


def encode(flags: EncodeFlags) -> dict[str, Any]:
    """Runs the encoding and returns the finished header."""
    from tqdm import tqdm

    from regvq.bundles.bundle import find_bundle
    from regvq.checkpoints import load_tokenizer
    from regvq.data import open_dataset

    _check(flags)
    device = pick_device(flags.device)
    bundle = find_bundle(flags.checkpoint)
    tokenizer = load_tokenizer(bundle, device)
    if flags.data.size % tokenizer.downsampling:
        raise UsageError(
            f"--data.size must be a multiple of {tokenizer.downsampling}, the tokenizer's "
            f"downsampling, got {flags.data.size}"
        )
    data = open_dataset(
        flags.data.name,
        flags.data.root,
        size=flags.data.size,
        seed=flags.data.seed,
        split=flags.data.split,
        crop=flags.data.crop,
    )
    header = _begin(flags, data, tokenizer, bundle.name, tokenizer.fingerprint, device)
    with tqdm(total=header["views"], unit="picture", desc="encoding") as bar:
        for shard in range(-(-header["views"] // flags.shard)):
            first = shard * flags.shard
            last = min(first + flags.shard, header["views"])
            if shard >= len(header["rows"]):
                skipped: list[str] = []
                batches = _load(flags, data, first, last, skipped)
                header["rows"].append(_write(flags, tokenizer, header, shard, batches))
                header["skipped"] += len(skipped)
                for sentence in skipped:
                    bar.write(f"skipped: {sentence}")
                header["complete"] = last == header["views"]
                _write_header(flags.out, header)
            bar.update(last - first)
    return header


def _begin(
    flags: EncodeFlags, data: Dataset, tokenizer: Tokenizer, name: str, mark: str, device: str
) -> dict[str, Any]:
    """The header to go on from. Refuses a folder that holds something else."""
    from regvq.data.token_shards import FORMAT, HEADER, check_files, read_header, token_dtype

    sample = data.draw(0)
    side = flags.data.size // tokenizer.downsampling
    header = {
        "format": FORMAT,
        "kind": "tokens",
        "tokenizer": {
            "name": name,
            "fingerprint": mark,
            "codebook_size": tokenizer.codebook_size,
            "downsampling": tokenizer.downsampling,
        },
        "data": {
            "name": flags.data.name,
            "split": flags.data.split,
            "items": _items(flags, data),
            "classes": list(getattr(data, "classes", ())),
        },
        "size": flags.data.size,
        "augmentations": flags.augmentations,
        "crop": list(flags.data.crop) if flags.augmentations else None,
        "seed": flags.data.seed if flags.augmentations or flags.data.name == "scenes" else None,
        "batch": flags.batch,
        "shard": flags.shard,
        "device": device.partition(":")[0],
        "views": _items(flags, data) * max(1, flags.augmentations),
        "grid": [side, side],
        "dtype": token_dtype(tokenizer.codebook_size),
        "captions": bool(sample.captions or sample.caption),
        "segmentation": sample.segmentation is not None,
    }
    begun = {"rows": [], "skipped": 0, "complete": False}
    if (flags.out / HEADER).exists():
        before = read_header(flags.out)
        differing = [key for key, value in header.items() if before.get(key) != value]
        if differing:
            raise UsageError(
                f"--out {flags.out} holds token shards of another {', '.join(differing)}; choose "
                "another folder, or the same flags to go on"
            )
        check_files(flags.out, before)
        return header | {key: before[key] for key in begun}
    if flags.out.is_dir() and any(flags.out.iterdir()):
        raise UsageError(f"--out {flags.out} holds other files; name an empty or a new folder")
    flags.out.mkdir(parents=True, exist_ok=True)
    header |= begun
    _write_header(flags.out, header)
    return header


def _items(flags: EncodeFlags, data: Dataset) -> int:
    return len(data) if flags.limit is None else min(flags.limit, len(data))


class _Views:
    """Views of the pictures by row; a broken picture is its sentence, a mistake an exception."""

    def __init__(self, data: Dataset, flags: EncodeFlags, first: int, last: int) -> None:
        self.data, self.augmentations, self.size = data, flags.augmentations, flags.data.size
        self.chosen = spread_over(len(data), flags.limit)
        self.first, self.last = first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> Sample | str | Exception:
        from regvq.data import center
        from regvq.errors import DataError, PictureError

        if index >= len(self):
            raise IndexError(index)
        row = self.first + index
        try:
            if self.augmentations:
                return self.data.draw(row)
            return center(self.data[self.chosen[row]], self.size)
        except PictureError as error:
            return str(error)
        except DataError as error:  # raised outside: DataLoader would wrap it in a traceback
            return DataError(str(error))


def _load(
    flags: EncodeFlags, data: Dataset, first: int, last: int, skipped: list[str]
) -> Iterator[list[Sample]]:
    """Batches of a shard's samples; broken pictures are noted in ``skipped`` and left out."""
    from torch.utils.data import DataLoader

    from .loop.draws import one_thread

    loader = DataLoader(
        _Views(data, flags, first, last),
        batch_size=flags.batch,
        num_workers=flags.workers,
        collate_fn=list,
        multiprocessing_context="fork" if flags.workers else None,
        worker_init_fn=one_thread,
    )
    for batch in loader:
        whole = []
        for view in batch:
            if isinstance(view, Exception):
                raise view
            (skipped if isinstance(view, str) else whole).append(view)
        if whole:
            yield whole


def _write(
    flags: EncodeFlags,
    tokenizer: Tokenizer,
    header: dict[str, Any],
    shard: int,
    batches: Iterator[list[Sample]],
) -> int:
    """Encode and write the files of a shard, each beside its place and renamed; its rows."""
    import numpy as np
    import torch

    from regvq.data.token_shards import arrays_of, shard_file

    kinds = arrays_of(header)
    parts: dict[str, list[Any]] = {name: [] for name in kinds}
    captions: list[str] = []
    for batch in batches:
        ids = tokenizer.encode(torch.stack([sample.image for sample in batch])).cpu()
        parts["tokens"].append(ids.numpy())
        parts["labels"].append(np.array([sample.label for sample in batch]))
        if "segmentation" in kinds:
            parts["segmentation"].append(np.stack([_map(sample, tokenizer) for sample in batch]))
        for sample in batch:
            said = sample.captions or ((sample.caption,) if sample.caption else ())
            captions.append(json.dumps(list(said), ensure_ascii=False) + "\n")
    rows = len(captions)
    for name, (dtype, shape) in kinds.items():
        empty = np.zeros((0, *shape), np.int64)
        array = np.concatenate([empty, *parts[name]])
        stored = array.astype(np.dtype(dtype).newbyteorder("<"))
        _replace(shard_file(flags.out, name, shard), stored.tobytes())
    if header["captions"]:
        _replace(shard_file(flags.out, "captions", shard), "".join(captions).encode())
    return rows


def _map(sample: Sample, tokenizer: Tokenizer) -> Any:
    """The sample's map on the token grid, uint8 (h, w); all unlabelled where it has none."""
    import torch

    from regvq.data.segmentation import UNLABELED, on_grid

    segmentation = sample.segmentation
    if segmentation is None:
        segmentation = torch.full(sample.image.shape[1:], UNLABELED)
    return on_grid(segmentation, tokenizer.downsampling).numpy()


def _replace(file: Path, data: bytes) -> None:
    beside = file.with_name(file.name + ".new")
    with beside.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())  # the header will vouch for it
    os.replace(beside, file)


def _write_header(out: Path, header: dict[str, Any]) -> None:
    from regvq.bundles.storage import write_json
    from regvq.data.token_shards import HEADER

    write_json(out / HEADER, header)


def _check(flags: EncodeFlags) -> None:
    for name in ("batch", "shard", "limit"):
        if (value := getattr(flags, name)) is not None and value < 1:
            raise UsageError(f"--{name} must be 1 or more, got {value}")
    for name in ("augmentations", "workers"):
        if getattr(flags, name) < 0:
            raise UsageError(f"--{name} must be 0 or more, got {getattr(flags, name)}")
    if flags.out.exists() and not flags.out.is_dir():
        raise UsageError(f"--out {flags.out} is a file; name a folder")


def main() -> None:
    """The command."""
    flags = parse_flags(
        EncodeFlags,
        program="python train/encode.py",
        description="Encode a data set into token shards, for training priors.",
    )
    from regvq.errors import CheckpointError, DataError

    with one_line_errors(UsageError, CheckpointError, DataError):
        header = encode(flags)
    width = header["grid"][1]
    print(
        f"{sum(header['rows']):,} pictures as {header['grid'][0]}x{width} tokens each in "
        f"{len(header['rows'])} shards: {flags.out}"
    )
    if header["skipped"]:
        print(f"{header['skipped']} broken pictures were left out")


if __name__ == "__main__":
    main()
