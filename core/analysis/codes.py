"""One code at a time: what it paints, where it occurs, what is near it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..images import to_pixels

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer


def paint_codes(
    tokenizer: Tokenizer,
    ids: Sequence[int] | np.ndarray | Tensor | None = None,
    side: int = 5,
    batch: int = 64,
) -> np.ndarray:
    """What each code paints, uint8 (n, f, f, 3): the center cell of a field of that code alone.

    A decoder sees more than one token, so there is no picture of a code by itself; a field of
    ``side`` x ``side`` (odd) equal tokens shows what it stands for among its like.
    ids: the codes, all K by default. Raises ValueError for an even ``side`` or an unknown code.
    """
    if side < 1 or side % 2 == 0:
        raise ValueError(f"side must be odd, so that one cell is in the middle, got {side}")
    size, f = tokenizer.codebook_size, tokenizer.downsampling
    ids_N = torch.arange(size) if ids is None else torch.as_tensor(ids, dtype=torch.int64).flatten()
    if ((ids_N < 0) | (ids_N >= size)).any():
        raise ValueError(f"codes are 0 to {size - 1}, got {int(ids_N.min())} to {int(ids_N.max())}")
    paints = np.empty((len(ids_N), f, f, 3), dtype=np.uint8)
    first = (side // 2) * f
    cell = slice(first, first + f)
    for start in range(0, len(ids_N), batch):
        some = ids_N[start : start + batch]
        field = some.view(-1, 1, 1).expand(-1, side, side)
        images = tokenizer.decode(field)
        paints[start : start + len(some)] = to_pixels(images[:, :, cell, cell])
    return paints


def nearest_codes(
    codebook: Tensor | np.ndarray, code: int, n: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """The ``n`` codes nearest to ``code`` in the codebook (K, D), itself left out.

    Returns ids int64 (n,) and Euclidean distances float32 (n,), nearest first; fewer than ``n``
    where the codebook is that small. Raises ValueError if there is no such code.
    """
    codebook = as_array(codebook)
    if not 0 <= code < len(codebook):
        raise ValueError(f"codes are 0 to {len(codebook) - 1}, got {code}")
    apart = np.square(codebook - codebook[code]).sum(axis=1)
    apart[code] = np.inf  # a twin at distance 0 is a neighbor, the code itself is not
    ids = np.argsort(apart, kind="stable")[: min(n, len(codebook) - 1)]
    return ids.astype(np.int64), np.sqrt(apart[ids]).astype(np.float32)


def all_neighbors(codebook: Tensor | np.ndarray, n: int = 8, rows: int = 1024) -> np.ndarray:
    """``nearest_codes`` of every code: ids int64 (K, min(n, K - 1)), ``rows`` codes at a time."""
    codes = torch.from_numpy(as_array(codebook))
    n = min(n, len(codes) - 1)
    norms = codes.square().sum(dim=1)
    neighbors = np.empty((len(codes), n), dtype=np.int64)
    for start in range(0, len(codes), rows):
        some = codes[start : start + rows]
        # |a|^2 is the same along a row and so changes no order.
        apart = torch.addmm(norms, some, codes.T, alpha=-2)
        apart[torch.arange(len(some)), torch.arange(start, start + len(some))] = torch.inf
        neighbors[start : start + len(some)] = apart.topk(n, largest=False).indices.numpy()
    return neighbors


def code_map_pca(codebook: Tensor | np.ndarray) -> np.ndarray:
    """The codebook (K, D) on its two main axes, float32 (K, 2), centered; deterministic signs."""
    scores = main_axes(as_array(codebook), 2)
    return np.pad(scores, ((0, 0), (0, 2 - scores.shape[1])))  # D = 1 has but one axis


def main_axes(rows: np.ndarray, n: int) -> np.ndarray:
    """Rows (N, F) projected on their first ``n`` principal axes, float32 (N, min(n, F)).

    The sign of an axis is free: here its largest entry is positive, so that a map does not flip
    from one machine to another.
    """
    centered = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    _, vectors = np.linalg.eigh(centered.T @ centered)
    vectors = vectors[:, ::-1][:, :n]
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return (centered @ (vectors * np.where(peaks < 0, -1.0, 1.0))).astype(np.float32)


def where_code(ids: Tensor | np.ndarray, code: int) -> np.ndarray:
    """Where ``code`` stands in the token grid ``ids`` (h, w): bool (h, w)."""
    return as_array(ids, np.int64) == code


def occurrences(ids: Tensor | np.ndarray | Sequence[Tensor | np.ndarray], code: int) -> np.ndarray:
    """Every place of ``code``: int64 (n, 3) rows of (picture, row, column).

    ids: one token grid (h, w), or several of any sizes; a single one is picture 0.
    """
    single = isinstance(ids, (Tensor, np.ndarray)) and ids.ndim == 2
    places = [np.empty((0, 3), dtype=np.int64)]
    for picture, grid in enumerate([ids] if single else ids):
        found = np.argwhere(where_code(grid, code))
        places.append(np.insert(found, 0, picture, axis=1).astype(np.int64))
    return np.concatenate(places)


def patch_of(
    image: Tensor | np.ndarray, row: int, col: int, f: int, context: int = 0
) -> np.ndarray:
    """The real patch under one token, uint8 (s, s, 3) with s = (2 * context + 1) * f.

    image: (3, H, W) in [-1, 1], or pixels uint8 (H, W, 3). ``context`` adds so many cells around;
    beyond the picture's edges its edge pixels are repeated, so every patch has the same size.
    Raises ValueError if the token lies outside the picture.
    """
    pixels = to_pixels(image) if isinstance(image, Tensor) else image
    height, width = pixels.shape[:2]
    if not (0 <= row * f < height and 0 <= col * f < width):
        raise ValueError(
            f"token ({row}, {col}) lies outside a {width}x{height} picture at {f} pixels a token"
        )
    reach = np.arange(-context * f, (context + 1) * f)
    rows = np.clip(row * f + reach, 0, height - 1)
    cols = np.clip(col * f + reach, 0, width - 1)
    return pixels[rows[:, None], cols[None, :]]


@torch.no_grad()
def runner_ups(
    tokenizer: Tokenizer, image: Tensor, row: int, col: int, n: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """The ``n`` most probable codes at one place, the chosen one first.

    image: (3, H, W) in [-1, 1]. Returns ids int64 (n,) and probabilities float32 (n,), falling:
    p(code | latent) as the quantizer defines it. Only this place's K values are computed.
    Raises ValueError if there is no such place.
    """
    latents = tokenizer.latents(image.unsqueeze(0))
    height, width = latents.shape[2:]
    if not (0 <= row < height and 0 <= col < width):
        raise ValueError(f"the picture has {height}x{width} tokens, so no ({row}, {col})")
    log_p = tokenizer.quantizer.log_posterior(latents[:, :, row, col])[0]
    best = log_p.topk(min(n, len(log_p)))
    return best.indices.cpu().numpy(), best.values.exp().float().cpu().numpy()


def as_array(x: Tensor | np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """A tensor or an array as an array of ``dtype`` on the CPU."""
    return np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x).astype(dtype, copy=False)
