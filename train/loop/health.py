"""A warning when the codes of a tokenizer die, with the remedy."""

from __future__ import annotations

from regvq.quantizers import (
    IBQConfig,
    LFQConfig,
    NSVQConfig,
    RegVQConfig,
    SimVQConfig,
    VQConfig,
)

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

_REMEDIES = {
    VQConfig: "restart unused codes (--tokenizer.quantizer.restart-below 1), start from data "
    "(--tokenizer.quantizer.start data), or let the codes learn faster (--codes-rate 10)",
    RegVQConfig: "raise --tokenizer.quantizer.prior-weight, or let the codes learn faster "
    "(--codes-rate 10)",
    NSVQConfig: "turn --tokenizer.quantizer.replacement on, or raise --tokenizer.quantizer.alpha",
    SimVQConfig: "lower --optimizer.lr, or raise --codes-rate",
    LFQConfig: "raise the weight of the entropy (--tokenizer.quantizer.entropy-weight)",
    IBQConfig: "raise the weight of the entropy (--tokenizer.quantizer.entropy-weight), or "
    "--codes-rate",
}


def dying_codes(
    config: RunConfig, codes: int, utilization: float, perplexity: float, most: float, step: int
) -> str | None:
    """Return a sentence if too few of ``codes`` are used in the last 100 steps, otherwise None.

    ``most``: the largest utilization of the run so far.
    """
    settled = max(SOONEST, min(LATEST, round(SETTLED * config.steps)))
    if step < settled or _tokens(config) < 4 * codes:
        return None
    low = utilization < LEAST_USED or perplexity < LEAST_SPREAD * codes
    if not low and utilization >= FALLEN * most:
        return None
    before = f" (at most {most:.0%} before)" if most > utilization else ""
    remedy = next(
        (words for kind, words in _REMEDIES.items() if type(config.tokenizer.quantizer) is kind),
        "lower --optimizer.lr, or choose a smaller codebook",
    )
    return (
        f"codes are dying: at step {step} the last 100 steps used {utilization:.0%} of {codes:,} "
        f"codes{before}, with a perplexity of {perplexity:.0f}; start another run and {remedy}."
    )


def _tokens(config: RunConfig) -> int:
    """Return the tokens in the usage window of one process."""
    side = config.data.size // config.tokenizer.network.downsampling
    return 100 * config.batch * side * side
