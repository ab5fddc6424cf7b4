"""Figures of a tokenizer on the whole held-out set, while it is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from regvq.data import Dataset, center
from regvq.distributed import sum_over_processes
from regvq.errors import DataError, PictureError
from regvq.metrics.codebook_usage import usage_of_levels
from regvq.metrics.reconstruction import evaluate_tokenizer, no_counts
from regvq.networks.features import Features
from regvq.tokenizer import Tokenizer

from ..cli.common import evenly_spaced, worker_start_method
from ..config.tokenizer import RunConfig
from .draws import LoaderError, start_loader, started

TOGETHER = 32  # pictures
NONE_HELD_OUT = 1000  # pictures
KEPT = 1 << 29  # bytes of pictures that a process keeps between two validations


class HeldOut:
    """The center squares of a share of the held-out pictures, read once if they are few enough.

    ``workers``: processes that read them.
    """

    def __init__(
        self, pictures: Dataset, side: int, indices: Sequence[int], workers: int = 0
    ) -> None:
        self.pictures, self.side, self.indices = pictures, side, indices
        self.workers = workers
        self._kept: list[Tensor] | None = None
        self._channels = getattr(pictures, "channels", 3)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the squares (C, side, side); broken pictures are left out."""
        size = self.side**2 * (3 if self._channels == 3 else 4 * self._channels)
        kept, few = self._kept or [], len(self) * size <= KEPT
        for pixels in kept if self._kept is not None else self._read():
            if self._kept is None and few:
                kept.append(pixels)
            yield _as_image(pixels)
        self._kept = kept if few else None

    def _read(self) -> Iterator[Tensor]:
        loader = DataLoader(
            self,  # type: ignore[arg-type]  (it has __getitem__ and __len__)
            batch_size=TOGETHER,
            num_workers=self.workers,
            collate_fn=_stacked,
            multiprocessing_context=worker_start_method(self.workers),
            worker_init_fn=start_loader,
        )
        done = 0
        try:
            with started(loader) as batches:
                for batch in batches:
                    done += TOGETHER
                    yield from batch
        except LoaderError:  # the rest is read here: the run need not end for it
            for index in range(done, len(self)):
                yield from _stacked([self[index]])

    def __getitem__(self, index: int) -> Tensor | None:
        """Return a picture (C, side, side): uint8 if it has three channels, else float32 in
        [-1, 1], which keeps what 16 bits hold. None if it is broken."""
        try:
            image = center(self.pictures[self.indices[index]], self.side).image
        except (PictureError, DataError):
            return None
        if len(image) != 3:
            return image
        return ((image + 1) * 127.5).round().to(torch.uint8)


def _stacked(pixels: list[Tensor | None]) -> Tensor:
    whole = [each for each in pixels if each is not None]
    return torch.stack(whole) if whole else torch.empty(0, 3, 1, 1, dtype=torch.uint8)


def share_of_held_out(config: RunConfig, pictures: Dataset, rank: int, processes: int) -> list[int]:
    """Return the indices of the pictures that a process measures.

    All processes together measure the whole held-out set or, of a data set that holds none out,
    ``NONE_HELD_OUT`` of the pictures trained on, spread evenly.
    """
    held_out = config.data.held_out
    return evenly_spaced(len(pictures), None if held_out else NONE_HELD_OUT)[rank::processes]


def _as_image(pixels: Tensor) -> Tensor:
    """Return the same image whether it was kept or just read."""
    if pixels.is_floating_point():
        return pixels
    return pixels.float() / 127.5 - 1


def validate_tokenizer(
    tokenizer: Tokenizer, pictures: HeldOut, features: Features | None, device: torch.device
) -> dict[str, float]:
    """Return ``psnr``, ``distance`` (with features), ``utilization`` and ``perplexity``.

    They are those of the pictures of all processes together. A collective.
    """
    counts = no_counts(tokenizer)
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
    # One sum of both; float32 would not hold the counts of a large set. Apple's GPUs lack float64,
    # but they are never several.
    joined = torch.cat([sums, counts.double().flatten()])
    whole = sum_over_processes(joined if device.type == "mps" else joined.to(device)).cpu()
    images, usage = float(whole[0]), usage_of_levels(whole[3:].view_as(counts).long())
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
    return count if config.data.held_out else "none held out"
