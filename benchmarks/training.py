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

from measuring import run

CASES = ("1024x64", "16384x64")

if __name__ == "__main__":
    run("steps", "training step", CASES, __doc__.split("\n\n")[0])
