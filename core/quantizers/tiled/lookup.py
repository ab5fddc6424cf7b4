"""Search and draws over all codes without the positions x codes matrix.

*Nearest code.* The textbook formula keeps about three float32 matrices of N x K alive and walks
over them four or five times. Here ``argmin |z - e|^2 = argmax z.e - |e|^2/2`` is computed tile by
tile into one small buffer with the bias folded into the matrix product, and only the running best
is kept. On GPUs a Triton kernel keeps even the tile in registers (``triton_lookup.py``).

*Draws* from softmax_k(z.w_k + b_k) by the Gumbel-max rule, some rows at a time. Their noise can be
made again, so that the backward pass (``soft.py``) sees the draw that the forward pass made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

ROWS, CODES = 512, 1024  # a float32 tile of 2 MB: measured, a core's own cache and some
GPU_ROWS, GPU_CODES = 2048, 4096  # 32 MB, under the L2 cache of a large GPU (not measured)
SOFT_TILE = 2**20  # entries of a soft tile, of which three are held: 12 MB in float32
GPU_SOFT_TILE = 2**24  # larger, so that launching kernels is no part of the cost (not measured)
LEAST_ROWS = 8  # of a soft tile: below, adding up gradients of the codes costs more than the tile


def best_code(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """argmax over k of ``rows @ weight[k] + bias[k]``.

    ``rows`` float32 (N, D), ``weight`` float32 (K, D), ``bias`` float32 (K,). Returns int64 (N,);
    of equal scores the lowest k wins. Extra memory: one tile.
    """
    if _exporting():  # a loop over rows would fix their number in the program
        return torch.addmm(bias, rows, weight.t()).argmax(1)
    kernel = _kernel() if rows.is_cuda and rows.dtype == torch.float32 else None
    with torch.no_grad():
        return (kernel or plain_best_code)(rows, weight, bias)


# torch 2.6 has only the wider question.
_exporting: Callable[[], bool] = getattr(
    torch.compiler, "is_exporting", torch.compiler.is_compiling
)


@cache
def _kernel() -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """The Triton kernel, where Triton is installed."""
    if find_spec("triton") is None:
        return None
    from .triton_kernel import triton_best_code

    return triton_best_code


def plain_best_code(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``best_code`` in plain PyTorch; the reference of the kernel."""
    count, size = len(rows), len(weight)
    height, width = (GPU_ROWS, GPU_CODES) if rows.is_cuda else (ROWS, CODES)
    ids = torch.empty(count, dtype=torch.int64, device=rows.device)
    tile = rows.new_empty(min(height, count) * min(width, size))
    columns = weight.t()
    for start in range(0, count, height):
        part = rows[start : start + height]
        best = None
        for first in range(0, size, width):
            some = columns[:, first : first + width]
            scores = tile[: len(part) * some.shape[1]].view(len(part), some.shape[1])
            torch.addmm(bias[first : first + width], part, some, out=scores)
            if best is None:
                best, winner = scores.max(dim=1)
            elif rows.is_cuda:  # without waiting for the GPU
                top, index = scores.max(dim=1)
                winner = torch.where(top > best, index + first, winner)
                best = torch.maximum(best, top)
            else:
                # Most tiles improve on few rows, and a maximum without its place is far cheaper.
                top = scores.amax(dim=1)
                better = (top > best).nonzero().flatten()
                winner[better] = scores[better].argmax(1) + first
                best[better] = top[better]
        ids[start : start + height] = winner
    return ids


def nearest_code(rows: Tensor, codebook: Tensor) -> Tensor:
    """Ids int64 (N,) of the codes (K, D) nearest to float32 ``rows`` (N, D), Euclidean, exact."""
    return best_code(rows, codebook, -0.5 * codebook.square().sum(1))


def row_tiles(count: int, size: int, on_gpu: bool = False) -> Iterator[slice]:
    """Slices of ``count`` rows, each few enough for a soft tile against ``size`` codes."""
    step = max(LEAST_ROWS, (GPU_SOFT_TILE if on_gpu else SOFT_TILE) // size)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def gumbel_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise with the shape of ``like``: -log(-log(1 - v)), v uniform in (0, 1).

    v lies on a grid of 2^-31 and keeps all of it near 0, where large noise comes from: float32's
    own uniform numbers are too coarse there to tell the largest of 65,536 draws from the next.
    (``exponential_`` gives the same distribution at five times the cost on a CPU.)
    """
    steps = torch.empty(like.shape, dtype=torch.int32, device=like.device)
    noise = steps.random_(generator=generator).to(like.dtype).add_(0.5).mul_(2.0**-31)
    noise.clamp_(max=1 - 2.0**-24)  # float32 rounds the last steps to 1, whose noise is infinite
    return noise.neg_().log1p_().neg_().log_().neg_()


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
    for part in row_tiles(len(rows), len(weight), rows.is_cuda):
        logits = logits_of(rows[part], weight, bias)
        ids[part] = logits.add_(tile_noise(logits, seed, part.start)).argmax(1)
    return ids
