"""Draws from categorical distributions: inverse CDF, top-k, top-p, guidance.

``torch.multinomial`` and the Gumbel trick draw one random number per code. Here one uniform number
per row is looked up in the cumulative distribution, which is summed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import CheckpointError

Generators = torch.Generator | Sequence[torch.Generator] | None
"""The source of random numbers: one generator for all pictures; one for each picture, so that a
picture does not depend on the others of its batch; or None for torch's global generator."""
SEEDS = 2**31
"""The number of seeds of pictures, from 0."""

_MIN_TEMPERATURE = 1e-6  # divided by less, differences of logits exceed float32
_TILE = 2**20  # entries at once, which stay in the processor's cache
_GPU_TILE = 2**26  # 256 MB in float32: few kernels (not measured)
_WIDE = 1024  # codes; wider rows are summed in two levels
_BLOCK = 128
_HEAD = 1024  # codes that top-p sorts first


def seeds(seed: int, n: int) -> list[int]:
    """Return the seeds of n pictures, of which each draws the same picture in any batch."""
    return [(seed + i) % SEEDS for i in range(n)]


def seeded(seed: int, n: int) -> list[torch.Generator]:
    """Return a CPU generator for each of n pictures, with their ``seeds``."""
    return [torch.Generator().manual_seed(each) for each in seeds(seed, n)]


def uniform(shape: tuple[int, ...], generator: Generators, device: torch.device) -> Tensor:
    """Draw float32 numbers from [0, 1) and return them on ``device``.

    They are drawn on the generator's device: a CPU generator gives the same numbers for every
    ``device``. Of several generators, each draws one row.
    """
    return _draw(torch.rand, shape, generator, device)


def spread_uniform(rows: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw one number per row, row i uniformly from [i / rows, (i + 1) / rows], float32 (rows,).

    As training draws of a batch, they have less noise than independent numbers, at the same mean.
    The end of an interval, 1 of the last one, is met only where float32 rounds up to it.
    """
    return (torch.arange(rows, device=device) + uniform((rows,), generator, device)) / rows


def normal(shape: tuple[int, ...], generator: Generators, device: torch.device) -> Tensor:
    """Draw numbers from the standard normal distribution; arguments as ``uniform``."""
    return _draw(torch.randn, shape, generator, device)


def _draw(
    source: Callable[..., Tensor],
    shape: tuple[int, ...],
    generator: Generators,
    device: torch.device,
) -> Tensor:
    if generator is None:
        return source(shape, device=device)
    if isinstance(generator, torch.Generator):
        return source(shape, generator=generator, device=generator.device).to(
            device, non_blocking=True
        )
    rows = [source(shape[1:], generator=each, device=each.device) for each in generator]
    return torch.stack(rows).to(device, non_blocking=True)


def inverse_cdf(weights: Tensor, at: Tensor) -> Tensor:
    """Return the index int64 (R,) where the cumulative sum of ``weights`` (R, K) exceeds a share.

    The weights are float32, 0 or more, and need not sum to 1; the shares ``at`` (R,) are in [0, 1).
    An index of weight 0 is never returned, unless all weights of the row are 0.
    """
    rows, size = weights.shape
    if size <= _WIDE:
        return _exceed(weights.cumsum(1), at)[0]
    # A long cumulative sum is slow and inexact: find the block by sums of blocks, then the index.
    if size % _BLOCK:
        weights = torch.nn.functional.pad(weights, (0, -size % _BLOCK))
    blocks = weights.view(rows, -1, _BLOCK)
    block, left = _exceed(blocks.sum(2).cumsum(1), at)
    inside = blocks[torch.arange(rows, device=weights.device), block].cumsum(1)
    # The two sums may differ in their last bits.
    left = torch.minimum(left, _below(inside[:, -1]))
    return block * _BLOCK + torch.searchsorted(inside, left[:, None], right=True)[:, 0]


def _exceed(cumulative: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index at which a row of sums exceeds the share ``at``, and the remainder.

    The remainder is that of the share beyond the sum before the index.
    """
    total = cumulative[:, -1]
    target = torch.minimum(at * total, _below(total))
    index = torch.searchsorted(cumulative, target[:, None], right=True)
    before = torch.where(index > 0, cumulative.gather(1, (index - 1).clamp(min=0)), 0)
    return index[:, 0], target - before[:, 0]


def _below(x: Tensor) -> Tensor:
    return torch.nextafter(x, torch.zeros((), dtype=x.dtype, device=x.device))


def truncate(
    logits: Tensor,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    finite: FiniteLogits | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the truncated distribution: weights float32 (R, k), not normalized, and their codes.

    ``logits`` are (R, K). The codes are int64 (R, k), or None for all K codes in order. ``top_k``
    keeps only this number of the most likely codes (0: all). Of these, ``top_p`` keeps the most
    likely codes that together reach this share of their mass, at least one (VQ-Diffusion's
    truncation). ``finite``: see ``sample_categorical``.
    """
    size = logits.shape[1]
    logits = logits.float()
    if 0 < top_k < size:
        values, codes = logits.topk(top_k, 1)
        weights = _weights(values, temperature, finite)
        return (weights if top_p >= 1 else _nucleus(weights, weights.sum(1), top_p)), codes
    if top_p >= 1:
        return _weights(logits, temperature, finite), None
    if size > 2 * _HEAD and not logits.is_cuda:
        # Usually few codes have most of the mass, and a full sort is not needed. On a GPU the sort
        # is faster than waiting for the answer.
        weights = _weights(logits, temperature, finite)
        head, codes = weights.topk(_HEAD, 1)
        total = weights.sum(1)
        if bool((head.sum(1) >= top_p * total).all()):
            return _nucleus(head, total, top_p), codes
    values, codes = logits.sort(1, descending=True)
    weights = _weights(values, temperature, finite)
    return _nucleus(weights, weights.sum(1), top_p), codes


def _weights(logits: Tensor, temperature: float, finite: FiniteLogits | None) -> Tensor:
    largest = logits.amax(1, keepdim=True)
    _look_at(largest, finite)
    shifted = logits - largest
    return shifted.div_(temperature).exp_() if temperature != 1 else shifted.exp_()


class FiniteLogits:
    """The check of a sampling that the prior's logits are finite.

    On a GPU, the host would wait for each step to look at its logits. There the steps are looked at
    together, by ``check`` before the last one is returned.
    """

    def __init__(self) -> None:
        self._all: Tensor | None = None

    def add(self, largest: Tensor) -> None:
        """Add the largest logit of each row; NaN spreads to it. On a CPU, raise as ``check``."""
        if largest.is_cuda and torch.cuda.is_current_stream_capturing():
            return
        found = torch.isfinite(largest).all()
        self._all = found if self._all is None else self._all & found
        if not largest.is_cuda:
            self.check()

    def check(self) -> None:
        """Raise CheckpointError unless all logits so far are finite."""
        found, self._all = self._all, None
        if found is not None and not bool(found):
            raise CheckpointError(
                "The prior computed logits that are not finite (NaN or infinity): its weights are "
                "damaged or its training diverged; choose another checkpoint, or train it again "
                "with a lower learning rate."
            )


def _look_at(largest: Tensor, finite: FiniteLogits | None) -> None:
    if finite is not None:
        return finite.add(largest)
    alone = FiniteLogits()
    alone.add(largest)
    alone.check()


def _nucleus(weights: Tensor, total: Tensor, top_p: float) -> Tensor:
    """Return sorted weights (R, k), set to 0 after the first that reach ``top_p * total``."""
    before = weights.cumsum(1) - weights
    # The most likely code is kept, however small top_p is.
    beyond = before >= top_p * total[:, None]
    beyond[:, 0] = False
    return weights.masked_fill(beyond, 0)


def sample_categorical(
    logits: Tensor,
    generator: Generators = None,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    wanted: Tensor | None = None,
    at: Tensor | None = None,
    finite: FiniteLogits | None = None,
) -> Tensor:
    """Draw codes int64 (...) from softmax(``logits`` / temperature), logits (..., K).

    Args:
        temperature: below 1e-6, the most likely code is taken.
        top_k: see ``truncate``.
        top_p: see ``truncate``.
        wanted: bool (...); where it is false, nothing is drawn and the code is 0.
        at: ``uniform`` numbers (...) that were drawn before, instead of the generator.
        finite: collects the check of the logits on a GPU; without it, the host waits here.

    Raises CheckpointError if a row has no finite largest logit, as those of a diverged prior.
    """
    *shape, size = logits.shape
    flat = logits.reshape(-1, size)
    drawn = torch.zeros(len(flat), dtype=torch.int64, device=logits.device)
    at = (uniform(tuple(shape), generator, logits.device) if at is None else at).flatten()
    # On a GPU, drawing for all rows is faster than waiting for the places of the wanted ones.
    rows = None
    if wanted is not None and not logits.is_cuda:
        rows = wanted.flatten().nonzero()[:, 0]
    count = len(flat) if rows is None else len(rows)
    step = max(1, (_GPU_TILE if logits.is_cuda else _TILE) // size)
    for start in range(0, count, step):
        part = slice(start, start + step) if rows is None else rows[start : start + step]
        some = flat[part]
        if temperature < _MIN_TEMPERATURE or top_k == 1:
            largest, drawn[part] = some.max(1)
            _look_at(largest, finite)
            continue
        weights, codes = truncate(some, temperature, top_k, top_p, finite)
        index = inverse_cdf(weights, at[part])
        drawn[part] = index if codes is None else codes.gather(1, index[:, None])[:, 0]
    drawn = drawn.view(shape)
    return drawn.masked_fill(~wanted, 0) if wanted is not None and rows is None else drawn


def classifier_free_guidance(logits: Tensor, scale: float | Tensor) -> Tensor:
    """Return null + scale (conditional - null), (n, ...), for logits (2n, ...).

    The second half of the logits is without condition: classifier-free guidance (arXiv 2207.12598;
    2210.06767 for codes).
    """
    conditional, null = logits.float().chunk(2)
    return torch.lerp(null, conditional, scale)
