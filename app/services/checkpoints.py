"""Checkpoints by name, and pictures, tokenized once and remembered.

From the browser comes a name out of a list, never a path. Everything that runs a model holds
``LOCK``, whether it was started by a visitor or by the warm-up: one model call at a time.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ..ui.errors import Refused
from .gpu import ModelLock, device
from .precision import quicken

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

    from regvq.bundles.bundle import Bundle
    from regvq.tokenizer import Tokenizer

P = ParamSpec("P")
T = TypeVar("T")

LOCK = ModelLock()
WELCOME = "photos-regvq"
"""The checkpoint that the explorer opens with, where it is there: made for any photograph."""
MAX_SIDE = 1024
"""Longest side, in pixels, of the pictures that the model is given."""

# Every listener that runs a model has these: they queue up behind one another.
MODEL_QUEUE: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1}


def one_at_a_time(function: Callable[P, T]) -> Callable[P, T]:
    """Run ``function`` holding ``LOCK``."""

    @wraps(function)
    def locked(*args: P.args, **kwargs: P.kwargs) -> T:
        with LOCK:
            return function(*args, **kwargs)

    return locked


def names() -> list[str]:
    """The tokenizers that can be chosen: those of folders, of the Hub (``user/name``), of runs;
    ``WELCOME`` first, then Reg-VQ: it is what the project is about."""
    from regvq.bundles.bundle import list_bundles
    from regvq.errors import CheckpointError

    found = []
    for bundle in list_bundles():
        try:
            if bundle.config.get("kind") == "tokenizer":
                found.append(bundle.name)
        except CheckpointError:
            continue  # a bundle that cannot be read is not offered

    def order(name: str) -> tuple[bool, bool, bool, bool, str]:
        return name.startswith("runs/"), "/" in name, name != WELCOME, "regvq" not in name, name

    return sorted(found, key=order)


def bundle(name: Any) -> Bundle:
    """The bundle called ``name``. Raises Refused for a name that is not in the list."""
    from regvq.bundles.bundle import list_bundles

    known = names()
    if not isinstance(name, str) or name not in known:
        if not known:
            raise Refused("There is no checkpoint yet: train one with `python train/run.py`.")
        raise Refused(
            f"There is no checkpoint called {str(name)[:60]!r}; there is {', '.join(known)}."
        )
    return next(found for found in list_bundles() if found.name == name)


@dataclass(frozen=True)
class Model:
    """A loaded checkpoint. Two are equal if they are the same files, unchanged."""

    name: str
    written: int
    """When its weights were written (ns): a run that goes on training is loaded anew."""
    bundle: Bundle = field(compare=False, repr=False)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, loaded at first use."""
        return _tokenizer(self, device())


@lru_cache(maxsize=16)
def _open(name: str, written: int, path: Path) -> Model:
    from regvq.bundles.bundle import Bundle

    return Model(name, written, Bundle(name, path))


@lru_cache(maxsize=6)  # as many as are compared at once
def _tokenizer(model: Model, where: str) -> Tokenizer:
    from regvq.checkpoints import load_tokenizer

    return quicken(load_tokenizer(model.bundle, where))


def model(name: Any) -> Model:
    """The checkpoint called ``name``, its parts loaded when asked for. Raises Refused."""
    return open_bundle(bundle(name))


def open_bundle(found: Bundle) -> Model:
    """A tokenizer's bundle as the model that is kept of it."""
    return _open(found.name, written(found), found.path)


def written(found: Bundle) -> int:
    """When a bundle's weights were written (ns); 0 without any: loading it will say so."""
    try:
        return (found.path / "model.safetensors").stat().st_mtime_ns
    except OSError:
        return 0


@dataclass(frozen=True)
class Picture:
    """An opened picture, at most ``MAX_SIDE`` pixels long. Equal if the pixels are."""

    digest: str
    image: Image.Image = field(compare=False, repr=False)
    uploaded: tuple[int, int] = field(compare=False)
    """Width and height before it was shrunk."""


def open_picture(path: Any) -> Picture:
    """The picture that a visitor gave. Raises Refused or core.images.PictureError."""
    from regvq import images

    if not path:
        raise Refused("There is no picture yet: upload one or choose an example.")
    if isinstance(path, str):
        try:
            found = Path(path).stat()
        except (OSError, ValueError):
            found = None  # the reader knows the sentence
        if found is not None:
            return _open_file(path, found.st_mtime_ns, found.st_size)
    return _shrunk(images.open_picture(path), MAX_SIDE)


@lru_cache(maxsize=8)
def _open_file(path: str, written: int, count: int) -> Picture:
    """A slider that moves asks for the same file many times a second."""
    from regvq import images

    return _shrunk(images.open_picture(path, name=Path(path).name), MAX_SIDE)


@lru_cache(maxsize=12)
def smaller(picture: Picture, side: int) -> Picture:
    """``picture``, at most ``side`` pixels long."""
    if max(picture.image.size) <= side:
        return picture
    return replace(_shrunk(picture.image, side), uploaded=picture.uploaded)


def _shrunk(whole: Image.Image, side: int) -> Picture:
    from regvq import images

    image = images.shrink(whole, side)
    digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    return Picture(digest, image, whole.size)


def number(value: Any, what: str, low: float, high: float) -> float:
    """``value`` as a finite number from ``low`` to ``high``. Raises Refused."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not low <= found <= high:
        raise Refused(f"The {what} must be a number from {low:g} to {high:g}, not {value!r:.40}.")
    return found


def whole_number(value: Any, what: str, low: int, high: int) -> int:
    """``value`` as an integer from ``low`` to ``high``. Raises Refused."""
    found = number(value, what, low, high)
    if found != int(found):
        raise Refused(f"The {what} must be a whole number from {low} to {high}, not {value!r:.40}.")
    return int(found)


@dataclass(frozen=True)
class Tokens:
    """A picture as tokens."""

    ids: np.ndarray
    """int64 (h, w)"""
    drawn: np.ndarray | None
    """bool (h, w): tokens that were drawn at random by the mask, if any."""


@lru_cache(maxsize=12)
def latents(which: Model, picture: Picture) -> Tensor:
    """The picture's latents (1, D, h, w): a draw, a mask or another ratio needs no new encoding."""
    from regvq.images import to_tensor

    return which.tokenizer.latents(to_tensor(picture.image)[None])


@lru_cache(maxsize=24)
def tokens(which: Model, picture: Picture, mask_ratio: float = 0.0, seed: int = 0) -> Tokens:
    """The picture's tokens; a share of ``mask_ratio`` of them is drawn, by ``seed``."""
    import torch

    tokenizer = which.tokenizer
    generator = torch.Generator(tokenizer.device).manual_seed(seed)
    with torch.no_grad():
        quantized = tokenizer.quantizer(
            latents(which, picture), mask_ratio=mask_ratio, generator=generator
        )
    drawn = None if quantized.mask is None else quantized.mask[0].cpu().numpy()
    return Tokens(quantized.ids[0].cpu().numpy(), drawn)


def painted(which: Model, picture: Picture, ids: np.ndarray) -> Image.Image:
    """What tokens ids int64 (h, w) paint, at the size of the picture that they stand for."""
    import torch

    from regvq.images import to_pictures

    width, height = picture.image.size
    pixels = which.tokenizer.decode(torch.from_numpy(ids)[None])[..., :height, :width]
    return to_pictures(pixels.cpu())[0]
