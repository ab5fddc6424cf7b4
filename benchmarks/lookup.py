"""Time and extra peak memory of code lookup, alone and in company, beside other projects.

``python benchmarks/lookup.py`` measures the search for the nearest codes and this project's
quantizers in eval mode (residual codes of four levels, product codes of four groups, FSQ, LFQ, BSQ,
DiVeQ, FSP, SimVQ) beside vector-quantize-pytorch, diffusers' VectorQuantizer and the textbook
formula, each in its own process: alone, and beside one busy process per core. Projects that are not
installed are left out. The textbook's matrices need about 6 GB with 65,536 codes.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import case_table, measure_case, run

CASES = ("1024x256", "16384x8", "65536x32")
PAGE = (
    {"case": "1024x256"},
    {"case": "16384x8", "rows": 512},
    {"case": "65536x32", "rows": 512, "kinds": ("nearest code", "lfq", "simvq")},
)
"""The cases of the benchmark page: with 2,048 latents and 65,536 codes, a call of the peers takes
up to 20 seconds."""


def measure(tiny: bool = False) -> list[dict]:
    """Return the figures of the benchmark page."""
    if tiny:
        settings = {"rows": 256, "repeats": 1, "threads": 1, "busy": 1, "apart": False}
        kinds = ("nearest code", "lfq")
        return measure_case("ids", "64x8", kinds, ("regvq-studio", "textbook"), **settings)
    return [row for case in PAGE for row in measure_case("ids", seconds=0.1, processes=1, **case)]


def tables(rows: list[dict]) -> str:
    """Return the Markdown of the figures, a table per number of codes."""
    sizes = dict.fromkeys(row["size"] for row in rows)
    cases = ([row for row in rows if row["size"] == size] for size in sizes)
    return "\n\n".join(case_table("lookup", case) for case in cases)


if __name__ == "__main__":
    run("ids", "lookup", CASES, __doc__.split("\n\n")[0])
