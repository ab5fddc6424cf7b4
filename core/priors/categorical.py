"""Drawing codes: categorical draws by inverse CDF, top-k, top-p, guidance.

``torch.multinomial`` and the Gumbel trick draw a random number for each code; here one uniform
number a row is looked up in the cumulative distribution, which is summed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator] | None
"""Where random numbers come from: one generator for all pictures, or one for each of them, so that
a picture does not depend on those it is drawn with; None is torch's own."""
SEEDS = 2**31
"""Seeds of pictures are below this."""

_COLD = 1e-6  # divided by less, differences of logits leave float32
_TILE = 2**20  # entries at once: what is drawn from stays in the processor's cache
_WIDE = 1024  # rows up to here are cumulated, wider ones in two levels
_BLOCK = 128
_HEAD = 1024  # codes that top-p looks at first


def seeds(seed: int, n: int) -> list[int]:
    """The seeds of n pictures: picture i is what the i-th of them draws by itself."""
    return [(seed + i) % SEEDS for i in range(n)]


def seeded(seed: int, n: int) -> list[torch.Generator]:
    """A generator of the CPU for each of n pictures, see ``seeds``."""
    return [torch.Generator().manual_seed(each) for each in seeds(seed, n)]


def uniform(shape: tuple[int, ...], generator: Generators, device: torch.device) -> Tensor:
    """Numbers from [0, 1), float32, on ``device``, drawn where the generator lives: a generator of
    the CPU gives the same numbers whatever the device. Of several generators, each draws one row.
    """
    return _drawn(torch.rand, shape, generator, device)


def normal(shape: tuple[int, ...], generator: Generators, device: torch.device) -> Tensor:
    """Numbers from the standard normal distribution, as ``uniform``."""
    return _drawn(torch.randn, shape, generator, device)


def _drawn(
    source: Callable[..., Tensor],
    shape: tuple[int, ...],
    generator: Generators,
    device: torch.device,
) -> Tensor:
    if generator is None:
        return source(shape, device=device)
    if isinstance(generator, torch.Generator):
        return source(shape, generator=generator, device=generator.device).to(device)
    rows = [source(shape[1:], generator=each, device=each.device) for each in generator]
    return torch.stack(rows).to(device)


def inverse_cdf(weights: Tensor, at: Tensor) -> Tensor:
    """The index int64 (R,) at which the cumulated ``weights`` (R, K) pass the share ``at`` (R,).

    Weights are float32, 0 or more, and need not add up to 1; ``at`` is in [0, 1). An index of
    weight 0 is never returned, as long as the row has another.
    """
    rows, size = weights.shape
    if size <= _WIDE:
        return _pass(weights.cumsum(1), at)[0]
    # A long cumulative sum is slow and rounds off. So: sums of blocks, the block, a sum within it.
    if size % _BLOCK:
        weights = torch.nn.functional.pad(weights, (0, -size % _BLOCK))
    blocks = weights.view(rows, -1, _BLOCK)
    block, left = _pass(blocks.sum(2).cumsum(1), at)
    inside = blocks[torch.arange(rows, device=weights.device), block].cumsum(1)
    # The two sums may differ in their last digits.
    left = torch.minimum(left, _below(inside[:, -1]))
    return block * _BLOCK + torch.searchsorted(inside, left[:, None], right=True)[:, 0]


def _pass(cumulated: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Where a row of sums passes its share ``at``, and how far beyond the sum before it that is."""
    total = cumulated[:, -1]
    target = torch.minimum(at * total, _below(total))
    index = torch.searchsorted(cumulated, target[:, None], right=True)
    before = torch.where(index > 0, cumulated.gather(1, (index - 1).clamp(min=0)), 0)
    return index[:, 0], target - before[:, 0]


def _below(x: Tensor) -> Tensor:
    return torch.nextafter(x, torch.zeros((), dtype=x.dtype, device=x.device))


def truncate(
    logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> tuple[Tensor, Tensor | None]:
    """What can be drawn: weights float32 (R, k), not normalized, and their codes int64 (R, k).

    ``logits`` (R, K); None for the codes means all K in order. ``top_k``: only so many of the most
    likely; ``top_p``: of these only as many of the most likely as together reach that share of
    their mass (VQ-Diffusion's truncation), at least one.
    """
    size = logits.shape[1]
    logits = logits.float()
    if 0 < top_k < size:
        values, codes = logits.topk(top_k, 1)
        weights = _weights(values, temperature)
        return (weights if top_p >= 1 else _nucleus(weights, weights.sum(1), top_p)), codes
    if top_p >= 1:
        return _weights(logits, temperature), None
    if size > 2 * _HEAD:
        # Most of the mass is with few codes: a full sort is for rows where it is not.
        weights = _weights(logits, temperature)
        head, codes = weights.topk(_HEAD, 1)
        total = weights.sum(1)
        if bool((head.sum(1) >= top_p * total).all()):
            return _nucleus(head, total, top_p), codes
    values, codes = logits.sort(1, descending=True)
    weights = _weights(values, temperature)
    return _nucleus(weights, weights.sum(1), top_p), codes


def _weights(logits: Tensor, temperature: float) -> Tensor:
    shifted = logits - logits.amax(1, keepdim=True)
    return shifted.div_(temperature).exp_() if temperature != 1 else shifted.exp_()


def _nucleus(weights: Tensor, total: Tensor, top_p: float) -> Tensor:
    """Sorted weights (R, k) with those behind the first that reach ``top_p * total`` set to 0."""
    before = weights.cumsum(1) - weights
    # The most likely one stays, however small top_p is.
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
) -> Tensor:
    """Draw codes int64 (...) from softmax(``logits`` / temperature), logits (..., K).

    Temperature 0, or one too small to divide by, takes the most likely code. ``top_k`` (0 = all)
    and ``top_p`` truncate the distribution (``truncate``). Where ``wanted``, bool (...), is false,
    nothing is drawn and the code is 0. ``at`` are ``uniform`` numbers (...) that were drawn before,
    in place of the generator.
    """
    *shape, size = logits.shape
    flat = logits.reshape(-1, size)
    found = torch.zeros(len(flat), dtype=torch.int64, device=logits.device)
    at = (uniform(tuple(shape), generator, logits.device) if at is None else at).flatten()
    rows = None if wanted is None else wanted.flatten().nonzero()[:, 0]
    count = len(flat) if rows is None else len(rows)
    step = max(1, _TILE // size)
    for begin in range(0, count, step):
        part = slice(begin, begin + step) if rows is None else rows[begin : begin + step]
        some = flat[part]
        if temperature < _COLD or top_k == 1:
            found[part] = some.argmax(1)
            continue
        weights, codes = truncate(some, temperature, top_k, top_p)
        index = inverse_cdf(weights, at[part])
        found[part] = index if codes is None else codes.gather(1, index[:, None])[:, 0]
    return found.view(shape)


def classifier_free_guidance(logits: Tensor, scale: float | Tensor) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598, 2210.06767 for codes): logits (2n, ...), the
    second half without condition, to (n, ...): null + scale (conditional - null)."""
    conditional, null = logits.float().chunk(2)
    return torch.lerp(null, conditional, scale)
