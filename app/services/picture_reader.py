"""Pictures of visitors, decoded in processes of their own.

A decoder cannot be interrupted in a thread. So a picture that takes too long, or too much memory,
ends its process and nothing else: neither the models' line nor the page waits for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import warnings
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from .array_preview import hidden_array

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    import numpy as np

VARIABLE = "REGVQ_PICTURE_SECONDS"
SECONDS = 10.0
"""Seconds in which a picture must be decoded: the largest ones take 2 on an idle machine."""
STARTING = 60.0
"""Seconds in which a process must have started."""
MEMORY = 3 * 2**30
"""Bytes of address space that decoding may add to a process: the largest pictures add 1.5 GB."""
PROCESSES = 2

Read = tuple[bytes, tuple[int, int], tuple[int, int]]
"""Pixels, size (width, height), and the size before the picture was shrunk."""
Channels = tuple[bytes, str, tuple[int, ...], tuple[int, int]]
"""Values, their type, their shape (H, W, C), and the size before they were shrunk."""


class _Process:
    """A process that decodes one picture after another."""

    def __init__(self) -> None:
        context = get_context("spawn")  # a fork would copy locks that other threads hold
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=[theirs], name="regvq-picture-reader", daemon=True
        )
        self.process.start()
        theirs.close()
        if not self.pipe.poll(STARTING) or self.pipe.recv() != "ready":
            self.end()
            raise RuntimeError("the process that reads pictures did not start")

    def read(self, request: tuple[str, str, int, bool], seconds: float) -> Any:
        """Return the answer; None if the process ended or took too long, after which it is gone."""
        try:
            self.pipe.send(request)
            if self.pipe.poll(seconds):
                return self.pipe.recv()
        except (EOFError, OSError):
            pass
        self.end()
        return None

    def end(self) -> None:
        self.process.kill()
        self.process.join(5)
        self.pipe.close()


_idle: list[_Process] = []
_places = threading.BoundedSemaphore(PROCESSES)
_guard = threading.Lock()


def read_picture(path: str, name: str, side: int) -> tuple[Image.Image, tuple[int, int]]:
    """Return the picture file at ``path`` as RGB of at most ``side`` pixels, and its own size.

    Raises PictureError if it cannot be read within the limits.
    """
    pixels, size, whole = _answer(path, name, side, channels=False)
    return Image.frombytes("RGB", size, pixels), whole


def read_channels(path: str, name: str, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the picture or array (.npy) at ``path`` as channels (H, W, C) of at most ``side``
    pixels, as `regvq.arrays.read_array` has them, and its own size.

    Raises PictureError if it cannot be read within the limits.
    """
    import numpy as np

    values, kind, shape, whole = _answer(path, name, side, channels=True)
    return np.frombuffer(values, kind).reshape(shape), whole


def _answer(path: str, name: str, side: int, channels: bool) -> Any:
    from regvq.errors import PictureError

    seconds = _seconds()
    with _places:
        with _guard:
            worker = _idle.pop() if _idle else None
        if worker is None or not worker.process.is_alive():
            worker = _Process()
        # Gradio's kind of string would import Gradio there, in the picture's time.
        answer = worker.read((str(path), str(name), side, channels), seconds)
        if answer is not None:
            with _guard:
                _idle.append(worker)
    if answer is None:
        raise PictureError(
            f"{name} takes more than {seconds:g} s or too much memory to decode; save it anew as a "
            "plain PNG or JPEG, or shrink it."
        )
    if isinstance(answer, str):
        raise PictureError(answer)
    return answer


def _seconds() -> float:
    with contextlib.suppress(ValueError):
        return float(os.environ.get(VARIABLE, "") or SECONDS)
    return SECONDS


# ---------------------------------------------------------------- in the other process


def serve(pipe: Connection) -> None:
    """Answer requests (path, name, side, channels) until the pipe is closed: with a Read, with
    Channels if they are asked for, or with a sentence."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    warnings.simplefilter("ignore")  # of broken headers: the log has the visitor's sentence
    import regvq.arrays
    import regvq.images  # noqa: F401  (before the first picture's time counts)

    from . import picture_bounds  # noqa: F401

    _limit_memory()
    pipe.send("ready")
    while True:
        try:
            path, name, side, channels = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_read(path, name, side, channels))


def _read(path: str, name: str, side: int, channels: bool) -> Read | Channels | str:
    from regvq.errors import PictureError
    from regvq.images import open_picture, shrink

    from .picture_bounds import check_bounds

    try:
        file = Path(path)
        if file.is_file():
            check_bounds(file.read_bytes(), name)
        if channels:
            return _channels(path, name, side)
        whole = open_picture(path, name=name)
        small = shrink(whole, side)
        return small.tobytes(), small.size, whole.size
    except PictureError as error:
        return str(error)
    except MemoryError:
        return f"{name} takes too much memory to decode; shrink it."


def _channels(path: str, name: str, side: int) -> Channels:
    from regvq.arrays import read_array, resized

    array = read_array(hidden_array(path) or path, name=name)
    height, width = array.shape[:2]
    longer = max(height, width)
    if longer > side:
        size = (max(1, round(each * side / longer)) for each in (width, height))
        array = resized(array, *size, Image.Resampling.LANCZOS)
    return array.tobytes(), array.dtype.str, array.shape, (width, height)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(ValueError, OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
