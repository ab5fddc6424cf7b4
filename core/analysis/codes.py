"""Facts about one code: its picture, its places, its neighbors."""

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
    """Return the picture of each code, uint8 (n, f, f, 3): the center of a field of that code.

    A decoder sees more than one token, so a code has no picture of its own; a field of
    ``side`` x ``side`` (odd) equal tokens shows what it stands for among equal ones.
    ids: the codes, by default all K. Raises ValueError for an even ``side`` or an unknown code.
    """
    if side < 1 or side % 2 == 0:
        raise ValueError(f"side must be odd, so that one cell is in the center, got {side}")
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
        paints[start : start + len(some)] = to_pixels(tokenizer.visible(images[:, :, cell, cell]))
    return paints


def nearest_codes(
    codebook: Tensor | np.ndarray, code: int, n: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``n`` codes nearest to ``code`` in the codebook (K, D), without itself.

    Returns ids int64 (n,) and Euclidean distances float32 (n,), nearest first; fewer than ``n``
    if the codebook is smaller. Raises ValueError if there is no such code.
    """
    codebook = as_array(codebook)
    if not 0 <= code < len(codebook):
        raise ValueError(f"codes are 0 to {len(codebook) - 1}, got {code}")
    squares = np.square(codebook - codebook[code]).sum(axis=1)
    squares[code] = np.inf  # a twin at distance 0 is a neighbor, the code itself is not
    ids = np.argsort(squares, kind="stable")[: min(n, len(codebook) - 1)]
    return ids.astype(np.int64), np.sqrt(squares[ids]).astype(np.float32)


def similar_tiles(
    tiles: np.ndarray, code: int, n: int = 8, known: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``n`` codes whose tiles look most like that of ``code``, without itself.

    tiles: uint8 (K, f, f, 3). known: bool (K,), False for codes that are left out. Tiles are
    compared at 4 x 4 pixels, where a shifted texture still looks the same. Returns ids int64 (m,)
    and root mean square differences on [0, 1], float32 (m,), the most similar first.
    """
    ids = np.arange(len(tiles)) if known is None else np.flatnonzero(known)
    ids = ids[ids != code]
    differences = _small(tiles[ids]) - _small(tiles[code : code + 1])
    apart = np.sqrt(np.square(differences).mean(axis=1))
    order = np.argsort(apart, kind="stable")[:n]
    return ids[order].astype(np.int64), apart[order].astype(np.float32)


def _small(tiles: np.ndarray) -> np.ndarray:
    """Return tiles uint8 (n, f, f, 3) at 4 x 4 pixels or fewer, float32 (n, F) in [0, 1]."""
    count, f = tiles.shape[:2]
    by = max(1, f // 4)
    side = f // by * by
    parts = tiles[:, :side, :side].reshape(count, side // by, by, side // by, by, 3)
    return (parts.mean(axis=(2, 4), dtype=np.float32) / 255).reshape(count, -1)


def main_axes(rows: np.ndarray, n: int) -> np.ndarray:
    """Project rows (N, F) on their first ``n`` principal axes, float32 (N, min(n, F)).

    The sign of an axis is free: here its largest entry is positive, so that a map does not flip
    from one machine to another.
    """
    centered = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    _, vectors = np.linalg.eigh(centered.T @ centered)
    vectors = vectors[:, ::-1][:, :n]
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return (centered @ (vectors * np.where(peaks < 0, -1.0, 1.0))).astype(np.float32)


def where_code(ids: Tensor | np.ndarray, code: int) -> np.ndarray:
    """Return the places of ``code`` in the token grid ``ids`` (h, w): bool (h, w)."""
    return as_array(ids, np.int64) == code


def occurrences(ids: Tensor | np.ndarray | Sequence[Tensor | np.ndarray], code: int) -> np.ndarray:
    """Return every place of ``code``: int64 (n, 3) rows of (picture, row, column).

    ids: one token grid (h, w), or several of any sizes; a single one is picture 0.
    """
    if isinstance(ids, (Tensor, np.ndarray)):
        grids: Sequence[Tensor | np.ndarray] = [ids] if ids.ndim == 2 else list(ids)
    else:
        grids = ids
    places = [np.empty((0, 3), dtype=np.int64)]
    for picture, grid in enumerate(grids):
        found = np.argwhere(where_code(grid, code))
        places.append(np.insert(found, 0, picture, axis=1).astype(np.int64))
    return np.concatenate(places)


def patch_of(
    image: Tensor | np.ndarray, row: int, col: int, f: int, context: int = 0
) -> np.ndarray:
    """Return the real patch under one token, uint8 (s, s, 3) with s = (2 * context + 1) * f.

    image: (3, H, W) in [-1, 1], or pixels uint8 (H, W, 3). ``context`` adds this many cells around;
    beyond the picture's edges its edge pixels are repeated, so every patch has the same size.
    Raises ValueError if the token is outside the picture.
    """
    pixels = to_pixels(image) if isinstance(image, Tensor) else image
    height, width = pixels.shape[:2]
    if not (0 <= row * f < height and 0 <= col * f < width):
        raise ValueError(
            f"token ({row}, {col}) is outside a {width}x{height} picture at {f} pixels per token"
        )
    reach = np.arange(-context * f, (context + 1) * f)
    rows = np.clip(row * f + reach, 0, height - 1)
    cols = np.clip(col * f + reach, 0, width - 1)
    return pixels[rows[:, None], cols[None, :]]


@torch.no_grad()
def runner_ups(
    tokenizer: Tokenizer, image: Tensor, row: int, col: int, n: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``n`` most probable codes at one place, the chosen one first.

    image: (C, H, W) in [-1, 1]. Returns ids int64 (n,) and probabilities float32 (n,), decreasing:
    p(code | latent) as the quantizer defines it. Only this place's K values are computed.
    Raises ValueError if there is no such place.
    """
    latents = tokenizer.latents(image.unsqueeze(0))
    height, width = latents.shape[2:]
    if not (0 <= row < height and 0 <= col < width):
        raise ValueError(f"the picture has {height}x{width} tokens, but no ({row}, {col})")
    log_p = tokenizer.quantizer.log_posterior(latents[:, :, row, col])[0]
    best = log_p.topk(min(n, len(log_p)))
    return best.indices.cpu().numpy(), best.values.exp().float().cpu().numpy()


def as_array(x: Tensor | np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """Return a tensor or an array as an array of ``dtype`` on the CPU."""
    return np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x).astype(dtype, copy=False)
