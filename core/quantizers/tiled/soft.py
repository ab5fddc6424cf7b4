"""Soft statistics over all codes without the positions x codes matrix, forward or backward.

All of them are functions of p(k | z) = softmax_k(z.w_k + b_k), computed for some rows at a time
against all codes. The backward pass computes each tile again; only up to ``KEPT`` rows x codes,
where memory is no matter, it finds what the forward pass computed. The gradient on a row's logits
has the same form for every statistic here, so that one loop serves all of them: with A the loss's
gradient on p,

    dL/dlogits = p * (A - <p, A>),

where A_k = -h log p_k + G.c_k + t_k collects the gradients h on the row's entropy, G on its
expectation of the codes c, and t on the summed p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .lookup import KEPT, logits_of, row_tiles, tile_noise

Kept = dict[int, tuple[Tensor, Tensor]]
"""p and log p of tiles, each (n, K), by the first row of the tile."""


@dataclass(frozen=True)
class Softmax:
    """p = softmax((rows @ weight + bias + noise) / temperature), and the groups it is summed in."""

    temperature: float = 1.0
    seed: int | None = None  # of the Gumbel noise; None: no noise
    groups: Tensor | None = None  # int64 (N,); None: all rows are one group
    group_count: int = 1

    def logits(self, part: slice, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the logits (n, K) of a tile of rows, with noise and temperature."""
        logits = logits_of(rows[part], weight, bias)
        if self.seed is not None:
            logits.add_(tile_noise(logits, self.seed, part.start))
        return logits if self.temperature == 1 else logits.div_(self.temperature)


class _Statistics(torch.autograd.Function):
    """Entropy in nats (N,) and summed p (1, K)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        ctx.softmax, ctx.kept = Softmax(), {}
        ctx.save_for_backward(rows, weight, bias)
        ctx.set_materialize_grads(False)
        small = len(rows) * len(weight) <= KEPT and any(ctx.needs_input_grad)
        return statistics(rows, weight, bias, ctx.kept if small else None)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        entropy_grad, total_grad = grad_outputs
        return gradients(
            ctx.softmax,
            *ctx.saved_tensors,
            needed=ctx.needs_input_grad[:3],
            entropy_grad=entropy_grad,
            total_grad=total_grad,
            kept=ctx.kept,
        )


def statistics(
    rows: Tensor, weight: Tensor, bias: Tensor, kept: Kept | None = None
) -> tuple[Tensor, Tensor]:
    """Return the entropy of each row's softmax in nats, (N,), and the summed softmax, (1, K).

    ``kept`` receives p and log p of each tile, for ``gradients``.
    """
    entropy, total = rows.new_empty(len(rows)), rows.new_zeros(1, len(weight))
    for part in row_tiles(len(rows), len(weight), rows.is_cuda):
        logits = logits_of(rows[part], weight, bias)
        log_p = torch.log_softmax(logits, 1)
        # Not exp(log_p): exp takes ten times as long where its result is not a normal number.
        p = torch.softmax(logits, 1, out=logits)
        entropy[part] = -_row_dots(p, log_p)
        total += p.sum(0)
        if kept is not None:
            kept[part.start] = p, log_p
    return entropy, total


class _StraightThrough(torch.autograd.Function):
    """Zeros (N, d) and (G, K) with the gradients of p @ codes and of the summed p."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, codes: Tensor, softmax: Softmax
    ) -> tuple[Tensor, Tensor]:
        ctx.softmax, ctx.codes = softmax, codes
        ctx.save_for_backward(rows, weight, bias)
        ctx.set_materialize_grads(False)
        return (
            rows.new_zeros(len(rows), codes.shape[1]),
            rows.new_zeros(softmax.group_count, len(weight)),
        )

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        mean_grad, total_grad = grad_outputs
        found = gradients(
            ctx.softmax,
            *ctx.saved_tensors,
            needed=ctx.needs_input_grad[:3],
            mean_grad=mean_grad,
            total_grad=total_grad,
            codes=ctx.codes,
        )
        return *found, None, None


def gradients(
    softmax: Softmax,
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    needed: Sequence[bool] = (True, True, True),
    entropy_grad: Tensor | None = None,
    mean_grad: Tensor | None = None,
    total_grad: Tensor | None = None,
    codes: Tensor | None = None,
    kept: Kept | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients on rows (N, D), weight (K, D) and bias (K,); None where not needed.

    ``kept``: what ``statistics`` left there; other tiles are computed again.
    """
    rows_grad, weight_grad, bias_grad = (
        torch.zeros_like(x) if need else None
        for x, need in zip((rows, weight, bias), needed, strict=True)
    )
    given = (entropy_grad, mean_grad, total_grad)
    if not any(needed) or all(gradient is None for gradient in given):
        return None, None, None
    share = 1 / softmax.temperature
    space = None
    for part in row_tiles(len(rows), len(weight), rows.is_cuda):
        p, log_p = (kept or {}).get(part.start, (None, None))
        if p is None or log_p is None:
            p = softmax.logits(part, rows, weight, bias)
            log_p = None if entropy_grad is None else p.log_softmax(1)
            torch.softmax(p, 1, out=p)
        space = torch.empty_like(p) if space is None else space
        a = space[: len(p)]  # A
        if total_grad is None:
            a.zero_()
        elif softmax.groups is None:
            a.copy_(total_grad.expand_as(a))
        else:
            torch.index_select(total_grad, 0, softmax.groups[part], out=a)
        if mean_grad is not None and codes is not None:
            a.addmm_(mean_grad[part], codes.t())
        if entropy_grad is not None and log_p is not None:
            a.addcmul_(log_p, entropy_grad[part, None], value=-1)
        del log_p  # the next line needs a tile of its own
        a.sub_(_row_dots(p, a).unsqueeze(1)).mul_(p)  # now the gradient on the logits
        if rows_grad is not None:
            rows_grad[part] = torch.mm(a, weight).mul_(share)
        if weight_grad is not None:
            weight_grad.addmm_(a.t(), rows[part], alpha=share)
        if bias_grad is not None:
            bias_grad.add_(a.sum(0), alpha=share)
    return rows_grad, weight_grad, bias_grad


def _row_dots(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products (n,) of the rows of a and b, both (n, K).

    On a CPU, a product and a sum take a fifth of the time of ``bmm``.
    """
    return (a * b).sum(1)


def soft_statistics(rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entropy of each row's softmax in nats, (N,), and the mean softmax, (K,).

    ``rows`` (N, D), ``weight`` (K, D), ``bias`` (K,); differentiable in all three.
    """
    if torch.compiler.is_compiling():
        entropy, total = torch.ops.regvq.soft_statistics(rows, weight, bias)
    else:
        entropy, total = _Statistics.apply(rows, weight, bias)
    return entropy, total[0] / len(rows)


def straight_through(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    codes: Tensor,
    *,
    temperature: float = 1.0,
    seed: int | Tensor | None = None,
    groups: Tensor | None = None,
    group_count: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return zeros with the gradients of the soft expectation and of the summed softmax.

    With s = softmax((rows @ weight + bias + noise) / temperature), the results are zeros (N, d)
    with the gradient of s @ ``codes`` (codes (K, d) constant), and zeros (G, K) with the gradient
    of the sums of s over the rows of each group. Straight-through estimators need the gradient of
    the soft value and never the value, so that the forward pass computes nothing.

    Args:
        seed: adds the Gumbel noise of ``draw_codes`` with the same rows and seed; a tensor in a
            graph of ``torch.compile``.
        groups: int64 (N,), the group of each row; None: one group.
        group_count: G.
    """
    if isinstance(seed, Tensor) or torch.compiler.is_compiling():
        return torch.ops.regvq.straight_through(
            rows, weight, bias, codes.detach(), temperature, seed, groups, group_count
        )
    softmax = Softmax(temperature, seed, groups, group_count)
    return _StraightThrough.apply(rows, weight, bias, codes.detach(), softmax)
