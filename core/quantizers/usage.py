"""Use of codes, counted over a window of training steps."""

from __future__ import annotations

import torch
from torch import Tensor

from ..distributed import sum_over_processes


class UsageWindow:
    """Counts of code ids over the last ``length`` steps.

    The perplexity of one batch depends on the size of the batch. Therefore figures are given over a
    window, which is stated beside them.
    """

    def __init__(self, size: int, length: int = 100) -> None:
        self.size, self.length = size, length
        self._steps: list[Tensor] = []

    def add(self, ids: Tensor) -> None:
        """Count the ids of one step, int64 of any shape."""
        self._steps.append(torch.bincount(ids.flatten(), minlength=self.size).int())
        del self._steps[: -self.length]

    def counts(self) -> Tensor:
        """Return the uses of each code in the window, int64 (K,), summed over processes.

        A collective: all processes must call it. Raises ValueError if no step was counted.
        """
        if not self._steps:
            raise ValueError("no step was counted yet")
        return sum_over_processes(torch.stack(self._steps).sum(0))

    def per_step(self) -> Tensor:
        """Return the uses of each code in each step of the window, int32 (steps, K), summed over
        processes. A collective: all processes must call it."""
        if not self._steps:
            return torch.zeros(0, self.size, dtype=torch.int32)
        return sum_over_processes(torch.stack(self._steps)).int()

    def restore(self, counts: Tensor, share: int = 1) -> None:
        """Make ``counts`` (steps, K), as from ``per_step``, the window.

        ``share``: 0 for all processes but one, so that their sum remains that of the window.
        """
        self._steps = list((counts * share).int())[-self.length :]

    @property
    def steps(self) -> int:
        """The number of steps in the window."""
        return len(self._steps)
