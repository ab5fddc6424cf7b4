"""Training crops of the study, drawn once: every run of a seed trains on the very same pixels."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from regvq.data import Dataset, Sample
from regvq.images import to_pixels, to_tensor


def keep_draws(data: Dataset, count: int, file: Path) -> Path:
    """Write draws 0 to ``count`` - 1 of ``data`` to ``file``, uint8 (count, S, S, 3), if it is not
    there."""
    if file.exists():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    side = data.draw(0).image.shape[-1]
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    pixels = np.lib.format.open_memmap(fresh, "w+", np.uint8, (count, side, side, 3))
    for k in range(count):
        pixels[k] = to_pixels(data.draw(k).image)
    pixels.flush()
    os.replace(fresh, file)
    return file


class KeptDraws:
    """``draw(k)`` of the data set that ``keep_draws`` was given, bit for bit."""

    def __init__(self, file: Path) -> None:
        self.name = "folder"
        self._pixels = np.load(file, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._pixels)

    def draw(self, k: int) -> Sample:
        """The k-th training draw, image float32 (3, S, S)."""
        return Sample(to_tensor(np.array(self._pixels[k])))

    def __getitem__(self, index: int) -> Sample:
        return self.draw(index)

    def digest(self) -> str:
        """A fingerprint of all crops, the same for runs that saw the same pictures."""
        return hashlib.sha256(self._pixels.tobytes()).hexdigest()[:16]
