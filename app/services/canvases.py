"""What the page is given to paint on: a map in its classes, or a picture to rub out."""

from __future__ import annotations

import base64
import time
from typing import Any

import numpy as np
from PIL import Image

from ..ui.pictures import data_url
from . import generation, semantic_maps
from .priors import Painter

THUMB = 72


def _key(what: str) -> str:
    """A mark by which the page knows that it is given something new to paint on."""
    return f"{what}:{time.monotonic_ns()}"


def map_thumb(ids: np.ndarray, table: np.ndarray) -> str:
    """The middle of a map of classes (H, W) in the colours of ``table``, small."""
    side = min(ids.shape)
    top, left = (ids.shape[0] - side) // 2, (ids.shape[1] - side) // 2
    square = Image.fromarray(table[ids[top : top + side, left : left + side]])
    return data_url(np.asarray(square.resize((THUMB, THUMB), Image.Resampling.NEAREST)))


def paper(painter: Painter, ids: np.ndarray | None) -> dict[str, Any]:
    """A map to paint on, as the page takes it."""
    known, (width, height) = semantic_maps.legend(painter), painter.size
    if ids is None:
        ids = np.zeros((height, width), np.uint8)
    return {
        "key": _key(f"{painter.name}:{painter.written}"),
        "mode": "map",
        "classes": list(known.classes),
        "palette": known.palette,
        "width": width,
        "height": height,
        "ids": _packed(ids),
    }


def hole(
    painter: Painter, source: Any, image: Any, marked: np.ndarray | None = None
) -> tuple[Any, dict[str, Any]]:
    """A picture to rub out: its tokens, kept for the session, and how the page shows it; with what
    is ``marked``, bool (h, w), rubbed out already."""
    if source is None or source["tokenizer"] != painter.model.name:
        if source is not None:  # the same picture in another tokenizer's tokens
            ids = generation.tokens_of(Image.fromarray(source["pixels"]), painter)
        else:
            from .examples import examples

            drawn = [example.path for example in examples()]
            # A prior of drawn scenes is at home in a scene.
            like = drawn[-1] if semantic_maps.scenes_like(painter) else drawn[0]
            ids = generation.tokens_of(image or like, painter)
        source = source_of(painter, ids)
    rows, columns = source["ids"].shape
    width, height = painter.size
    own = {} if marked is None else {"ids": _packed(marked)}
    return source, {
        "key": _key("hole" if marked is None else _again(painter)),
        "mode": "mask",
        "width": columns,
        "height": rows,
        "ratio": width / height,
        "under": data_url(source["pixels"]),
        **own,
    }


def resumes(hole: Any, painter: Painter) -> bool:
    """Whether the page has a picture with a hole that was taken up again with this prior."""
    return isinstance(hole, dict) and str(hole.get("key", "")).startswith(_again(painter))


def _again(painter: Painter) -> str:
    return f"again:{painter.name}:{painter.written}"


def _packed(ids: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(ids, np.uint8).tobytes()).decode()


def source_of(painter: Painter, ids: np.ndarray) -> dict[str, Any]:
    """A picture of tokens int64 (h, w) that can be rubbed out, as the session keeps it."""
    import torch

    picture = generation.painted(painter, torch.from_numpy(ids)[None])[0]
    return {"tokenizer": painter.model.name, "ids": ids, "pixels": np.asarray(picture)}
