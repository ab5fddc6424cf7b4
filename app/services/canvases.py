"""The drawing surfaces of the tab Generate: a semantic map, or a picture with a hole."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from . import generation, semantic_maps
from .encoding import data_url, pack
from .generation_examples import example_picture, subject
from .links import example_name
from .priors import PriorHandle

THUMB = 72
"""Side, in pixels, of an example map's picture."""


@dataclass(frozen=True)
class InpaintSource:
    """A picture that can be inpainted, as a user's session keeps it."""

    tokenizer: str
    """The name of the tokenizer that the tokens belong to."""
    ids: np.ndarray
    """int64 (h, w)"""
    pixels: np.ndarray
    """uint8 (H, W, 3)"""
    example_for: str = ""
    """The subject of the priors that it is an example for; "" for a visitor's own picture."""


def encode_source(handle: PriorHandle, image: Any) -> InpaintSource:
    """Return a user's picture for inpainting. Raises UserError or PictureError."""
    return source_of(handle, generation.encode_picture(image, handle))


def source_of(handle: PriorHandle, ids: np.ndarray) -> InpaintSource:
    """Return the picture of tokens int64 (h, w) for inpainting."""
    import torch

    picture = generation.decode_tokens(handle, torch.from_numpy(ids)[None])[0]
    return InpaintSource(handle.tokenizer_handle.name, ids, np.asarray(picture))


def map_thumbnail(ids: np.ndarray, table: np.ndarray) -> str:
    """Return the middle of a map of classes (H, W) in the colors of ``table``, small."""
    side = min(ids.shape)
    top, left = (ids.shape[0] - side) // 2, (ids.shape[1] - side) // 2
    square = Image.fromarray(table[ids[top : top + side, left : left + side]])
    return data_url(np.asarray(square.resize((THUMB, THUMB), Image.Resampling.NEAREST)))


def map_canvas(handle: PriorHandle, ids: np.ndarray | None) -> dict[str, Any]:
    """Return what the page needs to draw on a map of classes (H, W); None for an empty map."""
    known, (width, height) = semantic_maps.legend(handle), handle.size
    if ids is None:
        ids = np.zeros((height, width), np.uint8)
    return {
        "key": _key(_mark(handle)),
        "mode": "map",
        "classes": list(known.classes),
        "palette": known.palette,
        "width": width,
        "height": height,
        "ids": pack(ids, "u1"),
    }


def inpaint_canvas(
    handle: PriorHandle,
    source: InpaintSource | None,
    image: Any = None,
    marked: np.ndarray | None = None,
) -> tuple[InpaintSource | None, dict[str, Any]]:
    """Return the picture to inpaint and what the page needs to erase a part of it.

    The picture is ``source``, encoded again if it belongs to another tokenizer; without a source
    it is a visitor's own ``image`` if the prior knows pictures of many kinds, otherwise an example
    of those that the prior knows. Without such an example there is no picture, and the page gets a
    sentence. ``marked`` bool (h, w) is erased already.
    """
    known, note = subject(handle), ""
    wanted = known or "photographs"
    if source is None or (source.example_for and source.example_for != wanted):
        # The picture of the other tabs is an example until the visitor gives one.
        own = image if image and known is None and example_name(image) is None else None
        example = example_picture(handle)
        if own is None and example is None:
            return None, {
                "key": _key("none"),
                "none": f"This prior knows only {known}, and no example shows any: upload a "
                "picture, or generate one and press Inpaint at it.",
            }
        source = encode_source(handle, own or example.path)
        source = source if own else replace(source, example_for=wanted)
        note = f"This prior knows only {known}, so the example is one." if known else ""
    elif source.tokenizer != handle.tokenizer_handle.name:
        fresh = encode_source(handle, Image.fromarray(source.pixels))
        source = replace(fresh, example_for=source.example_for)
    rows, columns = source.ids.shape
    width, height = handle.size
    return source, {
        "key": _key(_erasing(handle)),
        "mode": "mask",
        "width": columns,
        "height": rows,
        "ratio": width / height,
        "under": data_url(source.pixels),
        "note": note,
        **({} if marked is None else {"ids": pack(marked, "u1")}),
    }


def is_map_of(canvas: Any, handle: PriorHandle) -> bool:
    """Return True if the page's map belongs to this prior."""
    return _has_key(canvas, _mark(handle))


def is_hole_of(canvas: Any, handle: PriorHandle) -> bool:
    """Return True if the page's picture and hole were made for this prior."""
    return _has_key(canvas, _erasing(handle))


def has_picture(canvas: Any) -> bool:
    """Return True if the page's canvas has a picture to inpaint."""
    return isinstance(canvas, dict) and canvas.get("mode") == "mask"


def _has_key(canvas: Any, start: str) -> bool:
    return isinstance(canvas, dict) and str(canvas.get("key", "")).startswith(start)


def _mark(handle: PriorHandle) -> str:
    return f"{handle.name}:{handle.written}"


def _erasing(handle: PriorHandle) -> str:
    return f"inpaint:{_mark(handle)}"


def _key(start: str) -> str:
    """Return a new key, by which the page recognizes a new canvas."""
    return f"{start}:{time.monotonic_ns()}"
