"""The usage of a codebook: utilization, dead codes, perplexity.

All three depend on the number of tokens counted (a rare code is unused in a small sample), so
``CodebookUsage`` holds that number, and it must be stated with the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class CodebookUsage:
    """Usage over one window of tokens."""

    used: int
    """Codes that occurred at least once."""
    total: int
    """K, the size of the codebook."""
    utilization: float
    """used / total, in [0, 1]."""
    perplexity: float
    """exp of the entropy (nats) of the observed frequencies: the number of equally frequent codes
    that would be as varied; 1 to K, and 0 if nothing was counted."""
    dead: int
    """total - used."""
    tokens: int
    """Number of tokens counted: the window."""


def usage_of(counts: Tensor | np.ndarray) -> CodebookUsage:
    """Return the usage from ``counts`` (K,), the number of times each code occurred.

    Raises ValueError if it is not one row of counts, or if one is negative.
    """
    array = np.asarray(counts.cpu() if isinstance(counts, Tensor) else counts)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"counts must be one row with an entry per code, got {array.shape}")
    if array.min() < 0:
        raise ValueError("counts must not be negative")
    total, tokens = array.size, float(array.sum(dtype=np.float64))
    used = int(np.count_nonzero(array))
    perplexity = 0.0
    if tokens > 0:
        share = array[array > 0].astype(np.float64) / tokens
        perplexity = math.exp(-float((share * np.log(share)).sum()))
    return CodebookUsage(
        used=used,
        total=total,
        utilization=used / total,
        perplexity=perplexity,
        dead=total - used,
        tokens=round(tokens),
    )


def usage_of_levels(counts: Tensor | np.ndarray) -> CodebookUsage:
    """Return the usage of all levels together, from ``counts`` (L, K); (K,) is ``usage_of``.

    Used, total and dead codes and tokens are sums over the levels. The perplexity is the geometric
    mean of the levels' perplexities, exp of the mean entropy of an id; levels of which nothing was
    counted are left out.
    """
    if counts.ndim == 1:
        return usage_of(counts)
    rows = [usage_of(row) for row in counts]
    used, total = sum(row.used for row in rows), sum(row.total for row in rows)
    known = [math.log(row.perplexity) for row in rows if row.tokens]
    perplexity = math.exp(sum(known) / len(known)) if known else 0.0
    return CodebookUsage(
        used=used,
        total=total,
        utilization=used / total,
        perplexity=perplexity,
        dead=total - used,
        tokens=sum(row.tokens for row in rows),
    )


def level_figures(counts: Tensor | np.ndarray) -> list[dict[str, float]]:
    """Return ``codes_used``, ``utilization`` and ``perplexity`` of each level of counts (L, K)."""
    rows = [usage_of(row) for row in counts]
    return [
        {
            "codes_used": row.used,
            "utilization": row.utilization,
            "perplexity": row.perplexity,
        }
        for row in rows
    ]
