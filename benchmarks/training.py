"""Time and extra peak memory of a training step, alone and in company, beside other projects.

``python benchmarks/training.py`` measures every quantizer of this project, residual and product
codes included, beside vector-quantize-pytorch's, the textbook formulas and diffusers'
VectorQuantizer, each in its own process: alone, and beside one busy process per core. A step
consists of forward, losses, backward and the quantizer's own update rules, without the network
around it and without an optimizer. Projects that are not installed are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import case_table, measure_case, run

CASES = ("1024x64", "16384x64")
PAGE = (
    {"case": "1024x64"},
    {"case": "16384x64"},
    {"case": "65536x64", "kinds": ("vq", "regvq", "nsvq", "gumbel", "ibq", "lfq")},
)
"""The cases of the benchmark page. At 65,536 codes a matrix of the textbook's has half a gigabyte,
and it keeps up to seven."""


def measure(tiny: bool = False) -> list[dict]:
    """Return the figures of the benchmark page."""
    if tiny:
        settings = {"rows": 256, "repeats": 1, "threads": 1, "busy": 1, "apart": False}
        kinds = ("ibq", "vq-ema")
        return measure_case("steps", "64x8", kinds, ("regvq-studio", "textbook"), **settings)
    return [row for case in PAGE for row in measure_case("steps", seconds=0.5, processes=1, **case)]


def tables(rows: list[dict]) -> str:
    """Return the Markdown of the figures, a table per number of codes."""
    sizes = dict.fromkeys(row["size"] for row in rows)
    cases = ([row for row in rows if row["size"] == size] for size in sizes)
    return "\n\n".join(case_table("training step", case) for case in cases)


if __name__ == "__main__":
    run("steps", "training step", CASES, __doc__.split("\n\n")[0])
