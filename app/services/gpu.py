"""The device that models run on: this machine's GPU, a GPU lent for a call (ZeroGPU), or the CPU.

A Space on ZeroGPU has no GPU of its own. A function decorated with ``spaces.GPU`` runs in a forked
process that is lent one: arguments and results are pickled, and the process keeps no state. So only
work that takes seconds is sent there, which is sampling tokens from a prior; a tokenizer answers
sooner on the CPU than a GPU can be lent. Without the package ``spaces``, or on any other machine,
the decorator does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from .errors import UserError

P = ParamSpec("P")
T = TypeVar("T")

try:  # before torch: ZeroGPU requires this order
    import spaces
except ImportError:
    spaces = None

LENT = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
"""True if GPUs are lent for a call here; the package ``spaces`` reads the same variable."""
SECONDS = 60
"""Duration of a request for a GPU; unused time is given back."""
_MAIN_PROCESS = os.getpid()


def device() -> str:
    """Return the device for a model that is loaded now: "cuda" or "cpu"."""
    import torch

    has_gpu = not LENT or os.getpid() != _MAIN_PROCESS
    return "cuda" if has_gpu and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class _UserErrorText:
    """A UserError on its way out of the other process, which drops the text of exceptions."""

    sentence: str


def on_gpu(function: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """Run a generator function on a lent GPU, if GPUs are lent here.

    Its arguments and the values that it yields must be picklable and on the CPU.
    """
    if spaces is None or not LENT:
        return function

    @wraps(function)
    def in_child(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        import torch

        torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
        try:
            yield from function(*args, **kwargs)
        except UserError as error:
            yield _UserErrorText(str(error))

    lent = spaces.GPU(duration=SECONDS)(in_child)

    @wraps(function)
    def in_parent(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        for value in lent(*args, **kwargs):
            if isinstance(value, _UserErrorText):
                raise UserError(value.sentence)
            yield value

    return in_parent
