"""The figures that a run has written to ``log.jsonl``."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

LOG = "log.jsonl"


def read_log(run: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each figure of a run's folder: its steps int64 (n,) and its values float64 (n,).

    Lines that are no rows, such as the half of one that is being written, and values that are not
    finite are left out. Raises FileNotFoundError for a folder without a log.
    """
    points: dict[str, dict[int, float]] = {}
    for line in (Path(run) / LOG).read_bytes().splitlines():
        try:
            row = json.loads(line)
            step = row.pop("step")
        except (ValueError, AttributeError, KeyError, RecursionError):
            continue
        if type(step) is not int:
            continue
        for name, value in row.items():
            if type(value) in (int, float) and math.isfinite(value):
                points.setdefault(name, {})[step] = float(value)
    return {
        name: (np.array(sorted(known)), np.array([known[step] for step in sorted(known)]))
        for name, known in points.items()
    }
