"""The drift of a run's codes during training: a compact history, extended at every save.

It is stored in the run's folder as ``history.npz``, and copied into the bundle's atlas, from which
the explorer draws it. Training does not read it, so a run is the same, bit for bit, without it.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from regvq.bundles.replacement import write_bytes
from regvq.bundles.storage import read_arrays

MOST = 40
"""Saves that are kept; if there are more, every second one is merged into the next."""
CELLS = 1 << 19
"""Saves times codes that are kept: fewer saves for a large codebook."""
FEWEST = 4
"""Saves that are kept in any case."""


def remember(
    file: Path, step: int, codebook: np.ndarray, counts: np.ndarray, due: bool = True
) -> dict[str, np.ndarray]:
    """Add a save to the history in ``file`` and return the history as an atlas holds it.

    codebook: (K, D), counts: (K,) uses on the held-out pictures of that save. Saves after ``step``
    that the file holds are dropped: the run was resumed from an earlier step. If ``due`` is False,
    the file stays as it is: a run that was not stopped at ``step`` would not have this save.

    Returns ``history_steps`` int64 (S,), ``history_counts`` uint32 (S, K), and ``history_moved``
    float16 (S, K): the distance that each code moved since the previous save (in straight lines
    from save to save; 0 if the previous codes are not known), in units of the present root mean
    square length of the codes.
    """
    codebook = np.asarray(codebook, np.float32)
    steps, uses, moved, last = _read(file, codebook.shape)
    if len(steps) and steps[-1] == step and last is not None and np.array_equal(last, codebook):
        return _for_atlas(steps, uses, moved)  # this very save; its export was interrupted
    kept = int(np.searchsorted(steps, step))
    if kept < len(steps):
        last = None  # the codes of the previous save are no longer known
    steps, uses, moved = steps[:kept], uses[:kept], moved[:kept]
    distance = np.zeros(len(codebook), np.float32)
    if kept and last is not None:
        length = max(float(np.sqrt(np.square(codebook).sum(1).mean())), 1e-12)
        distance = np.sqrt(np.square(codebook - last).sum(1)) / length
    steps = np.append(steps, np.int64(step))
    uses = np.concatenate([uses, np.asarray(counts).astype(np.uint32)[None]])
    moved = np.concatenate([moved, distance[None]])
    while len(steps) > max(FEWEST, min(MOST, CELLS // len(codebook))):
        steps, uses, moved = _thinned(steps, uses, moved)
    if due:
        history = {"history_steps": steps, "history_counts": uses, "history_moved": moved}
        stream = io.BytesIO()
        np.savez_compressed(stream, **history, codebook=codebook)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(file, stream.getvalue())
    return _for_atlas(steps, uses, moved)


def _for_atlas(steps: np.ndarray, uses: np.ndarray, moved: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "history_steps": steps,
        "history_counts": uses,
        "history_moved": moved.clip(0, 6e4).astype(np.float16),
    }


def _read(file: Path, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Return steps, counts, distances and the last codebook of a file; empty if it does not fit."""
    empty = (np.empty(0, np.int64), np.empty((0, shape[0]), np.uint32),
             np.empty((0, shape[0]), np.float32), None)  # fmt: skip
    try:
        found: Mapping[str, np.ndarray] = read_arrays(file)
        names = ("history_steps", "history_counts", "history_moved", "codebook")
        steps, uses, moved, last = (found[name] for name in names)
    except FileNotFoundError:
        return empty
    except (OSError, ValueError, KeyError) as error:
        print(f"WARNING: {file} cannot be read ({error}); the drift of earlier saves is lost.")
        return empty
    fits = last.shape == shape and uses.shape == moved.shape == (len(steps), shape[0])
    return (steps, uses, moved, last) if fits else empty


def _thinned(
    steps: np.ndarray, uses: np.ndarray, moved: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drop every second save, but not the first and the last; distances add up over the dropped."""
    kept = np.arange(len(steps))[(len(steps) - 1) % 2 :: 2]
    if kept[0] != 0:
        kept = np.concatenate([[0], kept])
    sums = (moved[a + 1 : b + 1].sum(0) for a, b in itertools.pairwise(kept))
    distances = np.stack([moved[0], *sums])
    return steps[kept], uses[kept], distances
