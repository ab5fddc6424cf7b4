"""Search and draws over all codes without the positions x codes matrix.

*Nearest code.* The textbook formula needs about three float32 matrices of N x K and reads them four
or five times. Here ``argmin |z - e|^2 = argmax z.e - |e|^2/2`` is computed tile by tile in one
small buffer, with the bias as part of the matrix product, and only the best code so far is kept. On
GPUs a Triton kernel keeps even the tile in registers (``triton_kernel.py``).

*Draws* from softmax_k(z.w_k + b_k) by the Gumbel-max rule, some rows at a time. Their noise can be
computed again from a seed, so that the backward pass (``soft.py``) uses the noise of the forward
pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from ...host_values import host_seed
from ...plain import is_plain
from .owners import is_watched, map_with_owners

ROWS, CODES = 512, 1024  # a float32 tile of 2 MB, a little more than a core's cache: measured
GPU_ROWS, GPU_CODES = 2048, 4096  # 32 MB, below the L2 cache of a large GPU (not measured)
OWNED = 2**22  # entries of rows x codes from which on threads have rows of their own: measured
OWN_ROWS = 256  # that a thread takes at a time: measured
FEWEST = 32  # rows, with which reading the codes is not yet the most of a search: measured
SOFT_TILE = 2**20  # entries of a soft tile, of which three are allocated: 12 MB in float32
GPU_SOFT_TILE = 2**24  # larger, so that launching kernels costs nothing (not measured)
KEPT = 2**22  # entries of rows x codes up to which a backward pass finds what forward computed
MIN_ROWS = 8  # of a soft tile: below, adding the gradients of the codes costs more than the tile


def best_code(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return argmax over k of ``rows @ weight[k] + bias[k]``, int64 (N,).

    ``rows`` float32 (N, D), ``weight`` float32 (K, D), ``bias`` float32 (K,). Of equal scores, the
    lowest k is returned. Extra memory: one tile.
    """
    if _exporting():  # a loop over rows would fix their number in the program
        return torch.addmm(bias, rows, weight.t()).argmax(1)
    with torch.no_grad():
        if torch.compiler.is_compiling():
            return torch.ops.regvq.best_code(rows, weight, bias)
        return search(rows, weight, bias)


def search(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``best_code`` by the kernel, where there is one, or by plain PyTorch, in which each
    thread of a CPU searches for some of many rows.

    Numbers in half precision are converted to float32 first, which changes none of them: scores in
    half precision would be equal for many codes.
    """
    if rows.dtype in (torch.bfloat16, torch.float16):
        rows, weight, bias = rows.float(), weight.float(), bias.float()
    if is_plain():
        return plain_best_code(rows, weight, bias)
    kernel = _kernel() if rows.is_cuda and rows.dtype == torch.float32 else None
    if kernel is not None:
        return kernel(rows, weight, bias)
    if rows.is_cpu and len(rows) * len(weight) >= OWNED and not is_watched():
        share = -(-len(rows) // torch.get_num_threads())
        parts = rows.split(max(FEWEST, min(OWN_ROWS, share)))
        return torch.cat(map_with_owners(lambda part: plain_best_code(part, weight, bias), parts))
    return plain_best_code(rows, weight, bias)


# torch 2.6 has only the wider question.
_exporting: Callable[[], bool] = getattr(
    torch.compiler, "is_exporting", torch.compiler.is_compiling
)


@cache
def _kernel() -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """Return the Triton kernel, or None if Triton is not installed."""
    if find_spec("triton") is None:
        return None
    from .triton_kernel import triton_best_code

    return triton_best_code


def plain_best_code(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``best_code`` computed in plain PyTorch; the reference of the kernel."""
    count, size = len(rows), len(weight)
    height, width = (GPU_ROWS, GPU_CODES) if rows.is_cuda else (ROWS, CODES)
    ids = torch.empty(count, dtype=torch.int64, device=rows.device)
    tile = rows.new_empty(min(height, count) * min(width, size))
    columns = weight.t()
    for start in range(0, count, height):
        part = rows[start : start + height]
        best_score, best = None, ids[start : start + height]
        for first in range(0, size, width):
            some = columns[:, first : first + width]
            scores = tile[: len(part) * some.shape[1]].view(len(part), some.shape[1])
            torch.addmm(bias[first : first + width], part, some, out=scores)
            if best_score is None:
                best_score, best = scores.max(dim=1)
            elif rows.is_cuda:  # no indexing by a mask, which would wait for the GPU
                top, index = scores.max(dim=1)
                best = torch.where(top > best_score, index + first, best)
                best_score = torch.maximum(best_score, top)
            else:
                # Most tiles improve few rows, and amax is far cheaper than max with its index.
                top = scores.amax(dim=1)
                better = (top > best_score).nonzero().flatten()
                best[better] = scores[better].argmax(1) + first
                best_score[better] = top[better]
        ids[start : start + height] = best
    return ids


def nearest_code(rows: Tensor, codebook: Tensor) -> Tensor:
    """Return the ids int64 (N,) of the codes (K, D) nearest to float32 ``rows`` (N, D).

    The distance is Euclidean, the search exact.
    """
    return best_code(rows, codebook, -0.5 * codebook.square().sum(1))


def row_tiles(count: int, size: int, on_gpu: bool = False) -> Iterator[slice]:
    """Yield slices of ``count`` rows, each small enough for a soft tile with ``size`` codes."""
    step = max(MIN_ROWS, (GPU_SOFT_TILE if on_gpu else SOFT_TILE) // size)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def gumbel_noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return standard Gumbel noise of the shape of ``like``.

    It is -log(-log(1 - v)) with v uniform in (0, 1). v lies on a grid with steps of 2^-31, also
    near 0, where large noise comes from. The usual uniform float32 numbers are too coarse there to
    distinguish the largest of 65,536 draws from the second largest. ``exponential_`` gives the same
    distribution at five times the cost on a CPU.
    """
    steps = torch.empty(like.shape, dtype=torch.int32, device=like.device)
    noise = steps.random_(generator=generator).to(like.dtype).add_(0.5).mul_(2.0**-31)
    noise.clamp_(max=1 - 2.0**-24)  # float32 rounds the last steps to 1, whose noise is infinite
    return _minus_log1p(noise).log_().neg_()


def _minus_log1p(v: Tensor) -> Tensor:
    """Return -log(1 - v) for v in (0, 1), with a relative error below 2e-7 (log1p: 6e-8).

    With u = 1 - v as it is rounded, -log(u) v / (1 - u) corrects the rounding: W. Kahan's formula.
    It takes a fourth of the time of torch's log1p on a CPU.
    """
    u = 1 - v
    kept = 1 - u  # v as it is in u
    return torch.where(kept == 0, v, u.log_().neg_().mul_(v).div_(kept))


class Seed(int):
    """A seed of ``tile_noise`` that keeps a small matrix of noise for the backward pass."""

    def __init__(self, *_: int) -> None:
        self.kept: dict[int, Tensor] = {}


def tile_noise(like: Tensor, seed: int, start: int) -> Tensor:
    """Return the Gumbel noise of the tile that starts at row ``start``: the same in every pass.

    With a ``Seed``, noise of up to ``KEPT`` rows x codes is computed once for two passes.
    """
    kept = seed.kept if isinstance(seed, Seed) else {}
    noise = kept.pop(start, None)
    if noise is not None and noise.shape == like.shape and noise.dtype == like.dtype:
        return noise
    noise = gumbel_noise(like, torch.Generator(like.device).manual_seed(seed + start))
    if (start + len(like)) * like.shape[1] <= KEPT:
        kept[start] = noise
    return noise


def draw_seed(generator: torch.Generator | None, device: torch.device) -> Seed | Tensor:
    """Draw a seed for ``tile_noise`` from the caller's generator.

    It is an int64 tensor () in a graph of ``torch.compile``, otherwise a number, for which the
    host does not wait (``host_seed``).
    """
    if torch.compiler.is_compiling():
        return torch.randint(2**62, (), generator=generator, device=device)
    return Seed(host_seed(generator))


def logits_of(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the logits rows (N, D) @ weight.T (D, K) + bias (K,), (N, K), differentiable."""
    return torch.addmm(bias, rows, weight.t())


@torch.no_grad()
def draw_codes(rows: Tensor, weight: Tensor, bias: Tensor, seed: int | Tensor) -> Tensor:
    """Draw ids int64 (N,) from softmax(rows @ weight.T + bias) by Gumbel-max, tile by tile."""
    if isinstance(seed, Tensor):  # in a graph of torch.compile
        return torch.ops.regvq.draw_codes(rows, weight, bias, seed)
    ids = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    for part in row_tiles(len(rows), len(weight), rows.is_cuda):
        logits = logits_of(rows[part], weight, bias)
        ids[part] = logits.add_(tile_noise(logits, seed, part.start)).argmax(1)
    return ids
