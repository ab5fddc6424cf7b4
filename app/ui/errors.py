"""Expected errors as messages on the page; the app keeps running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from ..services.errors import UserError, without_paths

P = ParamSpec("P")
T = TypeVar("T")


def report_user_errors(handler: Callable[P, T]) -> Callable[P, T]:
    """Show a handler's expected errors to the user as a sentence, instead of "Error".

    ``handler`` is a function, or a generator function that yields intermediate results.
    """

    @wraps(handler)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with _as_gradio_error():
            return handler(*args, **kwargs)

    @wraps(handler)
    def stream(*args: P.args, **kwargs: P.kwargs) -> Any:
        with _as_gradio_error():
            yield from handler(*args, **kwargs)

    return stream if isgeneratorfunction(handler) else call


@contextmanager
def _as_gradio_error() -> Iterator[None]:
    from regvq.errors import CheckpointError, DataError, PictureError

    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), duration=12, print_exception=False) from None
    except (PictureError, CheckpointError, DataError) as error:
        text = without_paths(str(error))
        raise gr.Error(text, duration=12, print_exception=False) from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            raise gr.Error(
                "There is not enough memory for this right now; try a smaller picture."
            ) from None
        raise
