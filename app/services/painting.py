"""Painting and counting the codes of checkpoints in quiet moments.

One thread works for the checkpoint that was opened last, then for the others. It does a piece of
work (``code_atlas.SHARE``) only while no request runs, none has run for a moment, and nothing else
waits for the models, so that a visitor waits for one piece at most.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from typing import TYPE_CHECKING

from . import idle
from .model_lock import LOCK

if TYPE_CHECKING:
    from .code_atlas import CodeAtlas

log = logging.getLogger("regvq.app")

QUIET = 0.4
"""Seconds without a request after which the server counts as quiet."""
LOOK = 1.0
"""Seconds after which a painter that waits looks whether its work is still wanted."""
KEPT = 6
"""Checkpoints that are worked for; older ones have to be opened again."""


class Painter:
    """A thread that finishes atlases, and ends when none is left to finish."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[CodeAtlas] = []
        self._thread: threading.Thread | None = None
        atexit.register(self.stop)  # a thread that runs a model while Python ends would abort it

    def stop(self, patience: float = 10.0) -> None:
        """Give up all work; wait up to ``patience`` seconds for the end of the current piece."""
        with self._lock:
            self._waiting, thread = [], self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(patience)

    def want(self, atlas: CodeAtlas) -> None:
        """Work for this atlas first."""
        if atlas.finished:
            return
        with self._lock:
            self._waiting = [atlas, *(one for one in self._waiting if one is not atlas)][:KEPT]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="painter", daemon=True)
                self._thread.start()

    def _next(self) -> CodeAtlas | None:
        with self._lock:
            self._waiting = [one for one in self._waiting if not one.finished]
            if not self._waiting:
                self._thread = None
                return None
            return self._waiting[0]

    def _run(self) -> None:
        while (atlas := self._next()) is not None:
            if not idle.REQUESTS.wait(QUIET, LOOK) or LOCK.wanted:
                time.sleep(0.05)
                continue
            try:
                atlas.work()
            except Exception:
                # The visitor who needs it gets the message.
                log.exception("The codes of %s could not be painted", atlas.handle.name)
                with self._lock:
                    self._waiting = [one for one in self._waiting if one is not atlas]


PAINTER = Painter()
"""The painter of this process."""
