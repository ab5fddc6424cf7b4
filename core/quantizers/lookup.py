"""Search and soft statistics over all codes without the positions x codes matrix.

*Nearest code.* The textbook formula keeps about three float32 matrices of N x K alive and walks
over them four or five times. Here ``argmin |z - e|^2 = argmax z.e - |e|^2/2`` is computed tile by
tile into one small buffer with the bias folded into the matrix product, and only the running best
is kept.

*Soft statistics* of p(k | z) = softmax_k(z.w_k + b_k): some rows at a time against all codes. The
backward pass computes each tile again, so that neither pass ever holds more than a few tiles. The
formula of a tile is ordinary differentiable code, which is the dense formula when there is one
tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

ROWS, CODES = 512, 4096  # a float32 tile of 8 MB: near the size of a core's share of cache
SOFT_TILE = 2**21  # entries of a soft tile; its backward pass holds about five of them
DENSE_LIMIT = 2**24  # entries of N x K (64 MB in float32) up to which quantizers keep the matrix

TileFunction = Callable[..., tuple[Tensor | None, Tensor | None]]


@torch.no_grad()
def best_code(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """argmax over k of ``rows @ weight[k] + bias[k]``.

    ``rows`` float32 (N, D), ``weight`` float32 (K, D), ``bias`` float32 (K,). Returns int64 (N,);
    of equal scores the lowest k wins. Extra memory: one tile.
    """
    count, size = len(rows), len(weight)
    ids = torch.empty(count, dtype=torch.int64, device=rows.device)
    tile = rows.new_empty(min(ROWS, count) * min(CODES, size))
    columns = weight.t()
    for start in range(0, count, ROWS):
        part = rows[start : start + ROWS]
        best = None
        for first in range(0, size, CODES):
            some = columns[:, first : first + CODES]
            scores = tile[: len(part) * some.shape[1]].view(len(part), some.shape[1])
            torch.addmm(bias[first : first + CODES], part, some, out=scores)
            top, index = scores.max(dim=1)
            if best is None:
                best, winner = top, index
            else:
                better = top > best
                best = torch.where(better, top, best)
                winner = torch.where(better, index + first, winner)
        ids[start : start + ROWS] = winner
    return ids


def nearest_code(rows: Tensor, codebook: Tensor) -> Tensor:
    """Ids int64 (N,) of the codes (K, D) nearest to float32 ``rows`` (N, D), Euclidean, exact."""
    return best_code(rows, codebook, -0.5 * codebook.square().sum(1))


def row_tiles(count: int, size: int) -> Iterator[slice]:
    """Slices of ``count`` rows, each few enough for a tile against ``size`` codes.

    At least 32 rows: below that, adding up gradients of the codes would cost more than the tile.
    """
    step = max(32, SOFT_TILE // size)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def gumbel_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise with the shape of ``like``: -log of an exponential draw."""
    return torch.empty_like(like).exponential_(generator=generator).log_().neg_()


def tile_noise(like: Tensor, seed: int, start: int) -> Tensor:
    """Gumbel noise of the tile whose first row is ``start``: the same in every pass over it."""
    return gumbel_noise(like, torch.Generator(like.device).manual_seed(seed + start))


def draw_seed(generator: torch.Generator | None, device: torch.device) -> int:
    """A seed for ``tile_noise`` from the caller's generator."""
    return int(torch.randint(2**62, (), generator=generator, device=device))


def logits_of(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Logits (N, K) = rows (N, D) @ weight (K, D) + bias (K,), differentiable."""
    return torch.addmm(bias, rows, weight.t())


@torch.no_grad()
def draw_codes(rows: Tensor, weight: Tensor, bias: Tensor, seed: int) -> Tensor:
    """Ids int64 (N,) drawn from softmax(rows @ weight + bias) by Gumbel-max, tile by tile."""
    ids = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    for part in row_tiles(len(rows), len(weight)):
        logits = logits_of(rows[part], weight, bias)
        ids[part] = logits.add_(tile_noise(logits, seed, part.start)).argmax(1)
    return ids


class _Streamed(torch.autograd.Function):
    """A function of rows and shared tensors, evaluated by row tiles in both passes.

    ``function(start, rows_of_the_tile, *shared)`` returns a value for each row (n, …) or None, and
    a total, which is summed over tiles, or None.
    """

    @staticmethod
    def forward(ctx, function, size, zeros, rows, *shared):
        ctx.function, ctx.size = function, size
        ctx.save_for_backward(rows, *shared)
        ctx.set_materialize_grads(False)
        if zeros is not None:
            return tuple(None if shape is None else rows.new_zeros(shape) for shape in zeros)
        values, total = [], None
        for part in row_tiles(len(rows), size):
            each, share = function(part.start, rows[part], *shared)
            if each is not None:
                values.append(each)
            if share is not None:
                total = share if total is None else total.add_(share)
        return (torch.cat(values) if values else None), total

    @staticmethod
    def backward(ctx, towards_each, towards_total):
        rows, *shared = ctx.saved_tensors
        needed = ctx.needs_input_grad[3:]
        leaves = [
            x.detach().requires_grad_(need) for x, need in zip(shared, needed[1:], strict=True)
        ]
        gradient = torch.empty_like(rows) if needed[0] else None
        if towards_each is None and towards_total is None:
            return None, None, None, *([None] * (1 + len(shared)))
        with torch.enable_grad():
            for part in row_tiles(len(rows), ctx.size):
                leaf = rows[part].detach().requires_grad_(needed[0])
                each, share = ctx.function(part.start, leaf, *leaves)
                outputs = [
                    (value, towards)
                    for value, towards in (
                        (each, None if towards_each is None else towards_each[part]),
                        (share, towards_total),
                    )
                    if towards is not None and value is not None and value.requires_grad
                ]
                torch.autograd.backward(*zip(*outputs, strict=True))
                if gradient is not None:
                    gradient[part] = 0 if leaf.grad is None else leaf.grad
        return None, None, None, gradient, *(leaf.grad for leaf in leaves)


def streamed(
    function: TileFunction, size: int, rows: Tensor, *shared: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """``function`` over tiles of ``rows`` (N, D) against ``size`` codes, differentiable.

    ``function(start, part, *shared)`` returns ``(each, total)``: a value for each of its rows, and
    a total; either may be None. Returns them concatenated and summed over tiles. In the backward
    pass every tile is computed again: pass what needs a gradient as ``rows`` or ``shared``.
    """
    return _Streamed.apply(function, size, None, rows, *shared)


def gradient_only(
    function: TileFunction,
    size: int,
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...] | None],
    rows: Tensor,
    *shared: Tensor,
) -> tuple[Tensor | None, Tensor | None]:
    """Zeros of ``shapes`` with the gradient of ``streamed(function, …)``: x - x.detach() without x.

    Straight-through estimators need the soft value's gradient and never the value itself, so the
    forward pass computes nothing.
    """
    return _Streamed.apply(function, size, shapes, rows, *shared)


def log_sum_exp(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """log sum_k exp(rows @ weight[k] + bias[k]), (N,), differentiable in all three."""

    def of_tile(start: int, part: Tensor, weight: Tensor, bias: Tensor):
        return logits_of(part, weight, bias).logsumexp(1), None

    return streamed(of_tile, len(weight), rows, weight, bias)[0]


def mean_assignment(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean over rows of softmax(rows @ weight + bias), (K,), differentiable in all three."""

    def of_tile(start: int, part: Tensor, weight: Tensor, bias: Tensor):
        return None, logits_of(part, weight, bias).softmax(1).sum(0)

    return streamed(of_tile, len(weight), rows, weight, bias)[1] / len(rows)


def soft_statistics(rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy of each row's softmax in nats, (N,), and the mean assignment, (K,)."""

    def of_tile(start: int, part: Tensor, weight: Tensor, bias: Tensor):
        log_p = logits_of(part, weight, bias).log_softmax(1)
        p = log_p.exp()
        return -(p * log_p).sum(1), p.sum(0)

    entropy, total = streamed(of_tile, len(weight), rows, weight, bias)
    return entropy, total / len(rows)


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

    With s = softmax((rows @ weight + bias + noise) / temperature): zeros (N, D) that have the
    gradient of s @ ``codes`` (codes fixed), and zeros (G, K) that have that of the sums of s over
    the rows of each group (``groups`` int64 (N,); None: one group). ``seed`` adds the Gumbel noise
    that ``draw_codes`` with the same rows and seed drew from.
    """
    codes = codes.detach()

    def of_tile(start: int, part: Tensor, weight: Tensor, bias: Tensor):
        logits = logits_of(part, weight, bias)
        if seed is not None:
            logits = logits + tile_noise(logits.detach(), seed, start)
        soft = (logits if temperature == 1 else logits / temperature).softmax(1)
        if groups is None:
            total = soft.sum(0, keepdim=True)
        else:
            total = soft.new_zeros(group_count, len(weight))
            total = total.index_add(0, groups[start : start + len(part)], soft)
        return soft @ codes, total

    shapes = ((len(rows), codes.shape[1]), (group_count, len(weight)))
    return gradient_only(of_tile, len(weight), shapes, rows, weight, bias)
