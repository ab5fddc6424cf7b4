"""The losses of a run's steps on the host: their values for the log, and the first bad one.

On a GPU, the host would wait at each step to look at a loss. There the losses of the steps are kept
where they are, and looked at together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class BadLoss(NamedTuple):
    """A loss that is not finite."""

    term: str
    step: int


class LossRecord:
    """The losses of the steps that have not been looked at yet."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, tuple[str, ...], Tensor]] = []

    def add(self, step: int, terms: Iterable[str], values: Tensor) -> None:
        """Record the losses of a step, ``values`` (T,) of T ``terms``."""
        self._steps.append((step, tuple(terms), values))

    def first_bad(self) -> BadLoss | None:
        """Return the first loss since the last look that is not finite; None if all are.

        It reads one value if all are finite.
        """
        steps, self._steps = self._steps, []
        if not steps or bool(torch.cat([values for _, _, values in steps]).isfinite().all()):
            return None
        for step, terms, values in steps:
            for term, finite in zip(terms, values.isfinite().tolist(), strict=True):
                if not finite:
                    return BadLoss(term, step)
        return None


def values_of(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the values of losses, each (), in one read."""
    if not losses:
        return {}
    values = torch.stack([loss.detach().float() for loss in losses.values()])
    return dict(zip(losses, values.tolist(), strict=True))
