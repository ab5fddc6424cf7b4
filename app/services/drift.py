"""The change of a codebook over training, from a bundle's history."""

from __future__ import annotations

from typing import Any

import numpy as np

from .checkpoints import TokenizerHandle
from .encoding import pack


def drift_history(handle: TokenizerHandle) -> dict[str, Any] | None:
    """Return a bundle's drift history (``train.export.drift_history``); None without one.

    Steps (S,); used codes and perplexity (S,) in the counts of each save; the distance that the
    codes moved since the previous save: median and 90th percentile (S,), and of each code (S, K);
    uses (S, K).
    """
    from regvq.metrics.codebook_usage import usage_of

    known = handle.bundle.atlas
    parts = [known.get(f"history_{name}") for name in ("steps", "counts", "moved")]
    if any(part is None for part in parts):
        return None
    steps, counts, moved = parts
    if not len(steps) or counts.ndim != 2 or counts.shape != moved.shape:
        return None
    if counts.shape != (len(steps), len(known.get("counts", ()))):
        return None
    usage = [usage_of(row.astype(np.int64)) for row in counts]
    distances = moved.astype(np.float32)
    return {
        "steps": steps.tolist(),
        "used": [one.used for one in usage],
        "perplexity": [one.perplexity for one in usage],
        "median": np.median(distances, axis=1).tolist(),
        "far": np.quantile(distances, 0.9, axis=1).tolist(),
        "codes": counts.shape[1],
        "tokens": counts.sum(axis=1).tolist(),
        "counts": pack(counts, "<u4"),
        "moved": pack(distances, "<f4"),
    }
