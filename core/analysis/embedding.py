"""Maps of a codebook: every code a point, codes that are alike near one another.

PCA is at once and keeps distances as far as a plane can; UMAP (McInnes et al., arXiv 1802.03426)
keeps neighborhoods instead and takes seconds to minutes. ``umap`` is imported when it is used.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .codes import as_array, main_axes

Progress = Callable[[float, str], None]
"""Called with the share that is done, 0 to 1, and what is being done."""

FEWEST = 8
"""Codes that a UMAP needs at least."""


def pca_map(codebook: Tensor | np.ndarray, axes: int = 2) -> np.ndarray:
    """The codebook (K, D) on its first main axes, float32 (K, ``axes``), centered, signs fixed."""
    scores = main_axes(as_array(codebook), axes)
    return np.pad(scores, ((0, 0), (0, axes - scores.shape[1])))  # D may be smaller


def neighbor_lists(
    codebook: Tensor | np.ndarray,
    n: int,
    progress: Callable[[float], None] | None = None,
    rows: int = 512,
) -> tuple[np.ndarray, np.ndarray]:
    """The ``n`` nearest codes of each code, itself first: ids int64 and distances float32 (K, n).

    Exact. Raises ValueError if the codebook (K, D) has fewer than ``n`` codes.
    """
    codes = torch.from_numpy(as_array(codebook))
    if not 1 <= n <= len(codes):
        raise ValueError(f"{len(codes)} codes have 1 to {len(codes)} neighbours, not {n}")
    norms = codes.square().sum(dim=1)
    ids, apart = [], []
    for start in range(0, len(codes), rows):
        some = codes[start : start + rows]
        squares = torch.addmm(norms, some, codes.T, alpha=-2).add_(
            norms[start : start + rows, None]
        )
        # Rounding must not put a near twin before the code itself.
        squares[torch.arange(len(some)), torch.arange(start, start + len(some))] = -torch.inf
        best = squares.topk(n, largest=False)
        ids.append(best.indices)
        apart.append(best.values.clamp_(min=0).sqrt_())
        if progress is not None:
            progress(min(1.0, (start + rows) / len(codes)))
    return torch.cat(ids).numpy(), torch.cat(apart).numpy()


def umap_map(
    codebook: Tensor | np.ndarray,
    axes: int = 2,
    neighbors: int = 15,
    *,
    epochs: int | None = None,
    spread: float = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> np.ndarray:
    """The codebook (K, D) as UMAP lays it out, float32 (K, ``axes``), centered.

    It starts from the main axes, so that a map keeps its orientation, and its neighbors are exact.
    neighbors: how many of them each code holds on to; few show detail, many the whole.
    epochs: rounds of the layout; by default 200, and 100 above 16,384 codes (our choice).
    Raises ValueError for fewer than FEWEST codes, or fewer neighbors than 2.
    """
    codes = as_array(codebook)
    if len(codes) < FEWEST:
        raise ValueError(f"a UMAP needs {FEWEST} codes or more, this codebook has {len(codes)}")
    if neighbors < 2:
        raise ValueError(f"a UMAP needs 2 neighbours or more, got {neighbors}")
    tell = progress or (lambda share, words: None)
    neighbors = min(neighbors, len(codes) - 1)
    tell(0.0, "Finding each code's neighbours")
    known = neighbor_lists(codes, neighbors, lambda done: tell(0.2 * done, "Finding neighbours"))
    tell(0.2, "Loading UMAP, which compiles itself the first time")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one thread, and of a search index that is not needed
        from umap import UMAP

        rounds = epochs or (100 if len(codes) > 16_384 else 200)
        watch = _Watch(lambda done: tell(0.3 + 0.7 * done / rounds, "Laying out the map"))
        layout = UMAP(
            n_components=axes,
            n_neighbors=neighbors,
            n_epochs=rounds,
            spread=spread,
            min_dist=0.15 * spread,
            init=_start(codes, axes, seed),
            precomputed_knn=(known[0], known[1]),
            force_approximation_algorithm=True,
            random_state=seed,
            tqdm_kwds={
                "disable": False,
                "file": watch,
                "bar_format": "{n}",
                "mininterval": 0.0,  # told by the round, not by the clock
                "miniters": max(1, rounds // 100),
            },
        ).fit_transform(codes)
    tell(1.0, "Laying out the map")
    return (layout - layout.mean(axis=0)).astype(np.float32)


def _start(codes: np.ndarray, axes: int, seed: int) -> np.ndarray:
    """Where the layout begins: the main axes, and a little noise, for twins must come apart."""
    start = pca_map(codes, axes).astype(np.float64)
    noise = np.random.default_rng(seed).normal(size=start.shape)
    return (start + 1e-3 * max(float(start.std()), 1e-6) * noise).astype(np.float32)


class _Watch(io.StringIO):
    """What UMAP's progress bar writes to: it hears the number of rounds."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        super().__init__()
        self.tell = tell

    def write(self, text: str) -> int:
        found = re.search(r"\d+", text)
        if found:
            self.tell(int(found.group()))
        return len(text)
