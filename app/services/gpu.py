"""Where models run: this machine's GPU, one that is lent for a call (ZeroGPU), or the processor.

A Space on ZeroGPU has no GPU of its own. A function that is decorated with ``spaces.GPU`` is run in
a forked process that is lent one: arguments and results are pickled, and what it remembers is
forgotten. So only what takes seconds is sent there, the drawing of tokens by a prior; a tokenizer
answers sooner on the processor than a GPU can be had. Without the package ``spaces``, or on any
other machine, the decorator does nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from ..ui.errors import Refused

P = ParamSpec("P")
T = TypeVar("T")

try:  # before torch: on ZeroGPU it must be there first
    import spaces
except ImportError:
    spaces = None

LENT = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
"""Whether GPUs are lent here for a call: what the package ``spaces`` goes by, too."""
SECONDS = 60
"""For how long one is asked for; what is not used up is given back."""
_HOME = os.getpid()


def device() -> str:
    """Where a model is put that is loaded now: "cuda" or "cpu"."""
    import torch

    here = not LENT or os.getpid() != _HOME
    return "cuda" if here and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class _Said:
    """A refusal on its way out of the other process, where exceptions lose their words."""

    sentence: str


def on_gpu(function: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """Let a generator function run where a GPU is lent, if any is.

    Its arguments and what it yields must be picklable and on the processor.
    """
    if spaces is None or not LENT:
        return function

    @wraps(function)
    def there(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        import torch

        torch.set_num_threads(1)  # OpenMP's threads are not there after a fork
        try:
            yield from function(*args, **kwargs)
        except Refused as refusal:
            yield _Said(str(refusal))

    lent = spaces.GPU(duration=SECONDS)(there)

    @wraps(function)
    def here(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        for one in lent(*args, **kwargs):
            if isinstance(one, _Said):
                raise Refused(one.sentence)
            yield one

    return here


class ModelLock:
    """A lock that one thread may take several times over, free again in a forked process: whoever
    held it when the process was forked is not there to let go of it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):  # Windows forks nothing
            os.register_at_fork(after_in_child=self._anew)

    def _anew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> ModelLock:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()
