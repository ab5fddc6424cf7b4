"""Batches of pictures of different sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def in_batches(pictures: Iterable[Tensor], batch: int) -> Iterator[Tensor]:
    """Yield images (C, H, W) as batches (B, C, H, W), in order, B <= ``batch``.

    All pictures of a batch have one size: another size starts a new batch. Pictures are read one by
    one as they are needed, so that only one batch is in memory. Raises ValueError if ``batch`` is
    below 1.
    """
    if batch < 1:
        raise ValueError(f"a batch must hold 1 picture or more, got {batch}")
    waiting: list[Tensor] = []
    for picture in pictures:
        if waiting and (len(waiting) == batch or picture.shape != waiting[0].shape):
            yield torch.stack(waiting)
            waiting = []
        waiting.append(picture)
    if waiting:
        yield torch.stack(waiting)
