"""Real patches: for each code a few pieces of pictures that it encodes, in a small file.

They are pieces of the pictures themselves. Publishing them publishes those: only pictures whose
terms allow it may be used.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..images import to_pixels
from ..quantizers.levels import one_codebook
from .codes import patch_of

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

PER_CODE = 6
BUDGET = 1_200_000
"""Most bytes that all patches of a bundle may take."""
MOST_SIDE = 32
"""Side in pixels above which a patch is reduced."""
QUALITIES = (88, 80, 70, 58, 45, 30)
"""Qualities of WebP, of which the first that keeps within the budget is used."""


def gather_patches(
    tokenizer: Tokenizer,
    pictures: Iterable[Tensor],
    *,
    source: str,
    per_code: int = PER_CODE,
    budget: int = BUDGET,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Return up to ``per_code`` patches of each code, drawn evenly among its places.

    pictures: images (C, H, W) in [-1, 1], read one by one. Different pictures come first: a second
    place in one is used only if a code occurs in too few. source: a description of them.
    progress: called with the number of pictures read so far.

    Returns the arrays for an atlas: ``patches`` uint8 (bytes,), a WebP sheet; ``patches_of`` int64
    (K,), the number of each code; ``patches_side``, the side of a patch in pixels;
    ``patches_context``, the number of cells around the code's own that it shows;
    ``patches_source``; and ``patches_pictures``, the number of pictures read. ``unpack_patches``
    reads them. Raises ValueError if there is no picture, if ``per_code`` is below 1, or for a
    tokenizer with several levels.
    """
    if per_code < 1:
        raise ValueError(f"a code must have 1 patch or more, got {per_code}")
    one_codebook(tokenizer.quantizer, "a collection of patches by code")
    size, f = tokenizer.codebook_size, tokenizer.downsampling
    context = 1 if f >= 8 else 2
    generator = np.random.default_rng(seed)
    keys = np.full((size, per_code), np.inf)
    kept: dict[tuple[int, int], np.ndarray] = {}
    done = 0
    for done, image in enumerate(pictures, start=1):
        with torch.no_grad():
            ids = tokenizer.encode(image[None].to(tokenizer.device))[0].cpu().numpy()
        pixels = to_pixels(tokenizer.visible(image))
        for place, key in _candidates(ids, generator):
            code = int(ids[place])
            slot = int(keys[code].argmax())
            if key < keys[code, slot]:
                keys[code, slot] = key
                kept[code, slot] = _shrunk(patch_of(pixels, *place, f, context))
        if progress is not None:
            progress(done)
    if not done:
        raise ValueError("patches need at least one picture, and there is none")
    counts = np.isfinite(keys).sum(axis=1)
    order = np.argsort(keys, axis=1)
    tiles = [kept[code, slot] for code in range(size) for slot in order[code, : counts[code]]]
    sheet, counts = _packed(np.stack(tiles), counts, budget)
    return {
        "patches": sheet,
        "patches_of": counts.astype(np.int64),
        "patches_side": np.array(tiles[0].shape[0]),
        "patches_context": np.array(context),
        "patches_source": np.array(source),
        "patches_pictures": np.array(done),
    }


def unpack_patches(atlas: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the patches of an atlas, or None if it has none.

    uint8 (n, s, s, 3), code by code, and int64 (K + 1,), the first index of each code's. Raises
    ValueError if they cannot be read.
    """
    if not {"patches", "patches_of", "patches_side"} <= atlas.keys():
        return None
    starts = np.concatenate([[0], np.cumsum(atlas["patches_of"])]).astype(np.int64)
    side, count = int(atlas["patches_side"]), int(starts[-1])
    try:
        with Image.open(io.BytesIO(atlas["patches"].tobytes()), formats=["WEBP"]) as sheet:
            pixels = np.asarray(sheet.convert("RGB"))
        columns = pixels.shape[1] // side
        cells = pixels.reshape(-1, side, columns, side, 3).swapaxes(1, 2)
        return cells.reshape(-1, side, side, 3)[:count], starts
    except (OSError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"the patches of the atlas cannot be read ({error})") from None


def _candidates(
    ids: np.ndarray, generator: np.random.Generator
) -> Iterable[tuple[tuple[int, int], float]]:
    """Yield the places of a token grid (h, w) with a key each; the lowest keys of a code are kept.

    The whole part of a key counts the code's places in this picture, the rest is drawn at random.
    """
    drawn = generator.random(ids.size)
    flat = ids.ravel()
    order = np.lexsort((drawn, flat))
    first = np.searchsorted(flat[order], flat[order])
    keys = np.arange(ids.size) - first + drawn[order]
    rows, columns = np.divmod(order, ids.shape[1])
    return zip(zip(rows.tolist(), columns.tolist(), strict=True), keys.tolist(), strict=True)


def _shrunk(patch: np.ndarray) -> np.ndarray:
    if patch.shape[0] <= MOST_SIDE:
        return patch
    size = (MOST_SIDE, MOST_SIDE)
    return np.asarray(Image.fromarray(patch).resize(size, Image.Resampling.BOX))


def _packed(tiles: np.ndarray, counts: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Return tiles (n, s, s, 3), ``counts`` (K,) of them per code, as a WebP sheet uint8 (bytes,).

    The sheet is kept within the budget by lower quality, then by fewer patches per code, then by
    fewer codes. Also returns the counts that are left.
    """
    while True:
        for quality in QUALITIES:
            data = _webp(tiles, quality)
            if len(data) <= budget:
                return np.frombuffer(data, np.uint8), counts
        starts = np.cumsum(counts) - counts
        fewer = np.minimum(counts, max(1, int(counts.max()) // 2))
        if counts.max() == 1:
            fewer = counts * (np.cumsum(counts) % 2 == 0)
        if not fewer.any():
            raise ValueError(f"{budget} bytes are too few for a single patch")
        chosen = np.concatenate(
            [np.arange(start, start + n) for start, n in zip(starts, fewer, strict=True)]
        )
        tiles, counts = tiles[chosen], fewer


def _webp(tiles: np.ndarray, quality: int) -> bytes:
    count, side = tiles.shape[:2]
    columns = int(np.ceil(np.sqrt(count)))
    rows = int(np.ceil(count / columns))
    cells = np.zeros((rows * columns, side, side, 3), np.uint8)
    cells[:count] = tiles
    cells = cells.reshape(rows, columns, side, side, 3).swapaxes(1, 2)
    buffer = io.BytesIO()
    sheet = Image.fromarray(cells.reshape(rows * side, columns * side, 3))
    sheet.save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()
