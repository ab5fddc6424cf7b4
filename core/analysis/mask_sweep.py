"""The effect of the stochastic mask on one picture: which tokens are drawn, and the result.

Reg-VQ (CVPR 2023, section 3.3) draws the codes of a share of the positions from p(code | position)
and keeps the best code at the others. Here every position has its draw in advance and the ratio
only determines how many of them are used, so that two ratios differ only in the tokens between
them: the masks of one seed are nested, and a curve over ratios is of one draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..images import to_pixels
from ..metrics.comparison import as_shown
from ..metrics.psnr_ssim import psnr
from ..quantizers.base import Quantizer, to_rows
from ..quantizers.levels import one_codebook
from ..quantizers.ops import stochastic_mask
from ..quantizers.tiled.lookup import row_tiles

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

_DRAW = 0x9E3779B97F4A  # any constant: draws and masks of one seed need different streams
_COLDEST = 1e-6


@dataclass(frozen=True)
class Draws:
    """A picture's token distribution and one draw from it at every position; arrays (h, w)."""

    best: np.ndarray
    """int64: the most probable code."""
    drawn: np.ndarray
    """int64: the code that was drawn."""
    best_p: np.ndarray
    """float32: the probability of the best code."""
    drawn_p: np.ndarray
    """float32: the probability of the drawn code."""
    entropy: np.ndarray
    """float32: entropy of the distribution in bits, 0 to log2 K."""


class Masked(NamedTuple):
    """Tokens under a mask; arrays (h, w)."""

    ids: np.ndarray
    """int64"""
    mask: np.ndarray
    """bool: drawn, not taken by argmax."""
    changed: np.ndarray
    """bool: drawn, and different from the best code."""


class Point(NamedTuple):
    """One point of the curves over the mask ratio."""

    ratio: float
    drawn: float
    """Share of tokens that were drawn."""
    changed: float
    """Share of tokens that are not the best code."""
    psnr: float
    """dB, of the picture in 8 bits; inf if it is exact."""


@torch.no_grad()
def draw_tokens(
    quantizer: Quantizer, latents: Tensor, temperature: float = 1.0, seed: int = 0
) -> Draws:
    """Draw a code at every position of latents (1, D, h, w), from softmax(log p / ``temperature``).

    ``temperature`` 1 is the distribution that training draws from; toward 0 only the best code
    remains, and 0 is that limit. Equal seeds give equal draws. The positions x codes matrix is
    computed in tiles. Raises ValueError for a negative temperature, more than one picture, or a
    quantizer without a token distribution (``Quantizer.is_stochastic``).
    """
    if not quantizer.is_stochastic:
        raise ValueError(f"{type(quantizer).__name__} has no token distribution to draw from")
    if not temperature >= 0:
        raise ValueError(f"temperature must be 0 or more, got {temperature}")
    if len(latents) != 1:
        raise ValueError(f"only one picture at a time, got {len(latents)}")
    height, width = latents.shape[2:]
    rows = to_rows(latents)
    stream = torch.Generator().manual_seed(seed ^ _DRAW)
    chance = torch.rand(len(rows), 1, generator=stream).to(rows.device)
    parts = []
    for part in row_tiles(len(rows), quantizer.size):
        log_p = quantizer.log_posterior(rows[part])
        best = log_p.argmax(1, keepdim=True)
        log_p = (log_p / max(temperature, _COLDEST)).log_softmax(1)
        p = log_p.exp()
        # Inverse CDF: one random number per position instead of one per code.
        below = p.cumsum(1)
        drawn = torch.searchsorted(below, chance[part] * below[:, -1:], right=True)
        drawn = drawn.clamp_(max=quantizer.size - 1)
        if temperature == 0:
            drawn = best  # also if two codes share the highest probability
        entropy = -(p * log_p).sum(1, keepdim=True) / np.log(2)
        parts.append((best, drawn, p.gather(1, best), p.gather(1, drawn), entropy.clamp_(min=0)))
    columns = zip(*parts, strict=True)
    return Draws(*(torch.cat(some).view(height, width).cpu().numpy() for some in columns))


def apply_mask(draws: Draws, ratio: float, seed: int = 0) -> Masked:
    """Return the tokens if a share ``ratio`` in [0, 1] of the positions takes its draw.

    The mask is the quantizer's own (``stochastic_mask``): the one that ``Tokenizer.quantize`` uses
    with a generator of this seed. A larger ratio with the same seed contains it.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"the mask ratio must be from 0 to 1, got {ratio}")
    shape = draws.best.shape
    stream = torch.Generator().manual_seed(seed)
    flat = stochastic_mask(1, draws.best.size, ratio, stream, torch.device("cpu"))
    mask = flat.numpy().reshape(shape)
    ids = np.where(mask, draws.drawn, draws.best)
    return Masked(ids, mask, ids != draws.best)


def mask_point(
    tokenizer: Tokenizer, image: Tensor, draws: Draws, ratio: float, seed: int = 0
) -> tuple[Point, np.ndarray]:
    """Return a point of the curves of ``image`` (C, H, W) in [-1, 1], and its picture.

    The picture is uint8 (H, W, 3).
    """
    masked = apply_mask(draws, ratio, seed)
    height, width = image.shape[1:]
    painted = tokenizer.decode(torch.from_numpy(masked.ids)[None])[..., :height, :width]
    pixels = to_pixels(tokenizer.visible(painted))[0]
    quality = float(psnr(image[None].cpu(), as_shown(painted).cpu())[0])
    point = Point(ratio, float(masked.mask.mean()), float(masked.changed.mean()), quality)
    return point, pixels


def mask_sweep(
    tokenizer: Tokenizer,
    image: Tensor,
    ratios: Iterable[float],
    temperature: float = 1.0,
    seed: int = 0,
) -> Iterator[tuple[Point, np.ndarray]]:
    """Yield ``mask_point`` of one draw at each of ``ratios``, one by one as they are requested."""
    quantizer = one_codebook(tokenizer.quantizer, "the mask sweep")
    draws = draw_tokens(quantizer, tokenizer.latents(image[None]), temperature, seed)
    for ratio in ratios:
        yield mask_point(tokenizer, image, draws, ratio, seed)


def coarse_to_fine(steps: int) -> list[float]:
    """Return 0, 1, 1/2, 1/4, 3/4, … on the grid of ``steps`` equal steps, each point once.

    A curve that is computed in this order has its shape early. Raises ValueError for less than one
    step.
    """
    if steps < 1:
        raise ValueError(f"a curve needs 1 step or more, got {steps}")
    order, seen = [0, steps], {0, steps}
    gaps = [(0, steps)]
    for low, high in gaps:  # it grows during the loop: breadth first
        middle = (low + high) // 2
        if middle in (low, high):
            continue
        if middle not in seen:
            seen.add(middle)
            order.append(middle)
        gaps += [(low, middle), (middle, high)]
    return [step / steps for step in order]
