"""The stochastic mask on a picture; its results are cached."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from . import checkpoints
from .cache import RecentItems
from .channels import image_of, picture_for, picture_or_example
from .checkpoints import TokenizerHandle, open_tokenizer
from .code_stats import code_sheet, tiles_view
from .encoding import PageFile, pack, png_file
from .errors import UserError
from .model_lock import one_at_a_time
from .tokenization import latents
from .uploads import Picture, limit_size, original_png
from .validation import MAX_SEED, finite, number, whole_number

if TYPE_CHECKING:
    from regvq.analysis.mask_sweep import Draws, Point

SIDE = 384
"""Longest side, in pixels, of the picture here, so that a moving slider is answered at once."""
STEPS = 20
"""Steps of the ratio along the curve."""
HOTTEST = 2.0
"""The highest temperature."""
BUDGET = 0.15
"""Seconds of the curve that are computed per request; other requests run in between."""
SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Ratios whose pictures /mask_sweep returns."""


@dataclass(frozen=True)
class Curve:
    """The known part of the curves over the mask ratio."""

    points: list[Point]
    """By increasing ratio."""
    left: int
    """The number of points that are not computed yet."""
    ratio: float
    """The ratio that is chosen."""


class NotStochastic(UserError):
    """A checkpoint whose quantizer has no token distribution, and so no stochastic mask, or one
    with several levels, whose masks are not shown."""

    def __init__(self, handle: TokenizerHandle) -> None:
        if handle.level is not None:
            super().__init__(
                f"{handle.bundle.name} has {handle.whole.levels} ids per position: the mask ratio "
                "here is that of a single codebook."
            )
            return
        super().__init__(
            f"{handle.name} always takes the best code: its quantizer has no token distribution, "
            "so there is nothing to draw from and no mask ratio to set."
        )


def stochastic_tokenizer(checkpoint: Any) -> TokenizerHandle:
    """Return the checkpoint. Raises UserError, NotStochastic if there is nothing to draw from."""
    handle = open_tokenizer(checkpoint)
    if handle.level is not None or not handle.tokenizer.quantizer.is_stochastic:
        raise NotStochastic(handle)
    return handle


def first_stochastic() -> str | None:
    """Return the name of the first checkpoint with a stochastic mask, found without loading any."""
    for name in checkpoints.names():
        found = checkpoints.bundle(name)
        quantizer = found.config.get("tokenizer", {}).get("quantizer", {})
        if "mask_ratio" in quantizer and checkpoints.levels_of(found) == 1:
            return name
    return None


def parse_settings(ratio: Any, temperature: Any, seed: Any) -> tuple[float, float, int]:
    """Return the three settings as numbers. Raises UserError."""
    return (
        number(ratio, "mask ratio", 0, 1),
        number(temperature, "temperature", 0, HOTTEST),
        whole_number(seed, "seed", 0, MAX_SEED),
    )


def mask_picture(handle: TokenizerHandle, image: Any) -> Picture:
    """Return the user's picture, or the first example, at most SIDE pixels long."""
    return limit_size(picture_or_example(handle, image), SIDE)


# ---------------------------------------------------------------- computation


@lru_cache(maxsize=12)
def draws(handle: TokenizerHandle, picture: Picture, temperature: float, seed: int) -> Draws:
    """Return the picture's token distribution and one draw from it at every token."""
    from regvq.analysis.mask_sweep import draw_tokens

    return draw_tokens(handle.tokenizer.quantizer, latents(handle, picture), temperature, seed)


_points: RecentItems[tuple, Point] = RecentItems(4096)
"""Points by checkpoint, digest of the picture (not the picture, which takes a megabyte), ratio,
temperature and seed."""


@lru_cache(maxsize=48)
def masked_picture(
    handle: TokenizerHandle, picture: Picture, ratio: float, temperature: float, seed: int
) -> tuple[Point, np.ndarray]:
    """Return a point of the curve and its picture uint8 (H, W, 3)."""
    from regvq.analysis.mask_sweep import mask_point

    found = draws(handle, picture, temperature, seed)
    image = image_of(handle, picture)
    point, pixels = mask_point(handle.tokenizer, image, found, ratio, seed)
    _points[handle, picture.digest, ratio, temperature, seed] = point
    return point, pixels


def curve_point(
    handle: TokenizerHandle, picture: Picture, ratio: float, temperature: float, seed: int
) -> Point:
    """Return a point of the curve."""
    known = _points.get((handle, picture.digest, ratio, temperature, seed))
    return known or masked_picture(handle, picture, ratio, temperature, seed)[0]


@one_at_a_time
def mask_sweep(
    image: Any, checkpoint: Any, seed: Any, temperature: Any
) -> tuple[list[tuple[PageFile, str]], list[Point], dict[str, Any]]:
    """Return pictures at the ratios SHOWN with their captions, and the curves: points and figures.

    Raises UserError or PictureError.
    """
    handle = stochastic_tokenizer(checkpoint)
    picture = limit_size(picture_for(handle, image), SIDE)
    _, temperature, seed = parse_settings(0, temperature, seed)
    points, gallery = [], []
    for step in range(STEPS + 1):
        point = curve_point(handle, picture, step / STEPS, temperature, seed)
        points.append(point)
        if point.ratio in SHOWN:
            pixels = masked_picture(handle, picture, point.ratio, temperature, seed)[1]
            file = png_file(pixels, f"ratio-{100 * point.ratio:.0f}")
            gallery.append((file, f"ratio {point.ratio:g}, {point.psnr:.2f} dB"))
    found = draws(handle, picture, temperature, seed)
    return (
        gallery,
        points,
        {
            "ratio": [point.ratio for point in points],
            "psnr": [finite(point.psnr) for point in points],
            "drawn": [point.drawn for point in points],
            "changed": [point.changed for point in points],
            "entropy_bits": float(found.entropy.mean()),
            "tokens": int(found.best.size),
            "codebook_size": handle.tokenizer.codebook_size,
            "width": picture.image.width,
            "height": picture.image.height,
            "temperature": temperature,
            "seed": seed,
            "checkpoint": handle.name,
        },
    )


# ---------------------------------------------------------------- views


def mask_view(
    handle: TokenizerHandle, picture: Picture, ratio: float, temperature: float, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the page draws of one ratio, and its figures."""
    from regvq.analysis.mask_sweep import apply_mask
    from regvq.analysis.rendering import ramp

    found = draws(handle, picture, temperature, seed)
    masked = apply_mask(found, ratio, seed)
    point, pixels = masked_picture(handle, picture, ratio, temperature, seed)
    best = curve_point(handle, picture, 0.0, temperature, seed)
    size, sheet = handle.tokenizer.codebook_size, code_sheet(handle)
    view = {
        "original": PageFile(original_png(picture), "original"),
        "reconstruction": png_file(Image.fromarray(pixels), "masked"),
        "width": picture.image.width,
        "height": picture.image.height,
        "patch": handle.tokenizer.downsampling,
        "rows": found.best.shape[0],
        "columns": found.best.shape[1],
        "state": pack(masked.mask.astype(np.uint8) + masked.changed, "u1"),
        "best": pack(found.best, "<u4"),
        "drawn": pack(found.drawn, "<u4"),
        "bestP": pack(found.best_p, "<f4"),
        "drawnP": pack(found.drawn_p, "<f4"),
        "entropy": pack(found.entropy, "<f4"),
        "top": float(np.log2(size)),
        "codes": size,
        "sprite": sheet,
        "tiles": None if sheet else tiles_view(handle, [*found.best.flat, *found.drawn.flat]),
        "ramp": ramp(np.linspace(0, 1, 64)).tolist(),
    }
    return view, {
        "psnr": finite(point.psnr),
        "lost": finite(best.psnr - point.psnr),
        "ratio": ratio,
        "drawn": int(masked.mask.sum()),
        "changed": int(masked.changed.sum()),
        "tokens": int(found.best.size),
        "entropy": float(found.entropy.mean()),
        "codebook_size": size,
    }


def curve_view(
    handle: TokenizerHandle,
    picture: Picture,
    ratio: float,
    temperature: float,
    seed: int,
    budget: float,
) -> Curve:
    """Return the known part of the curves, after up to ``budget`` seconds of computing more."""
    from regvq.analysis.mask_sweep import coarse_to_fine

    end, points, left, made = time.monotonic() + budget, [], 0, 0
    for place in coarse_to_fine(STEPS):
        if (handle, picture.digest, place, temperature, seed) not in _points:
            if budget == 0 or (made and time.monotonic() > end):
                left += 1
                continue
            made += 1
        points.append(curve_point(handle, picture, place, temperature, seed))
    return Curve(sorted(points), left, ratio)


@one_at_a_time
def tab_view(
    image: Any, checkpoint: Any, ratio: Any, temperature: Any, seed: Any
) -> tuple[dict[str, Any], dict[str, Any], Curve]:
    """Return what the page draws of one ratio, its figures, and the known part of the curves.

    Raises NotStochastic, UserError or PictureError.
    """
    handle = stochastic_tokenizer(checkpoint)
    picture = mask_picture(handle, image)
    settings = parse_settings(ratio, temperature, seed)
    view, figures = mask_view(handle, picture, *settings)
    return view, figures, curve_view(handle, picture, *settings, budget=0)


@one_at_a_time
def more_of_curve(image: Any, checkpoint: Any, ratio: Any, temperature: Any, seed: Any) -> Curve:
    """Return the curves after BUDGET more seconds of computing. Raises UserError."""
    settings = parse_settings(ratio, temperature, seed)
    handle = stochastic_tokenizer(checkpoint)
    return curve_view(handle, mask_picture(handle, image), *settings, BUDGET)
