"""Freed memory is kept for the next step."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
_MOST = 1 << 30


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed; whether it can (glibc only, elsewhere nothing is done).

    A training step on a CPU allocates the same large activations again and again. glibc gives each
    of them back to the kernel, which must then hand over, and clear, every page anew: about a tenth
    of a step. The peak of the process's memory stays what it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or none to be found
        return False
    options = (_MMAP_THRESHOLD, _MOST), (_TRIM_THRESHOLD, _MOST), (_TOP_PAD, 1 << 28)
    return all(mallopt(option, value) for option, value in options)
