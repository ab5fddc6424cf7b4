"""The atlas of a codebook: arrays for the app, computed once and stored in the bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ..bundles.storage import rewrite_files, save_arrays
from ..quantizers.levels import one_codebook
from . import embedding
from .arrangement import grid_layout, order_by_similarity, paint_features
from .codes import paint_codes
from .counts import count_codes

if TYPE_CHECKING:
    from ..bundles.bundle import Bundle
    from ..tokenizer import Tokenizer

RECOUNT_INVARIANT = ("umap", "patches", "history")
"""Prefixes of the arrays that do not depend on the pictures that codes are counted on."""


LARGE = 8192
"""From this many codes on, a code is painted amid 3 x 3 tokens, not 5 x 5: of 16,384 codes of 16
pixels, a network of 72 M parameters paints the wider fields for almost an hour on two cores."""

LARGEST = 65_536
"""Codes up to which an atlas holds the pictures of all codes. Of 2^18 codes, they take half an
hour and 200 MB, so that the explorer paints only those that somebody looks at (our choice)."""


def field_side(size: int) -> int:
    """Return the side, in tokens, of the field amid which each of ``size`` codes is painted."""
    return 3 if size >= LARGE else 5


def build_atlas(
    tokenizer: Tokenizer,
    pictures: Iterable[Tensor] | None = None,
    *,
    source: str,
    counts: np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Return the arrays of ``atlas.npz``, none of them pickled.

    pictures: images (C, H, W) in [-1, 1] to count codes on; or give their ``counts`` (K,).
    source: a description of them ("100 held-out photographs"), shown beside every count.
    progress: called with the number of pictures counted so far.

    Returns: ``counts`` int64 (K,); ``source``, a string; ``paints`` uint8 (K, f, f, 3), the picture
    of each code; ``mean_color`` uint8 (K, 3) of the paints; ``pca`` float32 (K, 2), the codebook on
    its main axes; ``order_similarity`` int64 (K,), code ids in a sequence with similar neighbors;
    ``grid`` int64 (K,), each code's cell in a grid of ``grid_columns`` columns with similar
    neighbors (row by row, cells 0 to K - 1); ``neighbours`` int64 (K, 8 or fewer), nearest first.
    With more than LARGEST codes only ``counts``, ``source`` and ``pca``.
    Raises ValueError if neither or both of pictures and counts are given, if counts do not match
    the codebook, or for a tokenizer with several levels.
    """
    if (pictures is None) == (counts is None):
        raise ValueError("an atlas needs either pictures to count codes on, or the counts")
    quantizer, size = one_codebook(tokenizer.quantizer, "an atlas"), tokenizer.codebook_size
    if pictures is not None:
        counts = count_codes(tokenizer, pictures, progress)
    counts = np.asarray(counts, dtype=np.int64)
    if counts.shape != (size,):
        raise ValueError(f"counts must have an entry for each of {size} codes, got {counts.shape}")
    codebook = quantizer.codebook()
    known = {
        "counts": counts,
        "source": np.array(source),
        "pca": embedding.pca_map(codebook),
    }
    if size > LARGEST:
        return known
    paints = paint_codes(tokenizer, side=field_side(size))
    features = paint_features(paints)
    columns = grid_columns(size)
    return known | {
        "paints": paints,
        "mean_color": mean_colors(paints),
        "order_similarity": order_by_similarity(features),
        "grid": grid_layout(features, columns),
        "grid_columns": np.array(columns, dtype=np.int64),
        "neighbours": embedding.all_neighbors(codebook),
    }


def fits(atlas: Mapping[str, np.ndarray], tokenizer: Tokenizer) -> bool:
    """Return True if an atlas holds the arrays of ``build_atlas`` in the shapes of this tokenizer.

    An atlas of an earlier version, or one that was copied from another checkpoint, may not. That of
    a large codebook has no pictures of the codes, and nothing that follows from them.
    """
    size, f = tokenizer.codebook_size, tokenizer.downsampling
    shapes: dict[str, tuple[int, ...]] = {"counts": (size,), "source": (), "pca": (size, 2)}
    if "paints" not in atlas and size > LARGEST:
        return all(name in atlas and atlas[name].shape == shapes[name] for name in shapes)
    shapes |= {
        "paints": (size, f, f, 3), "mean_color": (size, 3), "order_similarity": (size,),
        "grid": (size,), "grid_columns": (),
    }  # fmt: skip
    if any(name not in atlas or atlas[name].shape != shape for name, shape in shapes.items()):
        return False
    near = atlas.get("neighbours")
    if near is None or near.ndim != 2 or len(near) != size:
        return False
    ids = (atlas["order_similarity"], atlas["grid"], near)
    return all(each.size == 0 or 0 <= each.min() <= each.max() < size for each in ids)


def mean_colors(paints: np.ndarray) -> np.ndarray:
    """Return the mean color uint8 (K, 3) of each picture in paints uint8 (K, f, f, 3)."""
    return np.rint(paints.mean(axis=(1, 2))).astype(np.uint8)


def grid_columns(size: int) -> int:
    """Return the number of columns of the near-square grid that shows ``size`` codes."""
    return int(np.ceil(np.sqrt(size)))


def add_umap(path: str | Path) -> None:
    """Lay the codes of the bundle at ``path`` out by UMAP and store that in its ``atlas.npz``.

    Adds ``umap2`` float32 (K, 2) and ``umap3`` float32 (K, 3), so that an app shows them at once.
    Raises CheckpointError for a bundle that cannot be read, and ValueError for one with too few
    codes or without an atlas.
    """
    from ..bundles.bundle import find_bundle
    from ..checkpoints import load_tokenizer

    bundle = find_bundle(path)
    if not bundle.atlas:
        raise ValueError(f"{bundle.path} has no atlas.npz to add a map to")
    codebook = load_tokenizer(bundle).quantizer.codebook()
    extend_atlas(bundle, {f"umap{axes}": embedding.umap_map(codebook, axes) for axes in (2, 3)})


def extend_atlas(bundle: Bundle, found: Mapping[str, np.ndarray]) -> None:
    """Put the arrays ``found`` into the bundle's ``atlas.npz``, replacing those of the same names.

    Raises ValueError for a bundle without an atlas that can be read.
    """
    rewrite_files(bundle.path, {"atlas.npz": extended_atlas(bundle, found)})


def extended_atlas(bundle: Bundle, found: Mapping[str, np.ndarray]) -> Callable[[Path], None]:
    """Return the function that writes a bundle's atlas with the arrays ``found`` to a file.

    Raises ValueError for a bundle without an atlas that can be read.
    """
    if not bundle.atlas:
        lack = "a damaged" if (bundle.path / "atlas.npz").exists() else "no"
        raise ValueError(
            f"{bundle.path} has {lack} atlas.npz; run train/evaluate.py with --publish."
        )
    return partial(save_arrays, {**bundle.atlas, **found})


def recount_invariant(atlas: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of an atlas that stay valid when codes are counted on other pictures.

    They are the embeddings, the real patches and the drift of the codes during training.
    """
    return {name: atlas[name] for name in atlas if name.startswith(RECOUNT_INVARIANT)}
