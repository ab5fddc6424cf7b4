"""The switch between fast paths and their plain twins in torch's own operations.

Fast paths are the Triton kernel of the code search and its threads with rows of their own, the CUDA
graph and the packed products of autoregressive sampling, the explicit gradient of RMSNorm, the
convolution of an upsampled picture from the small one, and the fused optimizer. Each has a twin
that gives the same result, but for rounding. ``REGVQ_PLAIN=1`` in the environment chooses the twins
everywhere: to tell whether a fast path is at fault, or on a device that lacks one.
"""

from __future__ import annotations

import os

VARIABLE = "REGVQ_PLAIN"
"""The environment variable; unset, empty and 0 mean the fast paths."""


def is_plain() -> bool:
    """Return True if the plain twins are chosen. It is read at each call."""
    return os.environ.get(VARIABLE, "").strip() not in ("", "0")
