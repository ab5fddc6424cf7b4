"""Which codes are used: counts over a window of training steps."""

from __future__ import annotations

import torch
from torch import Tensor

from ..distributed import sum_over_processes


class UsageWindow:
    """Counts of code ids over the last ``length`` steps, pooled over processes when asked.

    Perplexity of one batch says little (it depends on the batch's size), so figures are always
    given over a window, and the window is stated beside them.
    """

    def __init__(self, size: int, length: int = 100) -> None:
        self.size, self.length = size, length
        self._steps: list[Tensor] = []

    def add(self, ids: Tensor) -> None:
        """Count one step's ids (any shape, int64)."""
        self._steps.append(torch.bincount(ids.flatten(), minlength=self.size).int())
        del self._steps[: -self.length]

    def counts(self) -> Tensor:
        """Uses of each code in the window, int64 (K,), summed over processes (a collective)."""
        if not self._steps:
            raise ValueError("no step was counted yet")
        return sum_over_processes(torch.stack(self._steps).sum(0))

    @property
    def steps(self) -> int:
        """Steps in the window now."""
        return len(self._steps)
