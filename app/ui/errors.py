"""What a visitor is told when something cannot be done: one sentence, and the app goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, ParamSpec, TypeVar

import gradio as gr

P = ParamSpec("P")
T = TypeVar("T")


class Refused(ValueError):
    """A request that cannot be met; its text is one sentence for the visitor."""


def in_a_sentence(handler: Callable[P, T]) -> Callable[P, T]:
    """Let a handler's expected errors reach the visitor as a message instead of "Error".

    ``handler`` is a function, or a generator function that yields what is done so far.
    """

    @wraps(handler)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> T:
        with _spoken():
            return handler(*args, **kwargs)

    @wraps(handler)
    def streamed(*args: P.args, **kwargs: P.kwargs) -> Any:
        with _spoken():
            yield from handler(*args, **kwargs)

    return streamed if isgeneratorfunction(handler) else spoken


@contextmanager
def _spoken() -> Iterator[None]:
    from regvq.errors import CheckpointError, PictureError

    try:
        yield
    except (Refused, PictureError, CheckpointError) as error:
        raise gr.Error(str(error), duration=12, print_exception=False) from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            raise gr.Error(
                "There is not enough memory for that right now; try a smaller picture."
            ) from None
        raise
