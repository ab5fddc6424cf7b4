"""Counting how often each code is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from core.batches import in_batches

if TYPE_CHECKING:
    from core.tokenizer import Tokenizer


def count_codes(
    tokenizer: Tokenizer,
    pictures: Iterable[Tensor],
    progress: Callable[[int], None] | None = None,
    batch: int = 16,
) -> np.ndarray:
    """How often each code occurs in ``pictures``, int64 (K,), by argmax.

    pictures: images (3, H, W) in [-1, 1] of any sizes, read one by one as they are needed.
    progress: called with the number of pictures counted so far.
    batch: at most so many consecutive pictures of one size are encoded together.
    """
    counts = np.zeros(tokenizer.codebook_size, dtype=np.int64)
    done = 0
    for images in in_batches(pictures, batch):
        ids = tokenizer.encode(images).flatten().cpu()
        counts += torch.bincount(ids, minlength=len(counts)).numpy()
        done += len(images)
        if progress is not None:
            progress(done)
    return counts
