"""The operators of compiled graphs, called without a graph: values, gradients and shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from core.quantizers.tiled import dense, lookup, operators, soft

ROWS, CODES, DIM, WIDTH, GROUPS = 7, 11, 3, 5, 2
SEED = 12345


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape).requires_grad_()


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Return rows (7, 3), weight (11, 3) and bias (11,)."""
    torch.manual_seed(3)
    return drawn(ROWS, DIM), drawn(CODES, DIM), drawn(CODES)


def groups() -> Tensor:
    return torch.tensor([0, 1, 1, 0, 1, 0, 0])


def arguments() -> dict[str, tuple[Any, ...]]:
    seed = torch.tensor(SEED)
    plain = tuple(x.detach() for x in inputs())
    soft_ones = (*inputs(), torch.randn(CODES, WIDTH))
    constant = tuple(x.detach() for x in soft_ones)
    mean, total = torch.randn(ROWS, WIDTH), torch.randn(GROUPS, CODES)
    ids = torch.randint(CODES, (ROWS,))
    return {
        "best_code": plain,
        "draw_codes": (*plain, seed),
        "straight_through": (*soft_ones, 0.7, seed, groups(), GROUPS),
        "straight_through_gradients": (*constant, 0.7, seed, groups(), GROUPS, mean, total),
        "soft_statistics": inputs(),
        "soft_statistics_gradients": (*plain, torch.randn(ROWS), torch.randn(1, CODES)),
        "non_stationary_loss": (drawn(CODES, DIM), torch.randn(ROWS, DIM), ids, 0.3),
    }


@pytest.mark.parametrize("name", arguments())
def test_torch_finds_nothing_wrong_with_an_operator(name: str) -> None:
    """Its schema, its gradient's registration, and the shapes and types that a graph is told."""
    operator = getattr(torch.ops.regvq, name).default
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(operator, arguments()[name], test_utils=tests)


def test_search_and_draws_are_those_outside_a_graph() -> None:
    rows, weight, bias = (x.detach() for x in inputs())
    ids = torch.ops.regvq.best_code(rows, weight, bias)
    assert torch.equal(ids, lookup.best_code(rows, weight, bias))
    drawn_ids = torch.ops.regvq.draw_codes(rows, weight, bias, torch.tensor(SEED))
    assert torch.equal(drawn_ids, lookup.draw_codes(rows, weight, bias, SEED))
    # The function of a graph is reached by a seed that is a tensor.
    assert torch.equal(drawn_ids, lookup.draw_codes(rows, weight, bias, torch.tensor(SEED)))


def gradients_of(outs: tuple[Tensor, ...], leaves: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the gradients of a random weighting of the outputs."""
    torch.manual_seed(4)
    loss = sum((out * torch.randn_like(out)).sum() for out in outs)
    return list(torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("used", [(0, 1), (0,), (1,)], ids=["both", "expectation", "sums"])
@pytest.mark.parametrize("seed", [None, SEED], ids=["no noise", "noise"])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_straight_through_gradient_is_that_outside_a_graph(
    used: tuple[int, ...], seed: int | None, grouped: bool
) -> None:
    settings: dict[str, Any] = {"temperature": 0.7}
    if grouped:
        settings |= {"groups": groups(), "group_count": GROUPS}
    found = []
    for graph in (False, True):
        leaves = inputs()
        codes = torch.randn(CODES, WIDTH)
        if graph:
            operator = torch.ops.regvq.straight_through
            given = None if seed is None else torch.tensor(seed)
            outs = operator(
                *leaves, codes, 0.7, given, settings.get("groups"), settings.get("group_count", 1)
            )
        else:
            outs = soft.straight_through(*leaves, codes, seed=seed, **settings)
        assert outs[0].shape == (ROWS, WIDTH) and outs[1].shape == (GROUPS if grouped else 1, CODES)
        assert not outs[0].any() and not outs[1].any()
        found.append(gradients_of(tuple(outs[place] for place in used), leaves))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)
        assert ours.abs().sum() > 0


@pytest.mark.parametrize("used", [(0, 1), (0,), (1,)], ids=["both", "entropy", "sums"])
def test_soft_statistics_have_the_values_and_gradients_of_a_plain_softmax(
    used: tuple[int, ...],
) -> None:
    leaves = inputs()
    outs = torch.ops.regvq.soft_statistics(*leaves)
    plain_leaves = inputs()
    rows, weight, bias = plain_leaves
    p = torch.addmm(bias, rows, weight.t()).softmax(1)
    plain = (-(p * p.log()).sum(1), p.sum(0, keepdim=True))
    for place in (0, 1):
        torch.testing.assert_close(outs[place], plain[place])
    ours = gradients_of(tuple(outs[place] for place in used), leaves)
    theirs = gradients_of(tuple(plain[place] for place in used), plain_leaves)
    for one, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-6)


def test_gradients_that_nobody_asked_for_are_zeros() -> None:
    rows, weight, bias = (x.detach() for x in inputs())
    for gradient, like in zip(
        torch.ops.regvq.soft_statistics_gradients(rows, weight, bias, None, None),
        (rows, weight, bias),
        strict=True,
    ):
        assert gradient.shape == like.shape and not gradient.any()


def test_the_dense_loss_is_that_outside_a_graph() -> None:
    codes, rows, ids, tau = arguments()["non_stationary_loss"]
    loss, _ = torch.ops.regvq.non_stationary_loss(codes, rows, ids, tau)
    expected = dense.non_stationary_loss(codes, rows, ids, tau)
    torch.testing.assert_close(loss, expected)
    (ours,) = torch.autograd.grad(3 * loss, codes)
    (theirs,) = torch.autograd.grad(3 * expected, codes)
    torch.testing.assert_close(ours, theirs)


def test_the_module_is_what_registers_the_operators() -> None:
    assert operators.non_stationary._qualname == "regvq::non_stationary_loss"
