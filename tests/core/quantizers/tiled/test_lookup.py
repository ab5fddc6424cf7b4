"""Tiled soft statistics against the dense formulas under autograd, in float64."""

from __future__ import annotations

import math

import pytest
import torch

from core.quantizers.gumbel import uniform_divergence
from core.quantizers.tiled import lookup, soft

COUNT, SIZE, DIM = 100, 23, 5


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(lookup, "SOFT_TILE", 32 * SIZE)  # four tiles, the last one short
    tiles = lookup.row_tiles(COUNT, SIZE)
    assert [tile.stop - tile.start for tile in tiles] == [32, 32, 32, 4]


def problem() -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = (COUNT, DIM), (SIZE, DIM), (SIZE,)
    return [
        torch.randn(shape, dtype=torch.float64, generator=draw).requires_grad_() for shape in shapes
    ]


def agree(lean, dense) -> None:
    """Compare values, and gradients for random directions."""
    for mine, theirs in zip(lean, dense, strict=True):
        torch.testing.assert_close(mine.detach(), theirs.detach(), rtol=1e-12, atol=1e-12)
    gradients_agree(lean, dense)


def gradients_agree(lean, dense) -> None:
    inputs = agree.inputs
    draw = torch.Generator().manual_seed(1)
    towards = [torch.randn(x.shape, dtype=torch.float64, generator=draw) for x in dense]
    mine, theirs = (
        torch.autograd.grad(
            sum((x * t).sum() for x, t in zip(outputs, towards, strict=True)), inputs
        )
        for outputs in (lean, dense)
    )
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_entropies_and_mean_assignment():
    agree.inputs = rows, weight, bias = problem()
    p = (rows @ weight.T + bias).softmax(1)
    agree(soft.soft_statistics(rows, weight, bias), [-(p * p.log()).sum(1), p.mean(0)])


def test_divergence_from_uniform():
    agree.inputs = rows, weight, bias = problem()
    p = (rows @ weight.T + bias).softmax(1)
    dense = (p * (SIZE * p).log()).sum(1).mean()
    agree([uniform_divergence(rows, weight, bias)], [dense])


@pytest.mark.parametrize("temperature", [0.6, 2.0])
@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("grouped", [False, True])
def test_straight_through_is_zero_with_the_soft_gradient(seed, grouped, temperature):
    agree.inputs = rows, weight, bias = problem()
    codes = torch.randn(SIZE, 3, dtype=torch.float64)
    groups = torch.arange(COUNT) // 25 if grouped else None
    count = 4 if grouped else 1
    settings = {"groups": groups, "group_count": count, "temperature": temperature}
    lean = soft.straight_through(rows, weight, bias, codes, seed=seed, **settings)
    assert not lean[0].any()
    assert not lean[1].any()
    logits = rows @ weight.T + bias
    if seed is not None:
        empty = logits.detach()
        tiles = lookup.row_tiles(COUNT, SIZE)
        noise = [lookup.tile_noise(empty[tile], seed, tile.start) for tile in tiles]
        drawn = lookup.draw_codes(rows, weight, bias, seed)
        logits = logits + torch.cat(noise)
        assert torch.equal(drawn, logits.argmax(1))
    p = (logits / temperature).softmax(1)
    gradients_agree(lean, [p @ codes, p.view(count, -1, SIZE).sum(1)])


def test_a_gradient_that_is_not_needed_is_not_computed():
    rows, weight, bias = problem()
    through, total = soft.straight_through(rows.detach(), weight, bias, weight)
    through.sum().backward(retain_graph=True)
    assert rows.grad is None
    assert weight.grad is not None
    assert total.requires_grad


def test_draws_follow_the_softmax():
    rows = torch.zeros(60_000, 1)
    bias = torch.tensor([0.5, -1.0, 2.0])
    ids = lookup.draw_codes(rows, torch.zeros(3, 1), bias, seed=3)
    share = torch.bincount(ids, minlength=3) / len(ids)
    torch.testing.assert_close(share, bias.softmax(0), atol=0.01, rtol=0)


def test_extreme_logits_stay_finite():
    rows, weight, bias = (x.detach().float() * 1e4 for x in problem())
    rows.requires_grad_()
    each, mean = soft.soft_statistics(rows, weight, bias)
    assert math.isfinite(float(mean.sum().detach()))
    (each.sum() + mean.square().sum()).backward()
    assert torch.isfinite(rows.grad).all()


def test_what_forward_kept_gives_the_gradients_that_are_computed_again(monkeypatch):
    def found(kept: int) -> list[torch.Tensor]:
        monkeypatch.setattr(lookup, "KEPT", kept)
        monkeypatch.setattr(soft, "KEPT", kept)
        rows, weight, bias = inputs = problem()
        each, mean = soft.soft_statistics(rows, weight, bias)
        seed = lookup.Seed(7)
        drawn = lookup.draw_codes(rows, weight, bias, seed)
        assert len(seed.kept) == (4 if kept else 0)
        through, _ = soft.straight_through(rows, weight, bias, weight, seed=seed)
        value = (each * each).sum() + mean.square().sum() + through[drawn > 5].sum()
        gradients = [
            *torch.autograd.grad(value, inputs, retain_graph=True),
            *torch.autograd.grad(value, inputs),  # of a second pass, for which nothing is kept
        ]
        assert not seed.kept or kept
        return [drawn, *gradients]

    computed = []
    normal = soft.logits_of
    monkeypatch.setattr(soft, "logits_of", lambda *some: computed.append(1) or normal(*some))
    kept = found(COUNT * SIZE)
    assert len(computed) == 4 + 2 * 4  # statistics once, the straight-through choice in each pass
    again = found(0)
    assert len(computed) == 12 + 4 + 4 * 4
    for mine, theirs in zip(kept, again, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_logarithm_of_the_noise_is_exact_from_end_to_end(dtype):
    ends = [2.0**-32, 2.0**-25, 2.0**-24, 1e-3, 0.5, 1 - 2.0**-24]
    draw = torch.Generator().manual_seed(0)
    v = torch.cat([torch.tensor(ends), torch.rand(10_000, generator=draw) * 0.999 + 5e-4]).to(dtype)
    whole = -torch.log1p(-v.double())
    found = lookup._minus_log1p(v)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), whole, rtol=2.5e-7, atol=0)
