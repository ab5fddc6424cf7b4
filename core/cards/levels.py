"""The lines of a tokenizer's card on its levels: residual and product codes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .common import table

if TYPE_CHECKING:
    from ..tokenizer import TokenizerConfig


def levels_words(config: TokenizerConfig) -> str:
    """Return the levels of a tokenizer and their bits, in words."""
    levels = config.levels
    bits = math.log2(config.quantizer.size)
    further = f", quantizer dropout {levels.dropout:g}" if levels.dropout else ""
    further += f", beam of {levels.beam}" if levels.beam > 1 else ""
    return (
        f"{levels.words()}{further}: {levels.count} ids per position of {bits:.2f} bits each, "
        f"{levels.count * bits:.2f} bits per position"
    )


def all_codes(metrics: Mapping[str, Any]) -> str:
    """Return the number of codes, with several levels of all of them together."""
    size, levels = metrics["codebook_size"], metrics.get("levels", 1)
    return f"{size:,}" if levels == 1 else f"{levels} x {size:,}"


def level_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return a table of the use of codes, a row for each level; nothing for a single one."""
    rows = [
        (
            str(number),
            f"{row['codes_used']:,} of {metrics['codebook_size']:,}",
            f"{row['utilization']:.1%}",
            f"{row['perplexity']:.1f}",
        )
        for number, row in enumerate(metrics.get("per_level", ()), 1)
    ]
    if not rows:
        return []
    head = ("level", "codes used", "utilization", "perplexity")
    return ["", "The perplexity above is the geometric mean of the levels:", "", *table(rows, head)]
