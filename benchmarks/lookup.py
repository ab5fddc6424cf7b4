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

from measuring import run

CASES = ("1024x256", "16384x8", "65536x32")

if __name__ == "__main__":
    run("ids", "lookup", CASES, __doc__.split("\n\n")[0])
