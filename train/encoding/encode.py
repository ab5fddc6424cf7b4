"""Encoding a data set into token shards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli.common import evenly_spaced, pick_device, worker_start_method
from ..cli.errors import UsageError
from .flags import EncodeFlags, check_flags

if TYPE_CHECKING:
    from torch import Tensor

    from regvq.data import Dataset, Sample
    from regvq.data.token_shard_writer import TokenShardWriter
    from regvq.tokenizer import Tokenizer


def encode(flags: EncodeFlags) -> dict[str, Any]:
    """Encode a data set, or the rest of one, and return the finished header."""
    from tqdm import tqdm

    from regvq.bundles.bundle import open_bundle
    from regvq.checkpoints import load_tokenizer
    from regvq.data import open_dataset
    from regvq.data.contents import summary
    from regvq.data.token_shard_writer import TokenShardWriter

    check_flags(flags)
    device = pick_device(flags.device)
    bundle = open_bundle(flags.checkpoint.as_posix())
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
        stretch=flags.data.stretch,
        channels=tokenizer.channels,
        columns=flags.data.columns,
    )
    tqdm.write(summary(data, flags.data.split))
    header = _header(flags, data, tokenizer, bundle.name, device)
    writer, views = TokenShardWriter(flags.out, header), header["views"]
    with tqdm(total=views, unit="picture", desc="encoding") as bar:
        for shard in range(-(-views // flags.shard)):
            first = shard * flags.shard
            last = min(first + flags.shard, views)
            if shard >= writer.written:
                skipped: list[str] = []
                batches = _load(flags, data, first, last, skipped)
                try:
                    writer.write(_encoded(tokenizer, batches), skipped, last=last == views)
                except OSError as error:
                    raise _unwritten(error, writer, flags.out) from None
                for sentence in skipped:
                    bar.write(f"skipped: {sentence}")
            bar.update(last - first)
    return writer.header


def _unwritten(error: OSError, writer: TokenShardWriter, out: Path) -> Exception:
    """Return the error of a shard that cannot be written; another file's error remains as it is."""
    file = os.fsdecode(error.filename2 or error.filename or out)
    if not Path(file).resolve().is_relative_to(out.resolve()):
        return error
    return UsageError(
        f"{file} cannot be written in shard {writer.written} ({error.strerror}); "
        f"{writer.written} whole shards are kept in {out}. Make room or give write access, and "
        "resume with the same command."
    )


def _header(
    flags: EncodeFlags, data: Dataset, tokenizer: Tokenizer, name: str, device: str
) -> dict[str, Any]:
    from regvq.data.token_shard_writer import new_header

    items = len(data) if flags.limit is None else min(flags.limit, len(data))
    seeded = flags.augmentations or flags.data.name == "scenes"
    return new_header(
        {
            "name": name,
            "fingerprint": tokenizer.fingerprint,
            "codebook_size": tokenizer.codebook_size,
            "downsampling": tokenizer.downsampling,
            **({"levels": tokenizer.levels} if tokenizer.levels > 1 else {}),
        },
        data,
        flags.data.size,
        items * max(1, flags.augmentations),
        {
            "data": {"name": flags.data.name, "split": flags.data.split, "items": items},
            "augmentations": flags.augmentations,
            "crop": list(flags.data.crop) if flags.augmentations else None,
            **({"stretch": True} if flags.data.stretch else {}),
            "seed": flags.data.seed if seeded else None,
            "batch": flags.batch,
            "shard": flags.shard,
            "device": device.partition(":")[0],
        },
    )


def _encoded(
    tokenizer: Tokenizer, batches: Iterator[list[Sample]]
) -> Iterator[tuple[Tensor, list[Sample]]]:
    import torch

    for batch in batches:
        yield tokenizer.encode(torch.stack([sample.image for sample in batch])), batch


class _Views:
    """Views of the pictures by row; a broken picture is its sentence, a mistake an exception."""

    def __init__(self, data: Dataset, flags: EncodeFlags, first: int, last: int) -> None:
        self.data, self.augmentations, self.size = data, flags.augmentations, flags.data.size
        self.chosen = evenly_spaced(len(data), flags.limit)
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
    """Yield batches of a shard's samples; note broken pictures in ``skipped`` instead."""
    from torch.utils.data import DataLoader

    from ..loop.draws import start_loader, started

    loader = DataLoader(
        _Views(data, flags, first, last),
        batch_size=flags.batch,
        num_workers=flags.workers,
        collate_fn=list,
        multiprocessing_context=worker_start_method(flags.workers),
        worker_init_fn=start_loader,
    )
    with started(loader) as batches:
        for batch in batches:
            whole = []
            for view in batch:
                if isinstance(view, Exception):
                    raise view
                (skipped if isinstance(view, str) else whole).append(view)
            if whole:
                yield whole
