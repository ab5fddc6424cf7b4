"""Flipped bytes: every file of a bundle, a run and shards; each is refused or harmless."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from core.bundles.bundle import find_bundle
from core.checkpoints import load_prior, load_tokenizer
from core.data.token_shards import TokenShards
from core.errors import CheckpointError, DataError
from train.loop.record import RunRecord
from train.loop.settings import remember_settings
from train.loop.state import load_state

from .runs import rows_of
from .table import TABLE

Seen = object
"""Anything that is equal if nothing changed."""


@contextmanager
def flipped(file: Path, place: int, mask: int) -> Iterator[None]:
    """Flip bits of one byte of a file, for as long as the context lasts."""
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[place] ^= mask
    file.write_bytes(damaged)
    try:
        yield
    finally:
        file.write_bytes(whole)


def try_flips(
    kind: str, folder: Path, read: Callable[[Path], Seen], per_file: int, seed: int = 0
) -> None:
    """Flip bytes of every file of ``folder`` and count what ``read`` makes of each.

    A flip is refused if ``read`` raises a sentence or logs a warning, harmless if what it returns
    is the same, and silent otherwise. Any other exception counts as lost.
    """
    draw = random.Random(seed)
    before = read(folder)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = file.stat().st_size
        for _ in range(per_file if size else 0):
            place, mask = draw.randrange(size), 1 << draw.randrange(8)
            case = f"{file.relative_to(folder)} byte {place} of {size}"
            with flipped(file, place, mask), _Warnings() as warned:
                try:
                    silent = read(folder) != before and not warned.messages
                except (CheckpointError, DataError) as error:
                    TABLE.add(kind, case, lost="\n" in str(error))
                except Exception as error:
                    TABLE.add(kind, f"{case}: {error!r}", lost=True)
                else:
                    TABLE.add(kind, case, silent=silent)


class _Warnings(logging.Handler):
    """Warnings of the library's log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> _Warnings:
        logging.getLogger("regvq").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("regvq").removeHandler(self)


def read_tokenizer(folder: Path) -> Seen:
    """Return what a user of a tokenizer's bundle gets; card and figures are no part of it."""
    bundle = find_bundle(folder)
    tokenizer = load_tokenizer(bundle)
    atlas = {name: array.tolist() for name, array in bundle.atlas.items()}
    recipe = {k: v for k, v in bundle.config.items() if k != "sha256"}
    return tokenizer.fingerprint, atlas, recipe


def read_prior(folder: Path) -> Seen:
    """Return what a user of a prior's bundle gets; card and figures are no part of it."""
    weights = load_prior(folder).state_dict()
    config = {k: v for k, v in find_bundle(folder).config.items() if k != "sha256"}
    return {name: x.tolist() for name, x in weights.items()}, config


def read_shards(folder: Path) -> Seen:
    """Return all rows of token shards."""
    shards = TokenShards(folder)
    rows = [shards[row] for row in range(len(shards))]
    return [
        (
            row.ids.tolist(),
            row.captions,
            row.label,
            None if row.segmentation is None else row.segmentation.tolist(),
        )
        for row in rows
    ]


def read_run(config: object) -> Callable[[Path], Seen]:
    """Return the function that reads a run folder as a resumed run with ``config`` does."""

    def read(folder: Path) -> Seen:
        remember_settings(config, folder)
        further: dict[str, torch.Tensor] = {}
        numbers = load_state(folder / "state", {}, further)
        assert numbers is not None
        kept = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        try:
            warn = logging.getLogger("regvq.faults").warning
            RunRecord(folder, numbers["step"], 2, numbers["log"], warn)
            rows = rows_of(folder / "log.jsonl")
        finally:
            for file in [path for path in folder.rglob("*") if path.is_file()]:
                if file not in kept:
                    file.unlink()
            for file, data in kept.items():
                if not file.exists() or file.read_bytes() != data:
                    file.write_bytes(data)
        tensors = {name: x.tolist() for name, x in further.items()}
        return tensors, numbers, rows

    return read
