"""The agreement of a picture with a semantic map: pixel accuracy and mean IoU.

If a picture's true map is known (`scenes` draws both), the two maps are compared directly with
``LayoutAgreement``. The map of a generated picture is unknown: a segmenter that the project
trains on the same data set reads it (``agreement``), and its own score on real held-out pictures,
which its bundle states, is an upper bound.

    judge = load_judge("runs/scenes-segmenter", Segmenter)       # core.judges
    figures = agreement(judge, images, maps)   # (B, 3, H, W) in [-1, 1], int64 (B, h, w)
    figures["mean_iou"], figures["pixel_accuracy"], figures["iou"]["sky"]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.segmentation import UNLABELED, on_grid
from ..judges.segmenter import Segmenter


class LayoutAgreement:
    """A confusion matrix, gathered batch by batch: int64 (C, C), rows true, columns predicted.

    ``names``: the C class names. Pixels that the true map leaves unlabeled (255) do not count.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.confusion = torch.zeros(len(self.names), len(self.names), dtype=torch.int64)

    def update(self, predicted: Tensor, maps: Tensor) -> None:
        """Add predicted class ids and true ``maps``, int64 (..., H, W) of one shape.

        Raises ValueError if the shapes differ or an id is not a class (255 is allowed in maps).
        """
        if predicted.shape != maps.shape:
            raise ValueError(
                f"predicted and true maps must have one shape, got {tuple(predicted.shape)} and "
                f"{tuple(maps.shape)}"
            )
        many = len(self.names)
        known = maps != UNLABELED
        truth, guess = maps[known].long().cpu(), predicted[known.to(predicted.device)].long().cpu()
        for ids, what in ((truth, "true"), (guess, "predicted")):
            if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < many:
                raise ValueError(f"a {what} map holds ids outside 0..{many - 1}")
        counts = torch.bincount(truth * many + guess, minlength=many * many)
        self.confusion += counts.view(many, many)

    def figures(self) -> dict[str, Any]:
        """Return the figures of all pixels and of each class.

        ``pixel_accuracy``; ``mean_iou``; ``classes_counted``; ``pixels``; ``iou`` by class name.
        The IoU of a class: pixels of it in both maps over pixels of it in either map. The mean is
        over the classes that occur in the true maps; one that is only predicted counts against
        those whose pixels it takes. Classes that do not occur have IoU None. Raises ValueError if
        no labeled pixel was given.
        """
        total = int(self.confusion.sum())
        if not total:
            raise ValueError("no labeled pixel was given")
        hits = self.confusion.diagonal().double()
        true, guessed = self.confusion.sum(1).double(), self.confusion.sum(0).double()
        iou = hits / (true + guessed - hits).clamp_min(1)
        present = true > 0
        return {
            "pixel_accuracy": float(hits.sum() / total),
            "mean_iou": float(iou[present].mean()),
            "classes_counted": int(present.sum()),
            "pixels": total,
            "iou": {
                name: float(value) if occurs else None
                for name, value, occurs in zip(self.names, iou, present, strict=True)
            },
        }


@torch.no_grad()
def agreement(
    segmenter: Segmenter, images: Tensor, maps: Tensor, batch: int = 64
) -> dict[str, Any]:
    """Return the figures of ``LayoutAgreement`` of maps with pictures, as ``segmenter`` reads them.

    images: (B, 3, H, W) in [-1, 1]; first resized to the segmenter's size (short side). maps: int64
    (B, h, w), 255 = unlabeled, with the pictures' proportions: a map with more pixels than that is
    reduced to it (nearest); one with fewer, such as a token grid, is compared with the most
    frequent class in each of its cells. Raises ValueError for maps of other proportions.
    """
    if len(images) != len(maps):
        raise ValueError(f"as many maps as images are needed, got {len(maps)} and {len(images)}")
    gathered = LayoutAgreement(segmenter.config.classes)
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        gathered.update(*agreement_of(segmenter, images[part], maps[part]))
    return gathered.figures()


def agreement_of(segmenter: Segmenter, images: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the map that ``segmenter`` reads in pictures, and ``maps``, on one grid.

    They are the arguments of ``LayoutAgreement.update`` (see ``agreement``).
    """
    read = segmenter.segment(at_size(images, segmenter.config.size))
    return _on_one_grid(read.cpu(), maps.cpu())


def at_size(images: Tensor, size: int) -> Tensor:
    """Return images (B, 3, H, W) with a short side of ``size`` pixels (bilinear, antialiased)."""
    height, width = images.shape[-2:]
    short = min(height, width)
    if short == size:
        return images
    shape = (round(height * size / short), round(width * size / short))
    return F.interpolate(images.float(), shape, mode="bilinear", antialias=True)


def _on_one_grid(read: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    if read.shape == maps.shape:
        return read, maps
    (height, width), (rows, columns) = read.shape[1:], maps.shape[1:]
    if abs(height * columns - width * rows) > max(height, width, rows, columns):
        raise ValueError(
            f"maps of {columns}x{rows} do not have the proportions of pictures of {width}x{height}"
        )
    step = height // rows
    if step > 1 and (height, width) == (rows * step, columns * step):
        return torch.stack([on_grid(ids, step) for ids in read]), maps
    resized = F.interpolate(maps[:, None].float(), (height, width), mode="nearest-exact")
    return read, resized[:, 0].long()
