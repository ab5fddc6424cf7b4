"""One token of a picture: its receptive field, alternatives, and the effect of changing it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..images import to_pixels

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

Edit = tuple[int, int, int]
"""Row and column of a token, and its new code."""


def edited(ids: np.ndarray, edits: Iterable[Edit], size: int) -> np.ndarray:
    """Return the tokens ``ids`` (h, w) with edits; the later of two edits of one place counts.

    Raises ValueError for a place outside the grid or a code outside [0, ``size``).
    """
    changed = np.array(ids, copy=True)
    height, width = ids.shape
    for row, column, code in edits:
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(
                f"there is no token in row {row}, column {column}: "
                f"this picture has {height} rows and {width} columns, counted from 0"
            )
        if not 0 <= code < size:
            raise ValueError(f"there is no code {code}: codes are 0 to {size - 1}")
        changed[row, column] = code
    return changed


def window(ids: np.ndarray, row: int, column: int, reach: int) -> tuple[slice, slice]:
    """Return the part of the grid ``ids`` (h, w) within ``reach`` tokens of a place."""
    height, width = ids.shape
    return (
        slice(max(0, row - reach), min(height, row + reach + 1)),
        slice(max(0, column - reach), min(width, column + reach + 1)),
    )


@torch.no_grad()
def with_codes(
    tokenizer: Tokenizer,
    ids: np.ndarray,
    row: int,
    column: int,
    codes: Iterable[int],
    reach: int = 4,
    context: int = 1,
) -> np.ndarray:
    """Return the picture at a place with each of ``codes`` there: uint8 (n, s, s, 3).

    s = (2 * ``context`` + 1) * f pixels around the token; beyond the picture its edge is repeated.
    Only ``reach`` tokens around are decoded, which is fast and nearly equal to decoding all.
    """
    part = window(ids, row, column, reach)
    some = np.repeat(ids[part][None], len(codes := list(codes)), axis=0)
    down, right = row - part[0].start, column - part[1].start
    some[:, down, right] = codes
    pixels = to_pixels(tokenizer.visible(tokenizer.decode(torch.from_numpy(some))))
    f = tokenizer.downsampling
    step = np.arange(-context * f, (context + 1) * f)
    rows = np.clip(down * f + step, 0, pixels.shape[1] - 1)
    columns = np.clip(right * f + step, 0, pixels.shape[2] - 1)
    return pixels[:, rows[:, None], columns]


def receptive_field(
    tokenizer: Tokenizer,
    image: Tensor,
    row: int,
    column: int,
    reach: int = 5,
    directions: int = 4,
) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Return the receptive field of one token: float32 (a, b) summing to 1, and its place.

    The squared gradient of the token's latent with respect to each pixel of ``image`` (C, H, W) in
    [-1, 1], over ``directions`` random directions of the latent (the effective receptive field of
    arXiv 1701.04128). It is computed in a window of ``reach`` tokens around; the place is the rows
    and columns of its pixels. Raises ValueError if there is no such token.
    """
    f = tokenizer.downsampling
    height, width = image.shape[1:]
    if not (0 <= row * f < height and 0 <= column * f < width):
        raise ValueError(f"there is no token in row {row}, column {column}")
    top, left = max(0, row - reach) * f, max(0, column - reach) * f
    part = (
        slice(top, min(height, (row + reach + 1) * f)),
        slice(left, min(width, (column + reach + 1) * f)),
    )
    pixels = image[(slice(None), *part)][None]
    pad = (0, -pixels.shape[3] % f, 0, -pixels.shape[2] % f)
    padded = torch.nn.functional.pad(pixels, pad, mode="replicate").to(tokenizer.device)
    with torch.enable_grad():
        padded.requires_grad_(True)
        seen = tokenizer.network_input(padded)
        latent = tokenizer.encoder(seen)[0, :, row - top // f, column - left // f]
        stream = torch.Generator().manual_seed(0)
        ways = torch.randn(directions, len(latent), generator=stream).to(latent.device)
        total = torch.zeros_like(padded)
        for n, way in enumerate(ways):
            (slope,) = torch.autograd.grad(latent @ way, padded, retain_graph=n + 1 < directions)
            total += slope.square()
    field = total[0].sum(0)[: pixels.shape[2], : pixels.shape[3]].cpu().numpy()
    return field / max(float(field.sum()), 1e-30), part


def extent(field: np.ndarray, share: float = 0.95) -> int:
    """Return the side in pixels of a square with the area of the core of a field.

    The core is the fewest pixels with ``share`` of a field (a, b) that sums to 1.
    """
    most = np.sort(field.ravel())[::-1].cumsum()
    return int(np.ceil(np.sqrt(np.searchsorted(most, share * most[-1]) + 1)))
