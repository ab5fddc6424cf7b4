"""Search, draws, losses and their gradients as operators that ``torch.compile`` does not look into.

They loop over tiles, whose number a graph would fix, and make generators from a seed, which a graph
cannot hold. In a graph, the seed is a tensor. Without ``torch.compile`` nothing here is used.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .dense import loss_and_slope
from .lookup import draw_codes, search
from .soft import Softmax, gradients, statistics

_MEAN, _TOTAL = "Tensor? mean_grad", "Tensor? total_grad"
_SOFT = "Tensor rows, Tensor weight, Tensor bias, Tensor codes"
_SETTINGS = "float temperature, Tensor? seed, Tensor? groups, int group_count"


@torch.library.custom_op(
    "regvq::best_code",
    mutates_args=(),
    schema="(Tensor rows, Tensor weight, Tensor bias) -> Tensor",
)
def best_code(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``lookup.best_code``."""
    return search(rows, weight, bias)


@best_code.register_fake
def _(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[0], dtype=torch.int64)


@torch.library.custom_op(
    "regvq::draw_codes",
    mutates_args=(),
    schema="(Tensor rows, Tensor weight, Tensor bias, Tensor seed) -> Tensor",
)
def drawn_codes(rows: Tensor, weight: Tensor, bias: Tensor, seed: Tensor) -> Tensor:
    """Return ``lookup.draw_codes`` with a seed that is a tensor, int64 ()."""
    return draw_codes(rows, weight, bias, int(seed))


@drawn_codes.register_fake
def _(rows: Tensor, weight: Tensor, bias: Tensor, seed: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[0], dtype=torch.int64)


@torch.library.custom_op(
    "regvq::straight_through",
    mutates_args=(),
    schema=f"({_SOFT}, {_SETTINGS}) -> (Tensor, Tensor)",
)
def straight_through_zeros(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    codes: Tensor,
    temperature: float,
    seed: Tensor | None,
    groups: Tensor | None,
    group_count: int,
) -> tuple[Tensor, Tensor]:
    """Return the zeros (N, d) and (G, K) of ``soft.straight_through``."""
    return rows.new_zeros(len(rows), codes.shape[1]), rows.new_zeros(group_count, len(weight))


@straight_through_zeros.register_fake
def _(
    rows: Tensor, weight: Tensor, bias: Tensor, codes: Tensor, temperature: float,
    seed: Tensor | None, groups: Tensor | None, group_count: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    zeros = rows.new_empty(rows.shape[0], codes.shape[1])
    return zeros, rows.new_empty(group_count, weight.shape[0])


@torch.library.custom_op(
    "regvq::straight_through_gradients",
    mutates_args=(),
    schema=f"({_SOFT}, {_SETTINGS}, {_MEAN}, {_TOTAL}) -> (Tensor, Tensor, Tensor)",
)
def straight_through_gradients(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    codes: Tensor,
    temperature: float,
    seed: Tensor | None,
    groups: Tensor | None,
    group_count: int,
    mean_grad: Tensor | None,
    total_grad: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients on rows (N, D), weight (K, D) and bias (K,)."""
    softmax = Softmax(temperature, None if seed is None else int(seed), groups, group_count)
    found = gradients(
        softmax, rows, weight, bias, mean_grad=mean_grad, total_grad=total_grad, codes=codes
    )
    return _whole(found, rows, weight, bias)


def _whole(found: Any, *like: Tensor) -> Any:
    """Return gradients with zeros in place of None, because an operator returns tensors."""
    return tuple(
        torch.zeros_like(x) if gradient is None else gradient
        for x, gradient in zip(like, found, strict=True)
    )


def _like_inputs(rows: Tensor, weight: Tensor, bias: Tensor, *rest: Any) -> Any:
    return torch.empty_like(rows), torch.empty_like(weight), torch.empty_like(bias)


straight_through_gradients.register_fake(_like_inputs)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    rows, weight, bias, codes, temperature, seed, groups, group_count = inputs
    ctx.save_for_backward(rows, weight, bias, codes, seed, groups)
    ctx.temperature, ctx.group_count = temperature, group_count


def _backward(ctx: Any, mean_grad: Tensor | None, total_grad: Tensor | None) -> Any:
    rows, weight, bias, codes, seed, groups = ctx.saved_tensors
    found = torch.ops.regvq.straight_through_gradients(
        rows, weight, bias, codes, ctx.temperature, seed, groups, ctx.group_count, mean_grad,
        total_grad,
    )  # fmt: skip
    return *found, None, None, None, None, None


straight_through_zeros.register_autograd(_backward, setup_context=_keep)


@torch.library.custom_op(
    "regvq::soft_statistics",
    mutates_args=(),
    schema="(Tensor rows, Tensor weight, Tensor bias) -> (Tensor, Tensor)",
)
def soft_statistics(rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``soft.statistics``."""
    return statistics(rows, weight, bias)


@soft_statistics.register_fake
def _(rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return rows.new_empty(rows.shape[0]), rows.new_empty(1, weight.shape[0])


@torch.library.custom_op(
    "regvq::soft_statistics_gradients",
    mutates_args=(),
    schema="(Tensor rows, Tensor weight, Tensor bias, Tensor? entropy_grad, Tensor? total_grad) -> "
    "(Tensor, Tensor, Tensor)",
)
def soft_statistics_gradients(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    entropy_grad: Tensor | None,
    total_grad: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients on rows (N, D), weight (K, D) and bias (K,)."""
    found = gradients(
        Softmax(), rows, weight, bias, entropy_grad=entropy_grad, total_grad=total_grad
    )
    return _whole(found, rows, weight, bias)


soft_statistics_gradients.register_fake(_like_inputs)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _statistics_backward(ctx: Any, entropy_grad: Tensor | None, total_grad: Tensor | None) -> Any:
    return torch.ops.regvq.soft_statistics_gradients(*ctx.saved_tensors, entropy_grad, total_grad)


soft_statistics.register_autograd(_statistics_backward, setup_context=_keep_inputs)


@torch.library.custom_op(
    "regvq::non_stationary_loss",
    mutates_args=(),
    schema="(Tensor codes, Tensor rows, Tensor ids, float tau) -> (Tensor, Tensor)",
)
def non_stationary(codes: Tensor, rows: Tensor, ids: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Return ``dense.loss_and_slope``."""
    return loss_and_slope(codes, rows, ids, tau)


@non_stationary.register_fake
def _(codes: Tensor, rows: Tensor, ids: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    return codes.new_empty(()), torch.empty_like(codes)


def _keep_slope(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])


def _dense_backward(ctx: Any, loss_grad: Tensor, slope_grad: Tensor | None) -> Any:
    (slope,) = ctx.saved_tensors
    return loss_grad * slope, None, None, None


non_stationary.register_autograd(_dense_backward, setup_context=_keep_slope)
