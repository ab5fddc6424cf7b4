"""What malloc does with freed memory (glibc only, elsewhere nothing is done)."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8  # of malloc.h
_MOST = 1 << 30


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed; whether it can.

    A training step on a CPU allocates the same large activations again and again. glibc gives each
    of them back to the kernel, which must then hand over, and clear, every page anew: about a tenth
    of a step. The peak of the process's memory stays what it is.
    """
    return _set((_MMAP_THRESHOLD, _MOST), (_TRIM_THRESHOLD, _MOST), (_TOP_PAD, 1 << 28))


def share_freed_memory() -> bool:
    """Have all threads take their memory from one place; whether they will. To be called before
    there are threads.

    A server's threads take turns, and glibc has each of them keep what it frees for itself: what
    one model call left behind is of no use to the next, if another thread runs it.
    """
    return _set((_ARENA_MAX, 1))


def _set(*options: tuple[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or none to be found
        return False
    return all(mallopt(option, value) for option, value in options)
