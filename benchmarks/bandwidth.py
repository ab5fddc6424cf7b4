"""The memory bandwidth of a device, and the bound that it sets on sampling tokens."""

from __future__ import annotations

import time
from typing import Any

_BYTES = 2**28  # more than any processor's cache


def bandwidth(device: str, size: int = _BYTES) -> float:
    """Return the bytes per second that a copy of ``size`` bytes reads and writes, the fastest of a
    few."""
    import torch

    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(5):
        _wait(device)
        started = time.perf_counter()
        target.copy_(source)
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * size / min(seconds)


def floor(model: Any, rows: int, rate: float) -> float:
    """Return the tokens per second if a step for ``rows`` pictures only read every weight once.

    ``rate``: bytes per second. Embeddings are left out, because a step reads single rows of them.
    """
    import torch

    looked_up = {
        id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)
    }
    read = sum(
        parameter.numel() * parameter.element_size()
        for parameter in model.parameters()
        if id(parameter) not in looked_up
    )
    return rows * rate / read


def _wait(device: str) -> None:
    import torch

    if device != "cpu":
        torch.cuda.synchronize()
