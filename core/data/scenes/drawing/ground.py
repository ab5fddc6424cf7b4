"""The ground in front: meadow, snow or sand in perspective, a path through it, flowers on it."""

from __future__ import annotations

import numpy as np

from ..composition import path_center
from ..plan import Plan
from . import noise
from .canvas import Box, Canvas, clip, smoothstep, steepness
from .land import meadow_color
from .light import Light, rgb

_PETALS = {
    "red": rgb(0.88, 0.16, 0.12),
    "yellow": rgb(0.98, 0.82, 0.16),
    "pink": rgb(0.95, 0.48, 0.66),
    "white": rgb(0.98, 0.97, 0.94),
    "purple": rgb(0.56, 0.32, 0.76),
}


def shore_line(canvas: Canvas, plan: Plan) -> np.ndarray:
    """Return the y at which the ground in front begins, for each pixel column, (1, size)."""
    size = canvas.size
    x = (np.arange(size, dtype=np.float32) + 0.5) / size
    swell = noise.line(size, 2.6, plan.key + 41, octaves=5, gain=0.42)
    if plan.water:
        left, right = plan.near_shore
        return (left + (right - left) * x + 0.016 * swell)[None, :]
    return (plan.horizon + 0.075 + 0.014 * swell)[None, :]


def _depth(plan: Plan, y: np.ndarray) -> np.ndarray:
    """Return the distance of each row on the ground plane; 1 at the picture's lower edge."""
    return (1.06 - plan.horizon) / np.maximum(y - plan.horizon + 0.06, 0.02)


def paint_ground(canvas: Canvas, plan: Plan, light: Light) -> None:
    """Paint all of the ground in front, back to front: sand, then grass or snow, path, flowers."""
    edge = shore_line(canvas, plan)
    if plan.land == "coast":
        _sand(canvas, plan, light, edge)
        size = canvas.size
        edge = edge + 0.13 + 0.016 * noise.line(size, 5, plan.key + 44, octaves=5, gain=0.55)
    elif plan.water == "lake":
        box = canvas.box(y0=float(edge.min()) - 0.02)
        if box is not None:  # a dark wet rim under the bank
            rim = np.exp(-(((box.y - edge) * 70) ** 2)) * 0.45
            canvas.paint(box, rim, light.flat(rgb(0.16, 0.17, 0.14)))
    _meadow(canvas, plan, light, edge)
    if plan.path is not None:
        _path(canvas, plan, light, edge)
    if plan.flowers:
        _flowers(canvas, plan, light, edge)


def _sand(canvas: Canvas, plan: Plan, light: Light, edge: np.ndarray) -> None:
    box = canvas.box(y0=float(edge.min()))
    if box is None:
        return
    depth = _depth(plan, box.y[:, 0])
    grain = noise.ground(canvas.size, box.rows, depth, 26, 40, plan.key + 51, octaves=4, gain=0.75)
    ripple = noise.ground(canvas.size, box.rows, depth, 5, 26, plan.key + 52, octaves=3)
    below = box.y - edge
    wet = smoothstep(0.055, 0.012, below + 0.006 * ripple)
    dry, damp = rgb(0.90, 0.78, 0.57), rgb(0.56, 0.46, 0.36)
    albedo = dry[:, None, None] * (1 + 0.035 * grain + 0.05 * ripple)
    if plan.season == "winter":
        albedo = albedo * rgb(0.95, 0.98, 1.06)[:, None, None]
    albedo = albedo + 0.75 * wet * (damp[:, None, None] - albedo)
    color = light.shade(albedo, clip(0.62 + 0.16 * ripple + 0.06 * grain, 0, 1.1))
    # wet sand mirrors a little of the sky
    color = color + 0.30 * wet * (light.middle[:, None, None] - color)
    canvas.paint(box, canvas.edge(below), color, "beach")


def _meadow(canvas: Canvas, plan: Plan, light: Light, edge: np.ndarray) -> None:
    top = float(edge.min())
    box = canvas.box(y0=top)
    if box is None or top > 1:
        return
    size, key = canvas.size, plan.key
    depth = _depth(plan, box.y[:, 0])
    near = clip((box.y - top) / max(0.05, 1 - top), 0, 1)
    winter = plan.season == "winter"
    swell = noise.field(size, 2.4, 5, key + 61, octaves=3, rows=box.rows)
    tufts = noise.ground(size, box.rows, depth, 30, 20, key + 62, octaves=4, gain=0.9)
    patch = noise.ground(size, box.rows, depth, 3.0, 3.6, key + 63, octaves=3)
    base = meadow_color(plan)
    if winter:
        albedo = base[:, None, None] * (1 + 0.012 * tufts)
        drifts = noise.field(
            size, 2.6, 9, key + 66, octaves=4, gain=0.42, ridged=True, rows=box.rows
        )
        bank = steepness(drifts, 0) * (size / 40)
        lit = 0.46 + 0.18 * swell + 0.20 * clip(bank, -1.4, 1.4) + 0.04 * patch
        lit = clip(lit + 0.02 * tufts + 0.14 * (1 - near), 0.05, 1.1)
    else:
        fiber = noise.field(size, 76, 30, key + 65, octaves=3, gain=1.0, rows=box.rows)
        tufts = 0.62 * tufts + (0.20 + 0.45 * near) * fiber
        deep, pale = base * rgb(0.62, 0.78, 0.62), base * rgb(1.25, 1.08, 0.95)
        amount = clip(0.56 + 0.20 * patch + 0.22 * tufts - 0.14 * near, 0, 1)
        albedo = deep[:, None, None] + amount * (pale - deep)[:, None, None]
        lit = clip(0.58 + 0.26 * swell + 0.18 * tufts - 0.12 * near, 0.05, 1.1)
    color = light.shade(albedo, lit)
    far = np.float32(0.30 * min(1.2, light.density)) * (1 - near) ** 3
    color = color + far * (light.haze[:, None, None] - color)
    label = "snow" if winter else "grass"
    shag = 0.0 if winter else 0.006 * noise.line(size, 60, key + 64, octaves=3, gain=0.8)[None, :]
    canvas.paint(box, canvas.edge(box.y - edge + shag), color, label)
    if not winter:
        _blades(canvas, plan, light, edge)


def _blades(canvas: Canvas, plan: Plan, light: Light, edge: np.ndarray) -> None:
    """Paint rows of grass blades, longer and darker at the root toward the viewer."""
    size = canvas.size
    base = meadow_color(plan)
    top = float(edge.min())
    x = (np.arange(size, dtype=np.float32) + 0.5) / size
    for row in range(7):
        t = 0.16 + 0.14 * row
        y = top + (1.03 - top) * t
        tall = (0.014 + 0.046 * t * t) * min(1.0, (1.02 - top) * 2.6)
        cells = 152 - 16 * row
        key = plan.key + 70 + row
        spikes = 1.15 - np.abs(noise.line(size, cells, key, octaves=2, gain=0.6)) * 1.25
        clump = 0.62 + 0.42 * noise.line(size, 7, key + 9, octaves=3, gain=0.6)
        sway = 0.022 * noise.line(size, 3, key + 3, octaves=3)
        root = y + sway
        grows = smoothstep(0.005, 0.03, root - edge[0])  # no blades on the sand
        height = tall * grows * clip(spikes, 0, 1.2) * clip(clump, 0, 1.5)
        box = canvas.box(y0=float((root - height).min()), y1=float(root.max()) + 0.6 * tall)
        if box is None:
            continue
        up = (root[None, :] - box.y) / tall  # 0 at the root, 1 at a tall tip
        inside = box.y - (root - height)[None, :]
        cover = clip(inside * size * 0.5 + 0.5, 0, 1) * grows
        sink = smoothstep(-0.6, 0.12, up)  # the roots blend into the meadow
        tone = clip(0.26 + 0.80 * up, 0.1, 1.15)
        tint = base * rgb(0.86, 0.94, 0.66) * (0.98 + 0.08 * float(np.sin(plan.key + row)))
        color = light.shade(tint, clip(tone, 0, 1.1))
        glint = (0.12 * np.abs(np.sin(x * 310 + row)))[None, None, :] * clip(up, 0, 1)
        canvas.paint(box, cover * sink * 0.88, color * (1 + glint), None)


def _path(canvas: Canvas, plan: Plan, light: Light, edge: np.ndarray) -> None:
    assert plan.path is not None
    top = float(edge.min())
    box = canvas.box(y0=top)
    if box is None:
        return
    size, key = canvas.size, plan.key
    t = (box.y - plan.horizon) / (1 - plan.horizon)
    center = path_center(plan.path, t)
    half = 0.004 + 0.115 * np.maximum(t, 0) ** 1.5
    depth = _depth(plan, box.y[:, 0])
    ragged = noise.ground(size, box.rows, depth, 26, 30, key + 81, octaves=4, gain=0.85)
    inside = half - np.abs(box.x - center) + half * 0.05 * ragged
    cover = canvas.edge(inside) * canvas.edge(box.y - edge)
    winter = plan.season == "winter"
    sand = rgb(0.74, 0.60, 0.43) if not winter else rgb(0.70, 0.66, 0.62)
    across = (box.x - center) / half
    ruts = np.exp(-((np.abs(across) - 0.48) ** 2) * 30)
    albedo = sand[:, None, None] * (1 + 0.09 * ragged - 0.12 * ruts)
    lit = clip(0.55 + 0.14 * ragged + 0.10 * across * np.float32(plan.side), 0, 1)
    color = light.shade(albedo, lit)
    far = np.float32(0.30 * min(1.2, light.density)) * clip(1 - 1.4 * t, 0, 1) ** 2
    color = color + far * (light.haze[:, None, None] - color)
    canvas.paint(box, cover, color, "path")


def _flowers(canvas: Canvas, plan: Plan, light: Light, edge: np.ndarray) -> None:
    """Paint drifts of flowers: soft dots, larger toward the viewer, on a jittered ground grid."""
    top = float(edge.max()) + 0.02
    if top > 0.94:
        return
    size = canvas.size
    petal = _PETALS[plan.flowers]
    rng = noise.table()
    start = plan.key % 400
    drift = noise.line(size, 4, plan.key + 91, octaves=2)
    for row in range(9):
        t = ((row + 1) / 9) ** 1.5
        y = top + (0.985 - top) * t
        radius = 0.0042 + 0.0105 * t
        count = int(46 - 22 * t)
        draws = rng[start + row * 5 : start + row * 5 + 4, :count]
        x = ((np.arange(count) + 0.5 + 0.4 * draws[0]) / count).astype(np.float32)
        at = clip((x * size).astype(np.int64), 0, size - 1)
        keep = drift[at] + 0.5 * draws[1] > -0.1
        if plan.path is not None:
            tt = (y - plan.horizon) / (1 - plan.horizon)
            keep &= np.abs(x - path_center(plan.path, tt)) > 0.02 + 0.125 * tt**1.5
        if not keep.any():
            continue
        x, draws = x[keep], draws[:, keep]
        cy = y + 0.012 * (0.5 + t) * draws[1]
        r = radius * (1 + 0.18 * draws[2])
        box = canvas.box(y0=float((cy - 2 * r).min()), y1=float((cy + 2 * r).max()))
        if box is not None:
            _dots(canvas, box, light, petal, x, cy, r)


def _dots(
    canvas: Canvas,
    box: Box,
    light: Light,
    petal: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    r: np.ndarray,
) -> None:
    """Splat each flower over the few pixels around it; the nearest flower covers the others."""
    size = canvas.size
    reach = int(np.ceil(float(r.max()) * size + 1))
    steps = np.arange(-reach, reach + 1)
    cols = np.floor(x * size).astype(np.int64)[:, None, None] + steps[None, None, :]
    rows = np.floor(y * size).astype(np.int64)[:, None, None] + steps[None, :, None]
    dx = (cols + 0.5) / size - x[:, None, None]
    dy = ((rows + 0.5) / size - y[:, None, None]) * 1.35
    r = r[:, None, None]
    angle = np.arctan2(dy, dx)
    outline = r * (0.86 + 0.16 * np.cos(5 * angle + 40 * x[:, None, None]))
    distance = np.hypot(dx, dy)
    cover = clip((outline - distance) * size + 0.5, 0, 1) * np.minimum(1, 2.2 * r * size)
    tone = clip(0.72 - 0.32 * dy / r + 0 * dx, 0.3, 1.1)
    eye = clip((0.30 * r - distance) * size + 0.5, 0, 1)
    height, width = box.rows.stop - box.rows.start, size
    rows = rows - box.rows.start
    rows, cols = np.broadcast_arrays(rows, cols)
    fits = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width) & (cover > 0)
    flat = (rows * width + cols)[fits]
    alpha = np.zeros(height * width, np.float32)
    shade = np.full(height * width, 0.6, np.float32)
    heart = np.zeros(height * width, np.float32)
    np.maximum.at(alpha, flat, cover[fits].astype(np.float32))
    shade[flat] = tone[fits]
    np.maximum.at(heart, flat, eye[fits].astype(np.float32))
    alpha, shade, heart = (v.reshape(height, width) for v in (alpha, shade, heart))
    color = light.shade(petal, shade)
    core = light.flat(rgb(0.95, 0.75, 0.2) if petal[2] > 0.4 else rgb(0.25, 0.12, 0.08), 0.8)
    color = color + heart * (core[:, None, None] - color)
    canvas.paint(box, alpha, color, "flowers")
