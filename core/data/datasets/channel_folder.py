"""A folder of pictures of any number of channels: arrays (.npy), gray and multi-page TIFFs, …"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...arrays import range_words, read_array
from ...channels import count_words
from ...errors import DataError, PictureError
from ...formats import ARRAYS, SUFFIXES, suffix_of
from ..picture_dataset import Entry
from .folder import PictureFolder

_LOOKED_AT = 8
"""Files whose channels are compared when the folder is opened, beside one of each suffix."""


class ChannelFolder(PictureFolder):
    """All pictures under a folder, of one number of channels, as `core.arrays.read_array` reads
    them; without captions, maps or labels.

    Crops, cache and the handling of broken files are those of `PictureDataset`, which counts a
    picture with other channels as broken.

    Args:
        root: the folder; subfolders are searched too.
        channels: the channels of the pictures, from 1 to 16.
        size, seed, crop_scale, flip, cache_mb, remarks: as for `PictureFolder`.

    Raises:
        DataError: as for `PictureFolder`; or the pictures have another number of channels, or not
            all the same.
    """

    suffixes = SUFFIXES | ARRAYS

    def __init__(
        self,
        root: str | Path,
        channels: int,
        size: int = 64,
        seed: int = 0,
        crop_scale: tuple[float, float] = (0.0, 1.0),
        flip: bool = True,
        cache_mb: float = 1024,
        remarks: Sequence[str] = (),
    ) -> None:
        super().__init__(root, size, seed, crop_scale, flip, cache_mb, remarks)
        self.channels = channels
        self.value_range = self._look()

    def _look(self) -> str:
        """Return the types of the pixels. Raises DataError for other channels than expected."""
        found: dict[int, str] = {}
        kinds: set[str] = set()
        for entry in _some(self.entries):
            name = self._shown(entry.path)
            try:
                array = read_array(entry.path, name=name)
            except PictureError:  # counted and named where it is drawn
                continue
            found.setdefault(array.shape[2], name)
            kinds.add(range_words(array))
        if len(found) > 1:
            (one, first), (other, second) = list(found.items())[:2]
            raise DataError(
                f"{self.root} mixes pictures of {count_words(one)} ({first}) and of {other} "
                f"({second}); keep those of one number in the folder."
            )
        for number, name in found.items():
            if number != self.channels:
                raise DataError(f"{self.root / name} {_remedy(number, self.channels)}")
        return ", ".join(sorted(kinds)) or "unknown"

    def _read(self, index: int) -> tuple[np.ndarray, None]:
        path = self.entries[index].path
        array = read_array(path, name=self._shown(path))
        if array.shape[2] != self.channels:
            raise PictureError(f"{self._shown(path)} {_remedy(array.shape[2], self.channels)}")
        return array, None


def holds_only_arrays(root: str | Path) -> bool:
    """Return True if a folder, with its subfolders, holds .npy files and no other pictures."""
    arrays = False
    for _, _, files in os.walk(root):
        for file in files:
            suffix = "" if file.startswith(".") else suffix_of(file)
            if suffix in SUFFIXES:
                return False
            arrays = arrays or suffix in ARRAYS
    return arrays


def _remedy(found: int, wanted: int) -> str:
    expected = f"{wanted} {'is' if wanted == 1 else 'are'} expected"
    return (
        f"has {count_words(found)}, but {expected}; set channels to {found} "
        f"(--tokenizer.channels {found} where a tokenizer is trained), or convert the pictures."
    )


def _some(entries: Sequence[Entry]) -> list[Entry]:
    """Return the first entry of each suffix, and a few that are spread evenly over all."""
    first = {suffix_of(entry.path.name): entry for entry in reversed(entries)}
    step = max(1, len(entries) // _LOOKED_AT)
    return [*first.values(), *entries[::step][:_LOOKED_AT]]
