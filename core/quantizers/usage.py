"""Use of codes, counted over a window of training steps."""

from __future__ import annotations

import torch
from torch import Tensor

from ..distributed import sum_over_processes
from ..host_values import count_values


class UsageWindow:
    """Counts of code ids over the last ``length`` steps.

    The perplexity of one batch depends on the size of the batch. Therefore figures are given over a
    window, which is stated beside them.
    """

    def __init__(self, size: int, length: int = 100, levels: int = 1) -> None:
        """Count ``size`` codes; with several ``levels``, those of each level by itself."""
        self.size, self.length, self.levels = size, length, levels
        self._steps: list[Tensor] = []

    def add(self, ids: Tensor) -> None:
        """Count the ids of one step, int64 of any shape; with several levels (B, L, ...)."""
        self._steps.append(count_ids(ids, self.size, self.levels).int())
        del self._steps[: -self.length]

    def counts(self) -> Tensor:
        """Return the uses of each code in the window, int64 (K,) or, with several levels, (L, K),
        summed over processes.

        A collective: all processes must call it. Raises ValueError if no step was counted.
        """
        if not self._steps:
            raise ValueError("no step was counted yet")
        return sum_over_processes(torch.stack(self._steps).sum(0))

    def per_step(self) -> Tensor:
        """Return the uses of each code in each step of the window, int32 (steps, K) or (steps, L,
        K), summed over processes. A collective: all processes must call it."""
        if not self._steps:
            shape = (self.size,) if self.levels == 1 else (self.levels, self.size)
            return torch.zeros(0, *shape, dtype=torch.int32)
        return sum_over_processes(torch.stack(self._steps)).int()

    def restore(self, counts: Tensor, share: int = 1) -> None:
        """Make ``counts``, as from ``per_step``, the window.

        ``share``: 0 for all processes but one, so that their sum remains that of the window.
        """
        self._steps = list((counts * share).int())[-self.length :]

    @property
    def steps(self) -> int:
        """The number of steps in the window."""
        return len(self._steps)


def count_ids(ids: Tensor, size: int, levels: int = 1) -> Tensor:
    """Return the uses int64 (K,) of each of ``size`` codes in ids of any shape.

    With several levels, ids are (B, L, ...) and the uses (L, K). An id of -1, which padded places
    and dropped levels have, does not count.
    """
    if levels == 1:
        return count_values(ids, size)
    return torch.stack([count_values(row, size) for row in ids.unbind(1)])
