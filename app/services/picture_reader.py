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
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from regvq.errors import PictureError

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

Kind = Literal["picture", "channels", "map", "mask"]
"""A picture or its channels, at most so large; a semantic map or a mask, at exactly one size."""
Request = tuple[str, str, tuple[int, int], Kind]
"""Path, name, the largest size or the size (width, height), kind."""
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

    def read(self, request: Request, seconds: float) -> Any:
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


class Unfinished(PictureError):
    """A picture that took too long or too much memory, which it may not do the next time."""


_idle: list[_Process] = []
_places = threading.BoundedSemaphore(PROCESSES)
_guard = threading.Lock()


def read_picture(path: str, name: str, side: int) -> tuple[Image.Image, tuple[int, int]]:
    """Return the picture file at ``path`` as RGB of at most ``side`` pixels, and its own size.

    Raises PictureError if it cannot be read within the limits.
    """
    pixels, size, whole = _answer(path, name, (side, side), "picture")
    return Image.frombytes("RGB", size, pixels), whole


def read_channels(path: str, name: str, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the picture or array (.npy) at ``path`` as channels (H, W, C) of at most ``side``
    pixels, as `regvq.arrays.read_array` has them, and its own size.

    Raises PictureError if it cannot be read within the limits.
    """
    import numpy as np

    values, kind, shape, whole = _answer(path, name, (side, side), "channels")
    return np.frombuffer(values, kind).reshape(shape), whole


def read_fitted(
    path: str, name: str, size: tuple[int, int], kind: Literal["map", "mask"]
) -> Image.Image:
    """Return the middle of the map or mask at ``path`` as RGB of ``size`` (width, height).

    A map is read as `regvq.masks.open_opaque` does, a mask as its ``open_mask``; pixels are
    left out, not mixed. Raises PictureError as they do, or if it cannot be read within the limits.
    """
    pixels, size, _ = _answer(path, name, size, kind)
    return Image.frombytes("RGB", size, pixels)


def crop_to_fit(picture: Image.Image, size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    """Return the middle of a picture in the proportions of ``size`` (width, height), resized."""
    width, height = size
    scale = min(picture.width / width, picture.height / height)
    across, down = scale * width, scale * height
    left, top = (picture.width - across) / 2, (picture.height - down) / 2
    return picture.resize(size, how, box=(left, top, left + across, top + down))


def _answer(path: str, name: str, size: tuple[int, int], kind: Kind) -> Any:
    seconds = _seconds()
    with _places:
        with _guard:
            worker = _idle.pop() if _idle else None
        if worker is None or not worker.process.is_alive():
            worker = _Process()
        # Gradio's kind of string would import Gradio there, in the picture's time.
        answer = worker.read((str(path), str(name), size, kind), seconds)
        if answer is not None:
            with _guard:
                _idle.append(worker)
    if answer is None:
        raise Unfinished(
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
    """Answer requests until the pipe is closed: with a Read, with Channels if they are asked for,
    or with a sentence."""
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    warnings.simplefilter("ignore")  # of broken headers: the log has the visitor's sentence
    import_readers()
    _limit_memory()
    pipe.send("ready")
    while True:
        try:
            request: Request = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_read(*request))


def import_readers() -> None:
    """Import what reads pictures before the first one's time counts: none of it needs torch, which
    would take two seconds and 500 MB in each of the processes."""
    import regvq.arrays
    import regvq.images
    import regvq.masks  # noqa: F401

    from . import picture_bounds  # noqa: F401


def _read(path: str, name: str, size: tuple[int, int], kind: Kind) -> Read | Channels | str:
    from regvq.images import open_picture, shrink
    from regvq.masks import open_mask, open_opaque

    from .picture_bounds import check_bounds

    try:
        file = Path(path)
        if file.is_file():
            check_bounds(file.read_bytes(), name)
        if kind == "channels":
            return _channels(path, name, max(size))
        if kind == "picture":
            whole = open_picture(path, name=name)
            small = shrink(whole, max(size))
        else:
            whole = (open_opaque if kind == "map" else open_mask)(path, name=name)
            small = crop_to_fit(whole, size, Image.Resampling.NEAREST)
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
