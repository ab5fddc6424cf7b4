"""The change of a codebook over training, from the history that an atlas holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class CodebookHistory:
    """The codes of a run at S saves."""

    steps: np.ndarray
    """int64 (S,)"""
    counts: np.ndarray
    """uint32 (S, K): uses on the held-out pictures of each save."""
    moved: np.ndarray
    """float32 (S, K): the distance that each code moved since the previous save, in units of the
    root mean square length of the codes."""

    @cached_property
    def used(self) -> np.ndarray:
        """The number of codes in use, int64 (S,)."""
        return (self.counts > 0).sum(axis=1)

    @cached_property
    def perplexity(self) -> np.ndarray:
        """The perplexity of the uses, float64 (S,)."""
        from ..metrics.codebook_usage import usage_of

        return np.array([usage_of(row.astype(np.int64)).perplexity for row in self.counts])

    @cached_property
    def median(self) -> np.ndarray:
        """The median of the distances, float32 (S,)."""
        return np.median(self.moved, axis=1)

    @cached_property
    def far(self) -> np.ndarray:
        """The 90th percentile of the distances, float32 (S,)."""
        return np.quantile(self.moved, 0.9, axis=1).astype(np.float32)


def history_of(atlas: Mapping[str, np.ndarray]) -> CodebookHistory | None:
    """Return the history in an atlas; None without one, and for that of another codebook."""
    parts = [atlas.get(f"history_{name}") for name in ("steps", "counts", "moved")]
    steps, counts, moved = parts
    if steps is None or counts is None or moved is None:
        return None
    if not len(steps) or counts.ndim != 2 or counts.shape != moved.shape:
        return None
    if counts.shape != (len(steps), len(atlas.get("counts", ()))):
        return None
    return CodebookHistory(steps, counts, moved.astype(np.float32))
