"""Maps of a codebook: every code a point, similar codes near one another.

PCA takes no time and keeps distances as far as a plane can; UMAP (McInnes et al., arXiv 1802.03426)
keeps neighborhoods instead and takes seconds to minutes. ``umap`` is imported when it is used.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from .codes import as_array, main_axes

if TYPE_CHECKING:
    from umap import UMAP

Progress = Callable[[float, str], None]
"""A function called with the share done, 0 to 1, and a description of the current work."""

FEWEST = 8
"""Least number of codes for a UMAP."""
WHOLE = 65_536
"""From this many codes on, SAMPLE of them are laid out, and the others placed among them."""
SAMPLE = 16_384


def pca_map(codebook: Tensor | np.ndarray, axes: int = 2) -> np.ndarray:
    """Return the codebook (K, D) on its first main axes, float32 (K, ``axes``), centered.

    The signs of the axes are deterministic.
    """
    scores = main_axes(as_array(codebook), axes)
    return np.pad(scores, ((0, 0), (0, axes - scores.shape[1])))  # D may be smaller


def neighbor_lists(
    codebook: Tensor | np.ndarray,
    n: int,
    progress: Callable[[float], None] | None = None,
    rows: int = 512,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``n`` nearest codes of each code, itself first: ids int64 and distances (K, n).

    Exact; the distances are float32. Raises ValueError if the codebook (K, D) has fewer than ``n``
    codes.
    """
    codes = torch.from_numpy(as_array(codebook))
    if not 1 <= n <= len(codes):
        raise ValueError(f"{len(codes)} codes have 1 to {len(codes)} neighbors, not {n}")
    norms = codes.square().sum(dim=1)
    ids, distances = [], []
    for start in range(0, len(codes), rows):
        some = codes[start : start + rows]
        squares = torch.addmm(norms, some, codes.T, alpha=-2).add_(
            norms[start : start + rows, None]
        )
        # Rounding must not rank a twin before the code itself.
        squares[torch.arange(len(some)), torch.arange(start, start + len(some))] = -torch.inf
        best = squares.topk(n, largest=False)
        ids.append(best.indices)
        distances.append(best.values.clamp_(min=0).sqrt_())
        if progress is not None:
            progress(min(1.0, (start + rows) / len(codes)))
    return torch.cat(ids).numpy(), torch.cat(distances).numpy()


def all_neighbors(codebook: Tensor | np.ndarray, n: int = 8, rows: int = 512) -> np.ndarray:
    """Return the nearest codes of each code without itself: ids int64 (K, min(n, K - 1))."""
    ids, _ = neighbor_lists(codebook, min(n + 1, len(codebook)), rows=rows)
    return ids[:, 1:]


def umap_map(
    codebook: Tensor | np.ndarray,
    axes: int = 2,
    neighbors: int = 15,
    *,
    epochs: int | None = None,
    spread: float = 1.0,
    seed: int = 0,
    uses: np.ndarray | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Return the codebook (K, D) as UMAP lays it out, float32 (K, ``axes``), centered.

    It starts from the main axes, so that a map keeps its orientation, and its neighbors are exact.
    neighbors: number of neighbors to which each code keeps close; few show detail, many the whole.
    epochs: epochs of the layout; by default 200, and 100 above 16,384 codes (our choice).
    uses: the counts (K,) of the codes. From WHOLE codes on, a sample of the used ones is laid out,
    filled up with others, and UMAP's ``transform`` places the rest.
    Raises ValueError for fewer than FEWEST codes, or fewer neighbors than 2.
    """
    codes = as_array(codebook)
    if len(codes) < FEWEST:
        raise ValueError(f"a UMAP needs {FEWEST} codes or more, but this codebook has {len(codes)}")
    if neighbors < 2:
        raise ValueError(f"a UMAP needs 2 neighbors or more, got {neighbors}")
    report = progress or (lambda share, words: None)
    if len(codes) < WHOLE:
        _, layout = _laid_out(codes, axes, neighbors, epochs, spread, seed, report)
    else:
        layout = _sampled(codes, axes, neighbors, epochs, spread, seed, uses, report)
    report(1.0, "Laying out the map")
    return (layout - layout.mean(axis=0)).astype(np.float32)


def _laid_out(
    codes: np.ndarray,
    axes: int,
    neighbors: int,
    epochs: int | None,
    spread: float,
    seed: int,
    report: Progress,
) -> tuple[UMAP, np.ndarray]:
    """Return UMAP and its layout float32 (K, ``axes``)."""
    neighbors = min(neighbors, len(codes) - 1)
    report(0.0, "Finding each code's neighbors")
    known = neighbor_lists(codes, neighbors, lambda done: report(0.2 * done, "Finding neighbors"))
    report(0.2, "Loading UMAP, which is compiled at its first use")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a single thread and an unneeded search index
        from umap import UMAP

        rounds = epochs or (100 if len(codes) > 16_384 else 200)
        bar = _BarReader(lambda done: report(0.3 + 0.7 * done / rounds, "Laying out the map"))
        umap = UMAP(
            n_components=axes,
            n_neighbors=neighbors,
            n_epochs=rounds,
            spread=spread,
            min_dist=0.15 * spread,
            # annotated as str, but an array of starting points is documented as well
            init=_start(codes, axes, seed),  # pyright: ignore[reportArgumentType]
            precomputed_knn=(known[0], known[1]),
            force_approximation_algorithm=True,
            random_state=seed,
            tqdm_kwds={
                "disable": False,
                "file": bar,
                "bar_format": "{n}",
                "mininterval": 0.0,  # report by epochs, not by time
                "miniters": max(1, rounds // 100),
            },
        )
        layout = cast(np.ndarray, umap.fit_transform(codes))
    return umap, layout


def _sampled(
    codes: np.ndarray,
    axes: int,
    neighbors: int,
    epochs: int | None,
    spread: float,
    seed: int,
    uses: np.ndarray | None,
    report: Progress,
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    used = np.zeros(len(codes), bool) if uses is None else uses > 0
    # Used codes in random order, then the others: no more than the sample of either.
    order = np.argsort(rng.random(len(codes)) + ~used, kind="stable")
    sample, rest = np.sort(order[:SAMPLE]), np.sort(order[SAMPLE:])
    layout = np.empty((len(codes), axes), np.float32)
    umap, layout[sample] = _laid_out(
        codes[sample], axes, neighbors, epochs, spread, seed,
        lambda share, words: report(0.5 * share, f"{words}: a sample of {SAMPLE:,} codes"),
    )  # fmt: skip
    # Found exactly, too, instead of by UMAP's index, which takes a minute to compile.
    umap._knn_search_index = _ExactSearch(codes[sample])
    umap.tqdm_kwds = {"disable": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in range(0, len(rest), SAMPLE):
            some = rest[start : start + SAMPLE]
            layout[some] = umap.transform(codes[some])
            report(0.5 + 0.5 * (start + len(some)) / len(rest), "Placing the other codes")
    return layout


class _ExactSearch:
    """A search in the laid-out codes, with the part of NNDescent's interface that UMAP uses."""

    _angular_trees = False

    def __init__(self, codes: np.ndarray) -> None:
        self._codes = torch.from_numpy(codes)
        self._norms = self._codes.square().sum(dim=1)

    def query(self, rows: np.ndarray, k: int, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the ``k`` nearest codes of each row, int32 (n, k), and their distances."""
        ids, distances = [], []
        for some in torch.from_numpy(rows).split(512):
            own = some.square().sum(dim=1, keepdim=True)
            squares = torch.addmm(self._norms, some, self._codes.T, alpha=-2).add_(own)
            best = squares.topk(k, largest=False)
            ids.append(best.indices.int())
            distances.append(best.values.clamp_(min=0).sqrt_())
        return torch.cat(ids).numpy(), torch.cat(distances).numpy()


def _start(codes: np.ndarray, axes: int, seed: int) -> np.ndarray:
    """Return the start of the layout: the main axes, with a little noise to separate twins."""
    start = pca_map(codes, axes).astype(np.float64)
    noise = np.random.default_rng(seed).normal(size=start.shape)
    return (start + 1e-3 * max(float(start.std()), 1e-6) * noise).astype(np.float32)


class _BarReader(io.StringIO):
    """A stream for UMAP's progress bar that reports the number of epochs done."""

    def __init__(self, report: Callable[[int], None]) -> None:
        super().__init__()
        self.report = report

    def write(self, text: str) -> int:
        found = re.search(r"\d+", text)
        if found:
            self.report(int(found.group()))
        return len(text)
