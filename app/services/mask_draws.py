"""The stochastic mask on a picture: what is computed of it is remembered."""

from __future__ import annotations

import time
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..ui.pictures import packed, page_file, png
from . import checkpoints
from .checkpoints import Model, Picture
from .code_stats import sprite_png
from .reconstruction import MAX_SEED

if TYPE_CHECKING:
    from regvq.analysis.mask_sweep import Draws, Point

SIDE = 384
"""Longest side, in pixels, of the picture here: a slider that moves wants its answer at once."""
STEPS = 20
"""Steps of the ratio along the curve."""
HOTTEST = 2.0


def picture_of(image: Any) -> Picture:
    from .examples import examples

    return checkpoints.smaller(checkpoints.open_picture(image or examples()[0].path), SIDE)


@lru_cache(maxsize=12)
def draws(which: Model, picture: Picture, temperature: float, seed: int) -> Draws:
    """The picture's token distribution and one draw from it everywhere."""
    from regvq.analysis.mask_sweep import draw_tokens

    latents = checkpoints.latents(which, picture)
    return draw_tokens(which.tokenizer.quantizer, latents, temperature, seed)


_points: OrderedDict[tuple, Point] = OrderedDict()
KEPT = 4096


@lru_cache(maxsize=48)
def painted(
    which: Model, picture: Picture, ratio: float, temperature: float, seed: int
) -> tuple[Point, np.ndarray]:
    """A point of the curve and its picture uint8 (H, W, 3)."""
    from regvq.analysis.mask_sweep import mask_point
    from regvq.images import to_tensor

    found = draws(which, picture, temperature, seed)
    image = to_tensor(picture.image)
    point, pixels = mask_point(which.tokenizer, image, found, ratio, seed)
    _points[which, picture, ratio, temperature, seed] = point  # outlives the picture
    while len(_points) > KEPT:
        _points.popitem(last=False)
    return point, pixels


def point_at(which: Model, picture: Picture, ratio: float, temperature: float, seed: int) -> Point:
    """A point of the curve."""
    known = _points.get((which, picture, ratio, temperature, seed))
    return known or painted(which, picture, ratio, temperature, seed)[0]


def checked(ratio: Any, temperature: Any, seed: Any) -> tuple[float, float, int]:
    """The three settings as numbers. Raises Refused."""
    return (
        checkpoints.number(ratio, "mask ratio", 0, 1),
        checkpoints.number(temperature, "temperature", 0, HOTTEST),
        checkpoints.whole_number(seed, "seed", 0, MAX_SEED),
    )


def finite(value: float) -> float | None:
    return value if np.isfinite(value) else None  # JSON knows no infinity


@lru_cache(maxsize=12)
def _original(picture: Picture) -> bytes:
    return png(picture.image)


def stage_of(which: Model, picture: Picture, ratio: float, heat: float, seed: int) -> tuple:
    """What the page draws of one ratio, and its figures."""
    from regvq.analysis.mask_sweep import apply_mask
    from regvq.analysis.rendering import ramp

    found = draws(which, picture, heat, seed)
    masked = apply_mask(found, ratio, seed)
    point, pixels = painted(which, picture, ratio, heat, seed)
    best = point_at(which, picture, 0.0, heat, seed)
    size = which.tokenizer.codebook_size
    stage = {
        "original": page_file(_original(picture), "original"),
        "reconstruction": page_file(png(Image.fromarray(pixels)), "masked"),
        "width": picture.image.width,
        "height": picture.image.height,
        "patch": which.tokenizer.downsampling,
        "rows": found.best.shape[0],
        "columns": found.best.shape[1],
        "state": packed(masked.mask.astype(np.uint8) + masked.changed, "u1"),
        "best": packed(found.best, "<u4"),
        "drawn": packed(found.drawn, "<u4"),
        "bestP": packed(found.best_p, "<f4"),
        "drawnP": packed(found.drawn_p, "<f4"),
        "entropy": packed(found.entropy, "<f4"),
        "top": float(np.log2(size)),
        "codes": size,
        "sprite": page_file(sprite_png(which), "codes"),
        "ramp": ramp(np.linspace(0, 1, 64)).tolist(),
    }
    figures = {
        "psnr": finite(point.psnr),
        "lost": finite(best.psnr - point.psnr),
        "ratio": ratio,
        "drawn": int(masked.mask.sum()),
        "changed": int(masked.changed.sum()),
        "tokens": int(found.best.size),
        "entropy": float(found.entropy.mean()),
        "codebook_size": size,
    }
    return stage, figures


def curve_of(
    which: Model, picture: Picture, ratio: float, heat: float, seed: int, budget: float
) -> dict[str, Any]:
    """The curves as far as they are known, after ``budget`` seconds of computing more of them."""
    from regvq.analysis.mask_sweep import coarse_to_fine

    end, points, left, made = time.monotonic() + budget, [], 0, 0
    for place in coarse_to_fine(STEPS):
        key = (which, picture, place, heat, seed)
        if key not in _points:
            if budget == 0 or (made and time.monotonic() > end):
                left += 1
                continue
            made += 1
        points.append(point_at(*key))
    points.sort()
    return {
        "points": [
            {"ratio": point.ratio, "psnr": finite(point.psnr), "changed": point.changed}
            for point in points
        ],
        "left": left,
        "ratio": ratio,
        "stamp": time.monotonic_ns(),  # a value that equals the last one would not wake the page
    }
