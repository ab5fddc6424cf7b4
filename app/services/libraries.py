"""PyTorch's libraries, read from the disk before the server imports them.

Importing PyTorch loads gigabytes of libraries while it holds Python's lock: from a cold disk that
takes seconds, in which the server would answer nobody. So another process imports it first; then
the files are in memory, and the import here holds the lock for a moment only.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

LONGEST = 60.0
"""Seconds after which nobody waits any longer."""

# The page, which this process serves at the same time, comes first.
_IMPORT = "import os; hasattr(os, 'nice') and os.nice(5); import {}"


class LibraryReader:
    """A process that imports a module, so that its files are in memory."""

    def __init__(self, module: str = "torch") -> None:
        self._module = module
        self._done = threading.Event()
        self._done.set()

    @property
    def ready(self) -> bool:
        """False while the process runs."""
        return self._done.is_set()

    def begin(self) -> None:
        """Start the process, unless this one has imported the module already."""
        if self._module in sys.modules:
            return
        self._done.clear()
        threading.Thread(target=self._read, name="libraries", daemon=True).start()

    def _read(self) -> None:
        try:
            subprocess.run(
                [sys.executable, "-c", _IMPORT.format(self._module)],
                env={**os.environ, "PYTHONSAFEPATH": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=LONGEST,
            )
        except (OSError, subprocess.TimeoutExpired):
            pass  # the import here takes longer, then
        finally:
            self._done.set()

    def wait(self) -> None:
        """Wait until the process has ended."""
        self._done.wait(LONGEST)

    async def wait_in_loop(self) -> None:
        """Wait likewise in an event loop, without a thread for each that waits."""
        while not self.ready:
            await asyncio.sleep(0.05)


LIBRARIES = LibraryReader()
"""The reader of this server; ready from the start if nobody lets it begin."""
