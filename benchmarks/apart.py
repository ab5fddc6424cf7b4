"""Calls in processes of their own, so that memory and settings of one do not meet another."""

from __future__ import annotations

import multiprocessing
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any


def call_apart(
    function: str, apart: bool = True, at_most: float | None = None, **arguments: Any
) -> Any:
    """Return the result of ``function`` ("module:name") in a new process, or here.

    ``at_most``: seconds after which the process is ended. Raises RuntimeError if the function
    raises there, or does not return in time.
    """
    if not apart:
        return _function(function)(**arguments)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        if here.poll(at_most):
            worked, result = here.recv()
            process.join()
        else:
            worked, result = False, f"it took longer than {at_most:.0f} s"
    except EOFError:  # it ended without a result
        process.join()
        worked, result = False, f"it ended with exit code {process.exitcode}"
    finally:
        process.kill()
        process.join()
    if not worked:
        raise RuntimeError(f"{function}: {result}")
    return result


def _send(pipe: Connection, function: str, arguments: dict[str, Any]) -> None:
    try:
        pipe.send((True, _function(function)(**arguments)))
    except Exception as error:
        pipe.send((False, f"{type(error).__name__}: {error}"))
        raise


def _function(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
