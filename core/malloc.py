"""Settings of glibc's malloc for memory that a program frees.

With another C library (macOS, Windows, musl) the functions change nothing and return False.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8  # of malloc.h
_LARGEST_THRESHOLD = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Make malloc keep the memory that the program frees, and return True if that is possible.

    A training step on a CPU allocates the same large activations again and again. glibc gives each
    of them back to the kernel, which must then provide and clear every page anew: about a tenth of
    the time of a step. The peak of the process's memory does not change.
    """
    return _mallopt(
        (_MMAP_THRESHOLD, _LARGEST_THRESHOLD),
        (_TRIM_THRESHOLD, _LARGEST_THRESHOLD),
        (_TOP_PAD, 1 << 28),
    )


def share_freed_memory() -> bool:
    """Make all threads allocate from one arena, and return True if that is possible.

    Must be called before the first thread starts. By default glibc gives each thread an arena of
    its own. The threads of a server take turns, and memory that one model call freed would not be
    available to the next call in another thread.
    """
    return _mallopt((_ARENA_MAX, 1))


def return_freed_memory() -> bool:
    """Return the memory that the program has freed to the kernel; return True if there was any.

    Without it a server's memory grows with the number of different requests: between two blocks in
    use malloc keeps what was freed, and the next request, of another size, takes new memory.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library (TypeError: on Windows)
        return False
    return bool(trim(0))


def _mallopt(*options: tuple[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library (TypeError: on Windows)
        return False
    return all(mallopt(option, value) for option, value in options)
