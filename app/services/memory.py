"""Memory that finished requests have freed, returned to the machine now and then."""

from __future__ import annotations

import gc
import threading

from regvq.malloc import return_freed_memory

EVERY = 30.0
"""Seconds between two returns; one takes some milliseconds."""


def return_memory(ended: threading.Event | None = None) -> None:
    """Return freed memory every EVERY seconds until ``ended`` is set, or for ever."""
    ended = ended or threading.Event()
    while not ended.wait(EVERY):
        return_freed_memory()


def keep_what_is_loaded() -> None:
    """Take all objects of now out of Python's searches for garbage.

    A search holds Python's lock, and takes 0.4 s with the million objects of the imported
    libraries, which live as long as the process anyway.
    """
    gc.freeze()
