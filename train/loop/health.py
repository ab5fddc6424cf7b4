"""A warning when the codes of a tokenizer die, with the remedy."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from regvq.analysis.diagnose import Remedy, remedies_of
from regvq.metrics.codebook_usage import usage_of

from ..config.tokenizer import RunConfig

SETTLED = 0.2
"""Share of the steps before which no run is judged: all codes move at first."""
SOONEST, LATEST = 100, 2000
"""The same in steps: the usage window is full, and the end of a long run is too late."""
LEAST_USED = 0.5
"""Utilization in the window of 100 steps that every quantizer of this project can hold."""
LEAST_SPREAD = 0.03
"""Perplexity as a share of the codes; the shipped tokenizers have 0.2 and more. Our choice."""
FALLEN = 0.7
"""Share of the largest utilization so far below which codes are dying."""

_FLAGS = {
    "let the codes learn at ten times the network's rate": "--codes-rate 10",
    "lower the learning rate": "--optimizer.lr",
}
"""Flags of remedies that are no settings of a quantizer."""


def by_level(counts: Tensor) -> dict[str, float]:
    """Return the utilization and the perplexity of each level for the log, from ``counts`` (L, K);
    nothing from the counts (K,) of a single one."""
    figures: dict[str, float] = {}
    for number, row in enumerate(counts if counts.ndim > 1 else (), 1):
        usage = usage_of(row)
        figures[f"utilization_level_{number}"] = usage.utilization
        figures[f"perplexity_level_{number}"] = usage.perplexity
    return figures


def dying_level(
    config: RunConfig, codes: int, figures: Mapping[str, float], most: list[float], step: int
) -> str | None:
    """Return the sentence of ``dying_codes`` on the first level that has one, otherwise None.

    ``most``: the largest utilization of each level so far, which this step's raises.
    """
    levels, words = len(most), None
    for level in range(levels):
        ending = f"_level_{level + 1}" if levels > 1 else ""
        named = f" of level {level + 1} of {levels}" if levels > 1 else ""
        used, spread = figures[f"utilization{ending}"], figures[f"perplexity{ending}"]
        words = words or dying_codes(config, codes, used, spread, most[level], step, named)
        most[level] = max(most[level], used)
    return words


def dying_codes(
    config: RunConfig,
    codes: int,
    utilization: float,
    perplexity: float,
    most: float,
    step: int,
    level: str = "",
) -> str | None:
    """Return a sentence if too few of ``codes`` are used in the last 100 steps, otherwise None.

    ``most``: the largest utilization of the run so far. ``level``: the words that name the level of
    the codes, if there are several.
    """
    settled = max(SOONEST, min(LATEST, round(SETTLED * config.steps)))
    if step < settled or _tokens(config) < 4 * codes:
        return None
    low = utilization < LEAST_USED or perplexity < LEAST_SPREAD * codes
    if not low and utilization >= FALLEN * most:
        return None
    before = f" (at most {most:.0%} before)" if most > utilization else ""
    remedy = " or ".join(map(_with_flag, remedies_of(config.tokenizer.quantizer)))
    return (
        f"codes are dying: at step {step} the last 100 steps used {utilization:.0%} of {codes:,} "
        f"codes{level}{before}, with a perplexity of {perplexity:.0f}; start another run and "
        f"{remedy}."
    )


def _with_flag(remedy: Remedy) -> str:
    """Return a remedy with the flag of ``train/run.py`` that does it."""
    flag = _FLAGS.get(remedy.words)
    if remedy.setting is not None:
        name, value = remedy.setting
        flag = f"--tokenizer.quantizer.{name.replace('_', '-')}"
        flag += "" if value is None else f" {value}"
    return remedy.words if flag is None else f"{remedy.words} ({flag})"


def _tokens(config: RunConfig) -> int:
    """Return the tokens in the usage window of one process."""
    side = config.data.size // config.tokenizer.network.downsampling
    return 100 * config.batch * side * side
