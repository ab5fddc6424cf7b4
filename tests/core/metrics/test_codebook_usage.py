"""Codebook usage compared with counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.metrics.codebook_usage import CodebookUsage, usage_of, usage_of_levels


def test_hand_counted_usage() -> None:
    usage = usage_of(np.array([2, 0, 1, 1, 0]))
    # entropy of (1/2, 1/4, 1/4) = 1.5 ln 2
    assert usage == CodebookUsage(
        used=3, total=5, utilization=0.6, perplexity=pytest.approx(2**1.5), dead=2, tokens=4
    )


def test_equal_use_has_perplexity_k_and_one_code_has_1() -> None:
    assert usage_of(torch.full((64,), 7)).perplexity == pytest.approx(64)
    assert usage_of(torch.tensor([0, 9, 0])).perplexity == pytest.approx(1)


def test_nothing_counted_uses_nothing() -> None:
    usage = usage_of(np.zeros(8, dtype=np.int64))
    assert (usage.used, usage.dead, usage.tokens) == (0, 8, 0)
    assert (usage.utilization, usage.perplexity) == (0.0, 0.0)


def test_many_tokens_do_not_overflow() -> None:
    usage = usage_of(torch.tensor([2**30, 2**30, 2**30, 2**30], dtype=torch.int32))
    assert usage.tokens == 2**32
    assert usage.perplexity == pytest.approx(4)


@pytest.mark.parametrize("counts", [np.array([[1, 2]]), np.array([]), np.array([1, -1])])
def test_invalid_counts_are_refused(counts: np.ndarray) -> None:
    with pytest.raises(ValueError, match="counts must"):
        usage_of(counts)


def test_many_tokens_are_counted_exactly() -> None:
    """float32 has no 2^24 + 1: sums are taken in float64."""
    counts = np.array([2**24, 1, 1, 1, 0], dtype=np.float32)
    usage = usage_of(counts)
    assert usage.tokens == 2**24 + 3 and usage.used == 4 and usage.dead == 1


def test_levels_are_summed_and_their_perplexities_averaged_as_entropies() -> None:
    counts = np.array([[1, 1, 1, 1], [5, 0, 0, 0], [0, 0, 0, 0], [2, 0, 0, 2]])
    assert usage_of_levels(counts) == CodebookUsage(
        used=7,
        total=16,
        utilization=7 / 16,
        perplexity=pytest.approx((4 * 1 * 2) ** (1 / 3)),  # of the three that were counted
        dead=9,
        tokens=13,
    )
    assert usage_of_levels(counts[0]) == usage_of(counts[0])
    assert usage_of_levels(0 * counts).perplexity == 0
