"""The spread of the study's figures between seeds, and the differences that it can decide.

The methods with several seeds show how far two runs differ that have nothing else apart. Their
pooled standard deviation serves for all runs, although only those of one table are repeated. A
difference between methods is *decided* if chance alone exceeds it in one of 20 pairs at most
(Student's t with the spread's degrees of freedom); means over several seeds make that limit lower.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

Row = dict[str, Any]
SEEDS = ("-fast", "-seed1", "-seed2")
"""Ends of the names of runs that differ in the seed alone; the first one's row holds the means."""
METHODS = ("vqgan", "regvq", "simvq", "nsvq")
"""Methods with runs of several seeds."""
REPEATED = tuple(method + size for size in ("", "-16k") for method in METHODS)
"""Beginnings of their names: each method with 1,024 and with 16,384 codes."""
KEYS = (
    "utilization", "perplexity", "psnr", "ssim", "feature_distance", "fd", "generation_fd",
    "lpips_alex", "lpips_vgg", "alexnet_fd",
)  # fmt: skip
"""Figures that are averaged over seeds."""
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
"""Two-sided 5 % limits of Student's t for 1 to 10 degrees of freedom; with more, the last."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the figures of runs that differ in the seed alone."""

    deviations: dict[str, float]
    """By key of a row; a key whose figures were never repeated is missing."""
    freedom: dict[str, int]
    """Degrees of freedom by key: the repetitions, without the first run of each method."""

    def threshold(self, key: str, weight: float = 2.0) -> float:
        """Return the size above which a difference is decided, infinite if no spread is known.

        ``weight`` is the sum of 1/n over the figures that are compared, each a mean over n seeds.
        """
        if key not in self.deviations:
            return math.inf
        limit = STUDENT[min(self.freedom[key], len(STUDENT)) - 1]
        return limit * self.deviations[key] * math.sqrt(weight)

    def lower(self, key: str, a: Row, b: Row) -> bool | None:
        """Return whether figure ``key`` is lower in ``a`` than in ``b``; None if undecided."""
        return decided(b[key] - a[key], self.threshold(key, weight(key, a, b)))


def decided(difference: float, threshold: float) -> bool | None:
    """Return whether a difference is positive; None if it is within the threshold."""
    return difference > 0 if abs(difference) > threshold else None


def weight(key: str, *rows: Row) -> float:
    """Return the sum of 1/n over rows whose figures are means over n seeds."""
    return sum(1 / seeds_of(key, row) for row in rows)


def seeds_of(key: str, row: Row) -> int:
    """Return the number of seeds over which a row's figure is averaged."""
    return row.get("seeds", {}).get(key, 1)


def repeated(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the runs that differ in the seed alone by the beginning of their names, the first seed
    first."""
    by_name = {row["name"]: row for row in rows}
    return {
        begin: [by_name[begin + end] for end in SEEDS if begin + end in by_name]
        for begin in REPEATED
    }


def spread(rows: Iterable[Row]) -> Spread:
    """Return the standard deviation of each figure, pooled over all that is repeated."""
    groups, deviations, freedom = repeated(rows), {}, {}
    for key in KEYS:
        squares, count = 0.0, 0
        for same in groups.values():
            values = _values(key, same)
            squares += sum((value - fmean(values)) ** 2 for value in values)
            count += max(len(values) - 1, 0)
        if count:
            deviations[key], freedom[key] = math.sqrt(squares / count), count
    return Spread(deviations, freedom)


def averaged(rows: Iterable[Row]) -> dict[str, Row]:
    """Return rows by name, with the means over the seeds in the row of the first seed.

    It has ``seeds``, the number of seeds by figure; the rows of the other seeds are left out.
    """
    rows = list(rows)
    found = {row["name"]: row for row in rows}
    for same in repeated(rows).values():
        if len(same) < 2 or not same[0]["name"].endswith(SEEDS[0]):
            continue
        means, seeds = {}, {}
        for key in KEYS:
            if values := _values(key, same):
                means[key], seeds[key] = fmean(values), len(values)
        found[same[0]["name"]] = same[0] | means | {"seeds": seeds}
        for row in same[1:]:
            del found[row["name"]]
    return found


def _values(key: str, rows: Iterable[Row]) -> list[float]:
    return [row[key] for row in rows if row.get(key) is not None]
