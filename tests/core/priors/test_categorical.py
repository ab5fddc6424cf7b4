"""Draws of codes follow the requested distribution."""

from __future__ import annotations

import math

import pytest
import torch

from core.errors import CheckpointError
from core.priors.categorical import (
    classifier_free_guidance,
    inverse_cdf,
    sample_categorical,
    truncate,
)


def frequencies(logits: torch.Tensor, count: int, **how) -> torch.Tensor:
    """Return the shares of the codes among ``count`` draws from logits (K,)."""
    rows = logits.expand(count, -1)
    drawn = sample_categorical(rows, torch.Generator().manual_seed(0), **how)
    return torch.bincount(drawn, minlength=len(logits)).double() / count


def expected(logits: torch.Tensor, temperature=1.0, top_k=0, top_p=1.0) -> torch.Tensor:
    """Return the same shares by definition, in float64."""
    p = (logits.double() / temperature).softmax(0)
    order = p.argsort(descending=True)
    if top_k:
        p[order[top_k:]] = 0
        p /= p.sum()
    before = p[order].cumsum(0) - p[order]
    p[order[before >= top_p]] = 0
    return p / p.sum()


@pytest.mark.parametrize(
    "how",
    [{}, {"temperature": 0.5}, {"top_k": 5}, {"top_p": 0.7}, {"top_k": 9, "top_p": 0.8}],
)
@pytest.mark.parametrize("size", [12, 3000])  # 3000 codes are summed in two levels
def test_draws_follow_the_distribution(size, how):
    torch.manual_seed(3)
    logits = torch.full((size,), -30.0)
    logits[torch.randperm(size)[:12]] = 2 * torch.randn(12)
    p = expected(logits, **how)
    found = frequencies(logits, 20_000, **how)
    assert bool((found[p < 1e-9] == 0).all())
    error = (found - p).abs() / (p * (1 - p) / 20_000).sqrt().clamp(min=1e-4)
    assert float(error.max()) < 4.5


@pytest.mark.parametrize("size", [50, 1024, 1025, 5000])
def test_inverse_cdf_finds_the_share(size):
    weights = torch.rand(64, size) * (torch.rand(64, size) < 0.3)
    weights[:, -1] = 0
    at = torch.rand(64)
    at[:3] = torch.tensor([0.0, 1 - 2**-24, 0.5])
    index = inverse_cdf(weights, at)
    assert bool((weights.gather(1, index[:, None]) > 0).all())
    sums = torch.cat([torch.zeros(64, 1), weights.cumsum(1)], 1).double()
    share = sums / sums[:, -1:]
    assert bool((share.gather(1, index[:, None])[:, 0] <= at + 1e-5).all())
    assert bool((share.gather(1, index[:, None] + 1)[:, 0] >= at - 1e-5).all())


@pytest.mark.parametrize("scale", [0.01, 8.0])  # even: a full sort is needed; peaked: it is not
def test_nucleus_of_many_codes_equals_that_by_sorting(scale):
    logits = torch.randn(3, 4096) * scale
    weights, codes = truncate(logits, top_p=0.86)
    assert codes.shape == (3, 4096 if scale < 1 else 1024)
    found = torch.zeros(3, 4096, dtype=torch.float64).scatter_(1, codes, weights.double())
    found /= found.sum(1, keepdim=True)
    for row in range(3):
        want = expected(logits[row], top_p=0.86)
        assert int((found[row] > 0).sum()) == pytest.approx(int((want > 0).sum()), abs=2)
        torch.testing.assert_close(found[row], want, atol=2e-5, rtol=1e-3)


def test_the_most_likely_code_is_always_kept():
    logits = torch.randn(7, 30)
    for how in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}):
        assert torch.equal(sample_categorical(logits, **how), logits.argmax(1))


def test_draws_do_not_depend_on_the_tile_size(monkeypatch):
    logits = torch.randn(40, 100)
    first = sample_categorical(logits, torch.Generator().manual_seed(5))
    monkeypatch.setattr("core.priors.categorical._TILE", 700)
    assert torch.equal(sample_categorical(logits, torch.Generator().manual_seed(5)), first)
    assert not torch.equal(sample_categorical(logits, torch.Generator().manual_seed(6)), first)


def test_one_generator_per_row_gives_each_row_its_own_numbers():
    logits = torch.randn(3, 6, 40)
    both = sample_categorical(logits, [torch.Generator().manual_seed(seed) for seed in (1, 2, 1)])
    for row, seed in enumerate((1, 2, 1)):
        alone = sample_categorical(logits[row : row + 1], torch.Generator().manual_seed(seed))
        assert torch.equal(both[row : row + 1], alone)
    at = torch.rand(3, 6)
    assert torch.equal(
        sample_categorical(logits, at=at)[2], sample_categorical(logits[2], at=at[2])
    )


def test_guidance_is_the_formula():
    logits = torch.randn(6, 4, 5)
    conditional, null = logits.chunk(2)
    assert torch.equal(classifier_free_guidance(logits, 1.0), conditional)
    assert torch.equal(classifier_free_guidance(logits, 0.0), null)
    torch.testing.assert_close(
        classifier_free_guidance(logits, 3.0), null + 3 * (conditional - null)
    )


def test_only_wanted_cells_are_drawn():
    logits, wanted = torch.randn(4, 5, 30) - 5, torch.rand(4, 5) < 0.5
    logits[..., 0] = -40
    whole = sample_categorical(logits, torch.Generator().manual_seed(2))
    some = sample_categorical(logits, torch.Generator().manual_seed(2), wanted=wanted)
    assert torch.equal(some, whole.masked_fill(~wanted, 0))
    assert bool((whole > 0).all())


@pytest.mark.parametrize("codes", [6, 3000])
@pytest.mark.parametrize("temperature", [0.0, 1e-46, 1e-12, 1e-5])
def test_draws_at_temperature_zero_are_the_most_likely_codes(codes, temperature):
    logits = torch.randn(40, codes, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sample_categorical(logits, temperature=temperature), logits.argmax(1))
    assert torch.equal(
        sample_categorical(logits, temperature=temperature, top_p=0.5), logits.argmax(1)
    )


@pytest.mark.parametrize("size", [16, 3000])
@pytest.mark.parametrize(
    "how", [{}, {"top_k": 5}, {"top_k": 1}, {"top_p": 0.5}, {"temperature": 0.0}]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_of_a_diverged_prior_get_a_sentence(size, how, value):
    logits = torch.randn(4, size)
    logits[2, 7] = value
    with pytest.raises(CheckpointError, match=r"not finite .NaN or infinity.: its weights"):
        sample_categorical(logits, torch.Generator().manual_seed(0), **how)
    logits[2, 7] = -torch.inf  # a code that is never drawn
    sample_categorical(logits, torch.Generator().manual_seed(0), **how)


@pytest.mark.parametrize("size", [5, 1024, 1025, 1300])
@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0, 40.0])
def test_codes_without_weight_are_never_drawn(size: int, scale: float) -> None:
    """Shares up to the last float32 number below 1, and zeros at both ends of a row."""
    weights = scale * torch.rand(200, size, generator=torch.Generator().manual_seed(0))
    weights[:, : size // 5] = 0
    weights[:, -(size // 3) :] = 0
    for share in (0.0, 1 - 2.0**-24, 1 - 2.0**-23):
        found = inverse_cdf(weights, torch.full((200,), share))
        assert (weights.gather(1, found[:, None]) > 0).all()


def test_draws_from_all_codes_are_in_their_order() -> None:
    """Without truncation, a larger share never gives a lower code, whatever the logits are."""
    logits = torch.tensor([0.3, 2.0, -1.0, 1.0]).expand(400, 4)
    at = torch.linspace(0, 1 - 2.0**-20, 400)
    drawn = sample_categorical(logits, at=at)
    assert drawn.tolist() == sorted(drawn.tolist())
    edges = logits[0].softmax(0).cumsum(0)
    assert torch.equal(drawn, torch.searchsorted(edges, at, right=True).clamp(max=3))
    assert torch.equal(drawn, sample_categorical(logits, at=at, top_k=4, top_p=1.0))


def test_a_share_that_is_reached_exactly_needs_no_further_code() -> None:
    logits = torch.tensor([[0.25, 0.5, 0.125, 0.125]]).log2() * math.log(2)
    for top_p, kept in ((0.5, [1]), (0.75, [0, 1]), (0.875, [0, 1, 2]), (0.51, [0, 1])):
        weights, codes = truncate(logits.double().float(), top_p=top_p)
        found = codes[0][weights[0] > 0].tolist()
        assert sorted(found) == kept, top_p
    assert truncate(logits)[1] is None


def test_flat_rows_beside_peaked_ones_keep_all_their_codes() -> None:
    """Of 3,000 codes, the first 1,024 are enough for one row and not for the other."""
    logits = torch.zeros(2, 3000)
    logits[0, 7] = 30.0
    weights, codes = truncate(logits, top_p=0.9)
    kept = (weights > 0).sum(1).tolist()
    assert kept[0] == 1 and kept[1] == pytest.approx(2700, abs=2)
    assert codes[0, 0] == 7
