"""Charts as pictures, for API clients that want no figure.

Plotly makes a picture in a Chromium only, which a server need not have; the figure itself is among
the answer's figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .theme import PALETTE

SIZE = (960, 640)
_LEFT, _RIGHT, _TOP, _GAP, _BOTTOM = 84, 28, 46, 74, 56


def mask_chart(figures: dict[str, Any]) -> Image.Image:
    """Return a chart of PSNR (above) and the share of changed tokens (below) by mask ratio."""
    picture = Image.new("RGB", SIZE, PALETTE["surface"][0])
    pen = ImageDraw.Draw(picture)
    height = (SIZE[1] - _TOP - _GAP - _BOTTOM) // 2
    exact = [value for value in figures["psnr"] if value is not None]
    low, high = (min(exact), max(exact)) if exact else (0.0, 1.0)
    room = max(0.1 * (high - low), 0.5)
    _line(
        pen,
        (_TOP, height),
        "PSNR in dB",
        PALETTE["accent"][0],
        figures["ratio"],
        figures["psnr"],
        (low - room, high + room),
    )
    _line(
        pen,
        (_TOP + height + _GAP, height),
        "Changed tokens, %",
        PALETTE["warm"][0],
        figures["ratio"],
        [100 * value for value in figures["changed"]],
        (0.0, 100.0),
    )
    pen.text(
        ((SIZE[0] + _LEFT - _RIGHT) / 2, SIZE[1] - 12),
        f"mask ratio, {figures['checkpoint']}, temperature {figures['temperature']:g}",
        fill=PALETTE["ink-soft"][0],
        font=ImageFont.load_default(18),
        anchor="ms",
    )
    return picture


def _line(
    pen: ImageDraw.ImageDraw,
    band: tuple[int, int],
    title: str,
    color: str,
    xs: Sequence[float],
    ys: Sequence[float | None],
    span: tuple[float, float],
) -> None:
    """Draw one curve over [0, 1] with its axis in the band (top, height); None is left out."""
    top, height = band
    small = ImageFont.load_default(16)
    left, right = _LEFT, SIZE[0] - _RIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + x * (right - left),
            top + height * (1 - (y - span[0]) / (span[1] - span[0])),
        )

    pen.text((left, top - 14), title, PALETTE["ink"][0], ImageFont.load_default(18), anchor="ls")
    for step in range(5):
        value = span[0] + (span[1] - span[0]) * step / 4
        _, y = place(0, value)
        pen.line([(left, y), (right, y)], PALETTE["line"][0])
        pen.text((left - 10, y), f"{value:.4g}", PALETTE["ink-soft"][0], small, anchor="rm")
    for step in range(6):
        x, y = place(step / 5, span[0])
        pen.text((x, y + 8), f"{step / 5:g}", PALETTE["ink-soft"][0], small, anchor="mt")
    points = [place(x, y) for x, y in zip(xs, ys, strict=True) if y is not None]
    pen.line(points, color, 3, joint="curve")
    for x, y in points:
        pen.ellipse([x - 4, y - 4, x + 4, y + 4], color)


def scatter(places: np.ndarray, colors: np.ndarray, side: int = 900) -> Image.Image:
    """Return a chart of points (K, 2 or 3) in their colors uint8 (K, 3); a third axis is depth."""
    places = np.asarray(places, dtype=np.float64)
    low, high = places.min(axis=0), places.max(axis=0)
    span = max(float((high - low)[:2].max()), 1e-9)
    at = (places - (low + high) / 2) / span
    large = 2 * side  # drawn at twice the size and reduced, so that the points are round
    picture = Image.new("RGB", (large, large), PALETTE["plate"][0])
    pen = ImageDraw.Draw(picture)
    radius = float(np.clip(0.32 * large / np.sqrt(len(at)), 3, 14))
    order = np.argsort(at[:, 2]) if at.shape[1] == 3 else range(len(at))
    for code in order:
        x, y = large * (0.5 + 0.92 * at[code, 0]), large * (0.5 - 0.92 * at[code, 1])
        box = [x - radius, y - radius, x + radius, y + radius]
        pen.ellipse(box, tuple(int(channel) for channel in colors[code]))
    return picture.resize((side, side), Image.Resampling.LANCZOS)
