"""Counts of the uses of each code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..batching import in_batches
from ..quantizers.levels import one_codebook

if TYPE_CHECKING:
    from ..data.sample import Sample
    from ..tokenizer import Tokenizer


def count_codes(
    tokenizer: Tokenizer,
    pictures: Iterable[Tensor],
    progress: Callable[[int], None] | None = None,
    batch: int = 16,
) -> np.ndarray:
    """Return the number of times that each code occurs in ``pictures``, int64 (K,), by argmax.

    pictures: images (C, H, W) in [-1, 1] of any sizes, read one by one when needed.
    progress: called with the number of pictures counted so far.
    batch: at most this many consecutive pictures of one size are encoded together.

    Raises ValueError for a tokenizer with several levels, whose codes have the same numbers; a
    ``LevelView`` is one of them.
    """
    one_codebook(tokenizer.quantizer, "a count of codes")
    counts = np.zeros(tokenizer.codebook_size, dtype=np.int64)
    done = 0
    for images in in_batches(pictures, batch):
        ids = tokenizer.encode(images).flatten().cpu()
        counts += torch.bincount(ids, minlength=len(counts)).numpy()
        done += len(images)
        if progress is not None:
            progress(done)
    return counts


def count_classes(
    tokenizer: Tokenizer,
    samples: Iterable[Sample],
    classes: int,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Return the pixels of each class under the tokens of each code, int64 (K, ``classes``).

    samples: pictures with their segmentation; unlabeled pixels (255), and samples without a
    segmentation, are ignored. Raises ValueError as ``count_codes``.
    """
    one_codebook(tokenizer.quantizer, "a count of classes by code")
    f, size = tokenizer.downsampling, tokenizer.codebook_size
    counts = torch.zeros(size * classes, dtype=torch.int64)
    for done, sample in enumerate(samples, start=1):
        if sample.segmentation is not None:
            height, width = sample.segmentation.shape
            ids = tokenizer.encode(sample.image[None])[0].cpu()
            code = ids.repeat_interleave(f, 0).repeat_interleave(f, 1)[:height, :width]
            known = sample.segmentation < classes
            at = code[known] * classes + sample.segmentation[known]
            counts += torch.bincount(at, minlength=size * classes)
        if progress is not None:
            progress(done)
    return counts.view(size, classes).numpy()
