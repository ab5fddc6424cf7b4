"""Figures of a tokenizer on the whole held-out set, while it is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from regvq.data import Dataset, center, has_held_out
from regvq.distributed import sum_over_processes
from regvq.errors import DataError, PictureError
from regvq.metrics.codebook_usage import usage_of
from regvq.metrics.reconstruction import evaluate_tokenizer
from regvq.networks.features import Features
from regvq.tokenizer import Tokenizer

from ..config.tokenizer import RunConfig

TOGETHER = 32  # pictures
KEPT = 1 << 29  # bytes of pictures that a process keeps between two validations


class HeldOut:
    """The center squares of a share of the held-out pictures, read once if they are few enough."""

    def __init__(self, pictures: Dataset, side: int, indices: Sequence[int]) -> None:
        self.pictures, self.side, self.indices = pictures, side, indices
        self._kept: list[Tensor] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the squares (3, side, side); broken pictures are left out."""
        if self._kept is not None:
            yield from map(_as_image, self._kept)
            return
        kept: list[Tensor] = []
        few = len(self) * 3 * self.side**2 <= KEPT
        for index in self.indices:
            try:
                image = center(self.pictures[index], self.side).image
            except (PictureError, DataError):
                continue
            pixels = ((image + 1) * 127.5).round().to(torch.uint8)
            if few:
                kept.append(pixels)
            yield _as_image(pixels)
        self._kept = kept if few else None


def _as_image(pixels: Tensor) -> Tensor:
    """Return the same image whether it was kept or just read."""
    return pixels.float() / 127.5 - 1


def validate_tokenizer(
    tokenizer: Tokenizer, pictures: HeldOut, features: Features | None, device: torch.device
) -> dict[str, float]:
    """Return ``psnr``, ``distance`` (with features), ``utilization`` and ``perplexity``.

    They are those of the pictures of all processes together. A collective.
    """
    counts = torch.zeros(tokenizer.codebook_size, dtype=torch.int64)
    sums = torch.zeros(3, dtype=torch.float64)  # pictures, PSNR, distance
    if len(pictures):
        try:
            found = evaluate_tokenizer(
                tokenizer,
                pictures,
                features=features,
                batch=TOGETHER,
                device=device,
                code_counts=counts,
            )
        except DataError:  # no picture of this share can be read
            found = {"images": 0}
        images, psnr = found["images"], found.get("psnr", 0.0)
        distance = 0.0 if features is None else found.get(f"{features.name}_distance", 0.0)
        values = (images, images * (psnr or 0.0), images * (distance or 0.0))
        sums = torch.tensor(values, dtype=torch.float64)
    # One sum of both; float32 would not hold the counts of a large set, and some GPUs lack float64.
    whole = sum_over_processes(torch.cat([sums, counts.double()]).to(device)).cpu()
    images, usage = float(whole[0]), usage_of(whole[3:].long())
    if not images:
        return {}
    figures = {"psnr": float(whole[1]) / images}
    if features is not None:
        figures["distance"] = float(whole[2]) / images
    figures |= {"utilization": usage.utilization, "perplexity": usage.perplexity}
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def held_out_words(config: RunConfig, pictures: Dataset) -> str:
    """Return the words on the held-out pictures of a run."""
    count = f"{len(pictures):,} held out"
    return count if has_held_out(config.data.name, config.data.root) else "none held out"
