"""A worked example for the tab Generate: pictures of a prior's first example prompt, or of a class.

They are generated once, step by step while nobody waits, and kept in the cache folder; so the tab
has something to look at before a visitor has generated anything.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from regvq.paths import cache_folder

from . import generation, gpu, sampling
from .array_cache import load_array, store_array
from .encoding import pack, png_file
from .generation import GenerationRequest
from .generation_examples import example_prompts
from .idle import REQUESTS
from .model_lock import LOCK
from .priors import PriorHandle

if TYPE_CHECKING:
    from pathlib import Path

COUNT, SEED = 4, 0
LOOK = 1.0
"""Seconds between two looks whether a visitor's request runs."""

_worked: dict[PriorHandle, tuple[np.ndarray, np.ndarray]] = {}
"""Pixels uint8 (n, H, W, 3) and token ids uint32 (n, h, w) of each prior's example."""


def prepare(handle: PriorHandle) -> None:
    """Generate the prior's example, or read it from the cache; does nothing without a prompt."""
    request = _request(handle)
    if request is None or handle in _worked:
        return
    found = _read(handle)
    if found is None:
        if gpu.LENT:  # a visitor's share of the GPU is not for this
            return
        last = None
        for step in sampling.sample(handle, request.condition, request.settings):
            last = step
            while not REQUESTS.wait(longest=LOOK) or LOCK.wanted:
                time.sleep(0.05)
        if last is None:
            return
        result = generation.finish(request, last, 0.0)
        pixels = np.stack([np.asarray(picture) for picture in result.pictures])
        found = pixels, result.ids.astype(np.uint32)
        for path, array in zip(_files(handle), found, strict=True):
            store_array(path, array)
    _worked[handle] = found


def example_view(handle: PriorHandle) -> dict[str, Any] | None:
    """Return the example as a finished run for the page; None before it is there."""
    found = _worked.get(handle)
    request = _request(handle) if found else None
    if found is None or request is None:
        return None
    pixels, ids = found
    width, height = handle.size
    return {
        "run": 0,
        "example": True,
        "ratio": width / height,
        "title": "Class" if request.label is not None else "Text",
        "pictures": [
            png_file(Image.fromarray(one), f"example-{i + 1}") for i, one in enumerate(pixels)
        ],
        "ids": pack(ids, "<u4"),
        "shape": list(ids.shape),
        "figures": request.figures,
        "inpaint": False,
        "sketched": False,
    }


def _request(handle: PriorHandle) -> GenerationRequest | None:
    if "text" in handle.modes:
        prompts = example_prompts(handle)
        return generation.text_request(prompts[0], handle.name, COUNT, SEED) if prompts else None
    if "label" in handle.modes:
        return generation.label_request(example_class(handle), handle.name, COUNT, SEED)
    return None


def example_class(handle: PriorHandle) -> int:
    """Return the class of the example, and the one that the page opens with: one in the middle."""
    return max(len(handle.labels) // 2 - 1, 0)


def _files(handle: PriorHandle) -> tuple[Path, Path]:
    request = _request(handle)
    asked = None if request is None else (request.prompt, request.label)
    about = f"{handle.name} {handle.written} {asked}"
    name = hashlib.sha256(about.encode()).hexdigest()[:32]
    folder = cache_folder() / "examples"
    return folder / f"{name}-pixels.npy", folder / f"{name}-ids.npy"


def _read(handle: PriorHandle) -> tuple[np.ndarray, np.ndarray] | None:
    (width, height), grid = handle.size, handle.config.grid
    pixels, ids = _files(handle)
    known = load_array(pixels, (COUNT, height, width, 3), np.uint8)
    tokens = load_array(ids, (COUNT, *grid), np.uint32)
    return None if known is None or tokens is None else (known, tokens)
