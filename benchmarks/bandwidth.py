"""How fast a device reads memory, and so how fast a network could draw tokens at best."""

from __future__ import annotations

import time
from typing import Any

_BYTES = 2**28  # more than any processor's cache


def bandwidth(device: str) -> float:
    """Bytes a second that a copy reads and writes, the fastest of a few."""
    import torch

    source = torch.ones(_BYTES // 4, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(5):
        _wait(device)
        begun = time.perf_counter()
        target.copy_(source)
        _wait(device)
        seconds.append(time.perf_counter() - begun)
    return 2 * _BYTES / min(seconds)


def floor(model: Any, rows: int, rate: float) -> float:
    """Tokens a second if a step for ``rows`` pictures took as long as reading every weight once, at
    ``rate`` bytes a second; embeddings, of which a step reads a row, are left out."""
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
