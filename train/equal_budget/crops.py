"""Training crops of the study, drawn once: all runs of a seed train on exactly the same pixels."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from regvq.data import Dataset, Sample
from regvq.images import to_pixels, to_tensor


def keep_draws(data: Dataset, count: int, file: Path) -> Path:
    """Write draws 0 to ``count`` - 1 of ``data`` to ``file``, uint8 (count, S, S, 3), unless it
    exists."""
    if file.exists():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    side = data.draw(0).image.shape[-1]
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    pixels = np.lib.format.open_memmap(fresh, "w+", np.uint8, (count, side, side, 3))
    for k in range(count):
        pixels[k] = to_pixels(data.draw(k).image)
    pixels.flush()
    del pixels  # Windows cannot rename a file that is mapped
    os.replace(fresh, file)
    return file


class KeptDraws:
    """The draws that ``keep_draws`` wrote, bit for bit, as a data set."""

    def __init__(self, file: Path) -> None:
        self.name = "folder"
        self._pixels = np.load(file, mmap_mode="r")

    def __len__(self) -> int:
        return len(self._pixels)

    def draw(self, k: int) -> Sample:
        """Return the k-th training draw, image float32 (3, S, S)."""
        return Sample(to_tensor(np.array(self._pixels[k])))

    def __getitem__(self, index: int) -> Sample:
        return self.draw(index)

    def digest(self) -> str:
        """Return a fingerprint of all crops, which is the same for runs on the same pictures."""
        return hashlib.sha256(self._pixels.tobytes()).hexdigest()[:16]
