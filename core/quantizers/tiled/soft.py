"""Soft statistics over all codes without the positions x codes matrix, forward or backward.

All of them are functions of p(k | z) = softmax_k(z.w_k + b_k), taken some rows at a time against
all codes. A backward pass computes each tile again. For every statistic here the gradient on a
row's logits has one form, so that one loop serves them all: with A the loss's gradient on p,

    dL/dlogits = p * (A - <p, A>) + g p,

where A_k = -h log p_k + G.c_k + t_k collects the gradients h on the row's entropy, G on its
expectation of codes c, and t on the summed p, and g is the gradient on its log-sum-exp.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .lookup import logits_of, row_tiles, tile_noise


@dataclass(frozen=True)
class _Softmax:
    """p = softmax((rows @ weight + bias + noise) / temperature), and the groups it is summed in."""

    temperature: float = 1.0
    seed: int | None = None  # of the Gumbel noise; None: no noise
    groups: Tensor | None = None  # int64 (N,); None: all rows are one group
    group_count: int = 1

    def logits(self, part: slice, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Logits (n, K) of a tile of rows, temperature and noise included."""
        logits = logits_of(rows[part], weight, bias)
        if self.seed is not None:
            logits.add_(tile_noise(logits, self.seed, part.start))
        return logits if self.temperature == 1 else logits.div_(self.temperature)


class _Statistics(torch.autograd.Function):
    """Entropy in nats (N,) and summed p (1, K)."""

    @staticmethod
    def forward(ctx, rows, weight, bias):
        ctx.softmax = _Softmax()
        ctx.save_for_backward(rows, weight, bias)
        ctx.set_materialize_grads(False)
        entropy, total = rows.new_empty(len(rows)), rows.new_zeros(1, len(weight))
        for part in row_tiles(len(rows), len(weight), rows.is_cuda):
            logits = logits_of(rows[part], weight, bias)
            log_p = torch.log_softmax(logits, 1)
            p = torch.exp(log_p, out=logits)
            entropy[part] = -_row_dots(p, log_p)
            total += p.sum(0)
        return entropy, total

    @staticmethod
    def backward(ctx, on_entropy, on_total):
        return _gradients(ctx, on_entropy=on_entropy, on_total=on_total)


class _LogSumExp(torch.autograd.Function):
    """log sum_k exp(logits) (N,)."""

    @staticmethod
    def forward(ctx, rows, weight, bias):
        ctx.softmax = _Softmax()
        ctx.save_for_backward(rows, weight, bias)
        return torch.cat(
            [
                logits_of(rows[part], weight, bias).logsumexp(1)
                for part in row_tiles(len(rows), len(weight), rows.is_cuda)
            ]
        )

    @staticmethod
    def backward(ctx, on_largest):
        return _gradients(ctx, on_largest=on_largest)


class _Through(torch.autograd.Function):
    """Zeros (N, d) and (G, K) with the gradients of p @ codes and of the summed p."""

    @staticmethod
    def forward(ctx, rows, weight, bias, codes, softmax):
        ctx.softmax, ctx.codes = softmax, codes
        ctx.save_for_backward(rows, weight, bias)
        ctx.set_materialize_grads(False)
        return (
            rows.new_zeros(len(rows), codes.shape[1]),
            rows.new_zeros(softmax.group_count, len(weight)),
        )

    @staticmethod
    def backward(ctx, on_mean, on_total):
        return *_gradients(ctx, on_mean=on_mean, on_total=on_total, codes=ctx.codes), None, None


def _gradients(
    ctx,
    *,
    on_largest: Tensor | None = None,
    on_entropy: Tensor | None = None,
    on_mean: Tensor | None = None,
    on_total: Tensor | None = None,
    codes: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients on rows (N, D), weight (K, D) and bias (K,), each None if nobody asks for it."""
    softmax, (rows, weight, bias) = ctx.softmax, ctx.saved_tensors
    asked = ctx.needs_input_grad[:3]
    to_rows, to_weight, to_bias = (
        torch.zeros_like(x) if needed else None
        for x, needed in zip((rows, weight, bias), asked, strict=True)
    )
    given = (on_largest, on_entropy, on_mean, on_total)
    if not any(asked) or all(gradient is None for gradient in given):
        return None, None, None
    share = 1 / softmax.temperature
    space = None
    for part in row_tiles(len(rows), len(weight), rows.is_cuda):
        logits = softmax.logits(part, rows, weight, bias)
        space = torch.empty_like(logits) if space is None else space
        pull = space[: len(logits)]  # A
        if on_total is None:
            pull.zero_()
        elif softmax.groups is None:
            pull.copy_(on_total.expand_as(pull))
        else:
            torch.index_select(on_total, 0, softmax.groups[part], out=pull)
        if on_mean is not None:
            pull.addmm_(on_mean[part], codes.t())
        if on_entropy is None:
            p = logits.softmax(1)
        else:
            log_p = logits.log_softmax(1)
            pull.addcmul_(log_p, on_entropy[part, None], value=-1)
            p = log_p.exp_()
        pull.sub_(_row_dots(p, pull).unsqueeze(1))
        if on_largest is not None:
            pull.add_(on_largest[part, None])
        pull.mul_(p)  # now the gradient on the softmax's argument
        if to_rows is not None:
            to_rows[part] = torch.mm(pull, weight).mul_(share)
        if to_weight is not None:
            to_weight.addmm_(pull.t(), rows[part], alpha=share)
        if to_bias is not None:
            to_bias.add_(pull.sum(0), alpha=share)
    return to_rows, to_weight, to_bias


def _row_dots(a: Tensor, b: Tensor) -> Tensor:
    """Inner products (n,) of the rows of a and b, both (n, K), without their product matrix."""
    return torch.bmm(a.unsqueeze(1), b.unsqueeze(2)).view(-1)


def log_sum_exp(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """log sum_k exp(rows @ weight[k] + bias[k]), (N,), differentiable in all three."""
    return _LogSumExp.apply(rows, weight, bias)


def mean_assignment(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean over rows of softmax(rows @ weight + bias), (K,), differentiable in all three."""
    return soft_statistics(rows, weight, bias)[1]


def soft_statistics(rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy of each row's softmax in nats, (N,), and the mean assignment, (K,)."""
    entropy, total = _Statistics.apply(rows, weight, bias)
    return entropy, total[0] / len(rows)


def soft_through(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    codes: Tensor,
    *,
    temperature: float = 1.0,
    seed: int | None = None,
    groups: Tensor | None = None,
    group_count: int = 1,
) -> tuple[Tensor, Tensor]:
    """Gradients, without values, of the soft expectation and of the summed assignment.

    With s = softmax((rows @ weight + bias + noise) / temperature): zeros (N, d) that have the
    gradient of s @ ``codes`` (codes (K, d) fixed), and zeros (G, K) that have that of the sums of s
    over the rows of each group (``groups`` int64 (N,); None: one group). ``seed`` adds the Gumbel
    noise that ``draw_codes`` with the same rows and seed drew from. Straight-through estimators
    need the soft value's gradient and never the value, so the forward pass computes nothing.
    """
    softmax = _Softmax(temperature, seed, groups, group_count)
    return _Through.apply(rows, weight, bias, codes.detach(), softmax)
