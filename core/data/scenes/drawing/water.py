"""Lake and sea: the mirrored scene, waves in perspective, the sun's glitter, surf on the beach."""

from __future__ import annotations

import numpy as np

from ..plan import Plan
from . import noise
from .canvas import Canvas, clip, smoothstep
from .ground import shore_line
from .light import Light, rgb


def paint_water(canvas: Canvas, plan: Plan, light: Light) -> None:
    """Paint the water from its far shore down (the near ground is painted over it)."""
    far = plan.far_shore
    shore = shore_line(canvas, plan)
    box = canvas.box(y0=far, y1=min(1.0, float(shore.max()) + 0.03))
    if box is None:
        return
    size = canvas.size
    away = np.maximum(box.y - far, 0)  # (h, 1)
    depth = 0.56 / (away[:, 0] + 0.05)
    sea = plan.water == "sea"
    calm = not sea and plan.weather in ("clear", "fog", "cloudy")
    wave = noise.ground(size, box.rows, depth, 5, 16, plan.key + 101, octaves=4, gain=0.7)
    swell = noise.ground(size, box.rows, depth, 1.6, 7, plan.key + 102, octaves=3)
    near = clip(away / max(0.12, 1 - far), 0, 1)
    chop = (0.010 if calm else 0.034) * (0.25 + near)
    mirrored = _mirror(canvas, far, box.y, chop * wave + 0.4 * chop * swell)
    body = rgb(0.06, 0.24, 0.34) if sea else rgb(0.07, 0.24, 0.28)
    if plan.hour == "noon" and plan.weather in ("clear", "cloudy"):
        body = rgb(0.03, 0.38, 0.56) if sea else rgb(0.05, 0.34, 0.44)
    deep = light.flat(body, 0.8)[:, None, None]
    if sea:  # shallows over sand
        shallow = light.flat(rgb(0.28, 0.62, 0.60), 0.8)[:, None, None]
        shoal = smoothstep(0.20, 0.0, shore - box.y + 0.010 * swell) * 0.75
        deep = deep + shoal * (shallow - deep)
    share = clip((0.20 if calm else 0.36) + 0.34 * near + 0.06 * swell, 0, 0.85)
    if plan.hour == "night":
        share = share * 0.7
    color = mirrored + share * (deep - mirrored)
    crest = smoothstep(0.35, 1.6, wave + 0.5 * swell) * (0.22 if sea else 0.14)
    color = color + crest * (light.horizon[:, None, None] - color)
    trough = smoothstep(0.3, 1.7, -wave - 0.3 * swell) * (0.20 if sea else 0.12)
    color = color * (1 - trough)
    haze = np.float32(0.42 * min(1.3, light.density)) * np.exp(-away * 26)
    color = color + haze * (light.haze[:, None, None] - color)
    glitter = _glitter(plan, box.x, away, wave, swell)
    if glitter is not None:
        sparkle = np.minimum(1, light.glow * 1.12 + 0.08)[:, None, None]
        color = color + glitter * (sparkle - color)
    canvas.paint(box, canvas.edge(box.y - far), color, plan.water)
    if sea:
        _surf(canvas, plan, light, shore)


def _mirror(canvas: Canvas, far: float, y: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return (3, h, w): the scene above the far shore, upside down and distorted by the waves."""
    size = canvas.size
    source = (2 * far - y - shift) * size - 0.5
    source = clip(source, 0, far * size - 0.5)
    # rows beyond the top edge of the canvas are clamped to it
    low = np.floor(source).astype(np.int32)
    part = (source - low).astype(np.float32)
    cols = np.arange(size)[None, :]
    flat = canvas.image.reshape(3, -1)
    index = low * size + cols
    upper = flat[:, index]
    np.minimum(low + 1, size - 1, out=low)
    lower = flat[:, low * size + cols]
    return upper + part * (lower - upper)


def _glitter(
    plan: Plan, x: np.ndarray, away: np.ndarray, wave: np.ndarray, swell: np.ndarray
) -> np.ndarray | None:
    disc = plan.sun or plan.moon
    if disc is None:
        return None
    wide = 0.022 + 0.24 * away + 0.4 * (plan.horizon - disc.y) * away
    column = np.exp(-(((x - disc.x) / wide) ** 2))
    spark = smoothstep(-0.1, 1.1, wave + 0.35 * swell) * 0.9 + 0.18
    strength = {"noon": 0.55, "night": 0.62}.get(plan.hour, 0.9)
    if plan.weather == "fog":
        strength *= 0.5
    fade = clip(1.05 - 1.1 * away, 0.2, 1)
    return clip(column * spark * strength * fade, 0, 0.95)


def _surf(canvas: Canvas, plan: Plan, light: Light, shore: np.ndarray) -> None:
    """Paint foam: a line along the sand and two breaking lines behind it."""
    size = canvas.size
    foam = light.flat(rgb(0.96, 0.98, 1.0), 0.85)
    lace = noise.field(size, 44, 60, plan.key + 111, octaves=3, gain=0.7)
    for k, (out, thick, strength) in enumerate(
        ((0.004, 0.010, 0.95), (0.038, 0.006, 0.65), (0.078, 0.004, 0.45))
    ):
        bend = noise.line(size, 6 - k, plan.key + 112 + k, octaves=3, gain=0.5)[None, :]
        line = shore - out + (0.004 + 0.004 * k) * bend
        box = canvas.box(y0=float(line.min()) - 3 * thick, y1=float(line.max()) + 3 * thick)
        if box is None:
            continue
        texture = lace[box.rows]
        gone = (box.y - line) / thick
        body = np.exp(-np.where(gone > 0, 5.0, 0.9) * gone * gone)
        broken = smoothstep(-0.9, 0.5, bend + 0.9 * texture) if k else 1.0
        alpha = clip(body * broken * (0.75 + 0.3 * texture), 0, 1) * strength
        canvas.paint(box, alpha, foam)
