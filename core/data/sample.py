"""One item of a data set, and the interface of every data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..arrays import fitted_image
from .splits import SPLITS

__all__ = ["SPLITS", "Dataset", "Sample", "center"]


@dataclass(frozen=True, eq=False)  # no ==: comparing tensors has no single truth value
class Sample:
    """One picture with its caption, map and label.

    image: float32 (C, H, W) in [-1, 1]; C is 3 unless the data set states its `channels`.
    caption: a sentence, or "".
    segmentation: int64 (H, W) class ids, 255 = unlabeled; or None.
    label: class id, or -1.
    captions: all captions of this picture; `caption` is one of them.
    """

    image: Tensor
    caption: str = ""
    segmentation: Tensor | None = None
    label: int = -1
    captions: tuple[str, ...] = ()


def center(sample: Sample, size: int) -> Sample:
    """Return the central square, resized to (size, size): LANCZOS, the map NEAREST."""
    height, width = sample.image.shape[-2:]
    if (height, width) == (size, size):
        return sample
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    cut = sample.image[:, top : top + side, left : left + side]
    image = fitted_image(cut, size, size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    segmentation = sample.segmentation
    if segmentation is not None:
        ids = Image.fromarray(segmentation.numpy().astype(np.uint8)).crop(box)
        ids = ids.resize((size, size), Image.Resampling.NEAREST)
        segmentation = torch.from_numpy(np.asarray(ids).astype(np.int64))
    return replace(sample, image=image, segmentation=segmentation)


class Dataset(Protocol):
    """The interface of every data set.

    `dataset[i]` is the i-th item unchanged, for evaluation. `draw(k)` is the k-th training draw,
    augmented, (C, size, size): a pure function of (seed, k) for any k >= 0, so that a run resumes
    exactly; every len(dataset) draws are a permutation of the items.
    """

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def draw(self, k: int) -> Sample: ...
