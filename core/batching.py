"""Pictures of any sizes as batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def in_batches(pictures: Iterable[Tensor], batch: int) -> Iterator[Tensor]:
    """Images (3, H, W) as batches (B, 3, H, W), B <= ``batch``, of one size each, in order.

    Pictures are read one by one as they are needed, so only a batch is held in memory. Raises
    ValueError if ``batch`` is below 1.
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
