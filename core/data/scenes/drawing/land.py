"""Far land: mountain ranges, rolling hills, woods along their skylines."""

from __future__ import annotations

import numpy as np

from ..plan import Hill, Plan, Range
from . import noise
from .canvas import Canvas, clip, smoothstep, steepness
from .light import Light, rgb


def paint_range(canvas: Canvas, plan: Plan, light: Light, hills: Range) -> None:
    """Paint a range of peaks: cones with zigzag ridges, one face lit, snow above the snow line."""
    peaks = np.array(hills.peaks, np.float32)
    top = float(peaks[:, 1].min()) - 0.07
    box = canvas.box(y0=top, y1=hills.foot)
    if box is None:
        return
    size, key = canvas.size, hills.key
    rough = noise.field(size, 7, 7, key, octaves=6, gain=0.55, rows=box.rows)
    crag = noise.field(size, 9, 6, key + 1, octaves=6, gain=0.60, ridged=True, rows=box.rows)
    x = box.x + 0.016 * rough
    px, py, slope = (peaks[:, k, None, None] for k in range(3))
    drop = np.maximum(box.y - py, 0)
    u = (x - px) + drop * 0.22 * np.sin(drop * 38 + px * 40)
    away = np.abs(u)
    face = (box.y - py) - slope * (away * (1 - 0.7 * away / (1 + 3 * away)))
    which = np.argmax(face, axis=0)[None]
    inside = np.take_along_axis(face, which, 0)[0]
    across = np.take_along_axis(u, which, 0)[0]
    drop = np.take_along_axis(drop, which, 0)[0]
    inside = inside + 0.011 * crag + 0.006 * rough
    cover = canvas.edge(inside, 1.25)
    # the direction that the rock faces: away from the ridge, disturbed by the crags
    tilt = steepness(crag, 1) * (size / 26)
    facing = np.tanh(across * (90 / (1 + 20 * np.abs(across)))) * 0.75 + clip(tilt, -1.2, 1.2)
    from_side = np.sign(plan.side) if abs(plan.side) > 0.15 else 1.0
    lit = clip(0.46 + 0.42 * facing * np.float32(from_side) + 0.10 * crag, 0.03, 1.1)
    stone = rgb(0.44, 0.42, 0.45) if plan.season != "summer" else rgb(0.46, 0.43, 0.42)
    tint = clip(0.5 + 0.35 * rough, 0, 1)
    albedo = stone[:, None, None] * (0.82 + 0.34 * tint)
    # grass and scrub climb the lower slopes
    green = meadow_color(plan) * 0.62
    low = smoothstep(0.45, 1.05, (box.y - top) / (hills.foot - top) + 0.10 * rough) * 0.75
    albedo = albedo + low * (green[:, None, None] - albedo)
    color = light.shade(albedo, lit)
    snow_cover = None
    if hills.snowline:
        height = (hills.snowline - box.y) * 9 + 0.30 * crag + 0.22 * rough + 0.25 * facing
        snow_cover = smoothstep(-0.12, 0.22, height)
        white = light.shade(rgb(0.93, 0.96, 1.0), clip(0.15 + 0.95 * lit, 0, 1.1))
        color = color + snow_cover * (white - color)
    mist = smoothstep(0.35, 1.0, (box.y - top) / (hills.foot - top))[None]
    color = light.fade(color, hills.distance)
    veil = np.float32(0.55 * min(1.0, light.density)) * mist
    color = color + veil * (light.haze[:, None, None] - color)
    canvas.paint(box, cover, color, "mountain")
    if snow_cover is not None:
        # the color is already painted: this only gives the snow its share of the map
        canvas.paint(box, cover * snow_cover, color, "snowcap")


def meadow_color(plan: Plan) -> np.ndarray:
    """Return the color of grass or snow-covered grass in the plan's season, (3,) float32."""
    return {
        "spring": rgb(0.46, 0.68, 0.26),
        "summer": rgb(0.40, 0.60, 0.22),
        "autumn": rgb(0.66, 0.56, 0.24),
        "winter": rgb(0.90, 0.93, 0.98),
    }[plan.season]


def skyline(canvas: Canvas, hill: Hill) -> np.ndarray:
    """Return the y of a hill's edge for each pixel column, (1, size)."""
    x = (np.arange(canvas.size, dtype=np.float32) + 0.5) / canvas.size
    swell = noise.line(canvas.size, hill.waves, hill.key, octaves=4, gain=0.38)
    return (hill.y + hill.relief * swell + hill.tilt * (x - 0.5))[None, :]


def paint_hill(canvas: Canvas, plan: Plan, light: Light, hill: Hill, floor: float) -> None:
    """Paint a rolling layer down to `floor`: slopes lit by their direction, mist at its foot."""
    edge = skyline(canvas, hill)
    size = canvas.size
    box = canvas.box(y0=float(edge.min()), y1=floor)
    if box is None:
        return
    below = box.y - edge
    cover = canvas.edge(below)
    rough = noise.field(size, 9, 16, hill.key + 1, octaves=5, gain=0.6, rows=box.rows)
    bearing = steepness(edge, 1) * size
    slope = clip(bearing * (2.2 * plan.side), -0.4, 0.4)
    # the light is brightest at the crest and decreases down the slope
    crest = np.exp(-below * 22)
    lit = clip(0.42 + slope * (0.4 + 0.6 * crest) + 0.30 * crest + 0.10 * rough, 0.05, 1.1)
    winter = plan.season == "winter"
    base = meadow_color(plan) * (0.92 if winter else 0.86)
    albedo = base[:, None, None] * (1 + (0.03 if winter else 0.13) * rough)
    if not winter:
        patches = noise.field(size, 3.5, 16, hill.key + 2, octaves=3, rows=box.rows)
        other = rgb(0.62, 0.60, 0.28) if plan.season != "autumn" else rgb(0.62, 0.40, 0.18)
        amount = 0.45 * smoothstep(0.35, 0.75, patches)
        albedo = albedo + amount * (other[:, None, None] - albedo)
    color = light.fade(light.shade(albedo, lit), hill.distance)
    mist = np.float32(0.40 * min(1.0, light.density)) * smoothstep(0.0, 0.13, below)
    color = color + mist * (light.haze[:, None, None] - color)
    canvas.paint(box, cover, color, "snow" if winter else "hill")
    if hill.wooded:
        _wood(canvas, plan, light, hill, edge)


def _wood(canvas: Canvas, plan: Plan, light: Light, hill: Hill, edge: np.ndarray) -> None:
    """Paint ranks of trees along a hill's edge, each tree a spike or a dome with a lit side."""
    near = 1 - hill.distance
    tall = 0.024 + 0.048 * near
    size = canvas.size
    for rank in range(3):
        count = int(46 + 40 * (1 - near))
        rng = noise.table()[(hill.key + rank * 17) % 500, : 4 * count].reshape(4, count)
        center = ((np.arange(count) + 0.5 + 0.30 * rng[0]) / count).astype(np.float32)
        at = clip((center * size).astype(np.int64), 0, size - 1)
        gap = noise.line(size, 3, hill.key + 5, octaves=3)[at]
        grown = smoothstep(-1.0, -0.2, gap)
        height = tall * (0.75 + 0.22 * rng[1]) * grown * (1 - 0.12 * rank)
        foot = edge[0, at] + tall * (0.10 + 0.32 * rank) + 0.1 * tall * rng[2]
        wide = np.maximum(height * 0.27, 0.003) + 0.12 / count
        box = canvas.box(y0=float((foot - height).min()), y1=float(edge.max()) + 1.4 * tall)
        if box is None:
            continue
        u = (box.x - center[:, None]) / wide[:, None]  # (trees, w)
        rise = 1 - np.abs(u)
        tip = foot[:, None] - height[:, None] * (rise * (0.8 + 0.2 * rise))
        tip[(rise < 0) | (grown < 0.3)[:, None]] = 9.0
        first = np.argmin(tip, axis=0)
        cols = np.arange(tip.shape[1])
        top = tip[first, cols][None, :]
        lean = u[first, cols][None, :]
        tone = rng[3][first][None, :]
        shag = noise.field(size, 60, 44, hill.key + 6 + rank, octaves=3, rows=box.rows)
        root = foot[first][None, :] + 0.10 * tall
        inside = np.minimum(box.y - top + 0.09 * tall * shag, root - box.y + 0.10 * tall * shag)
        cover = canvas.edge(inside)
        depth = (box.y - top) * (1 / tall)
        lit = clip(0.42 + 0.28 * lean * np.sign(plan.side) + 0.12 * shag - 0.22 * depth, 0, 1)
        albedo = _wood_color(plan, tone)
        color = light.fade(light.shade(albedo, lit), hill.distance * 0.92)
        if plan.season == "winter":
            frost = smoothstep(0.30, 0.0, depth + 0.2 * shag) * 0.65
            white = light.fade(light.shade(rgb(0.92, 0.95, 1.0), lit + 0.2), hill.distance)
            color = color + frost * (white - color)
        mist = np.float32(0.35 * min(1.0, light.density)) * clip(depth, 0, 1.2)
        color = color + mist * (light.haze[:, None, None] - color)
        canvas.paint(box, cover, color, "forest")


def _wood_color(plan: Plan, tone: np.ndarray) -> np.ndarray:
    """Return the (3, 1, w) albedo of far trees, slightly different for each tree."""
    dark, fresh = rgb(0.13, 0.26, 0.18), rgb(0.22, 0.38, 0.18)
    if plan.season == "autumn":
        fresh = rgb(0.62, 0.34, 0.10)
    if plan.season == "winter":
        fresh = rgb(0.20, 0.28, 0.26)
    amount = clip(0.4 + 0.35 * tone, 0, 1)
    return dark[:, None, None] + amount * (fresh - dark)[:, None, None]


def haze_band(
    canvas: Canvas, light: Light, y: float, thickness: float, strength: float, key: int
) -> None:
    """Paint a bank of mist along y."""
    box = canvas.box(y0=y - 3 * thickness, y1=y + 3 * thickness)
    if box is None:
        return
    drift = noise.field(canvas.size, 2.5, 14, key, octaves=4, rows=box.rows)
    fall = np.exp(-(((box.y - y) / thickness) ** 2))
    alpha = clip(fall * (strength + 0.35 * strength * drift), 0, 0.95)
    canvas.paint(box, alpha, light.haze * 0.98 + 0.02)
