"""The sky: its gradient and glow, sun, moon, stars, aurora, rainbow."""

from __future__ import annotations

import numpy as np

from ..plan import Disc, Plan
from . import noise
from .canvas import Canvas, clip, smoothstep
from .light import Light, rgb


def paint_sky(canvas: Canvas, plan: Plan, light: Light) -> None:
    """Paint the sky without its clouds, over the whole canvas (land is painted over it)."""
    box = canvas.box(y1=plan.horizon + 0.12)
    assert box is not None
    t = box.y[:, 0] / plan.horizon
    stops = (0.0, 0.58, 1.0)
    column = np.stack(
        [
            np.interp(t, stops, (light.zenith[c], light.middle[c], light.horizon[c]))
            for c in range(3)
        ]
    ).astype(np.float32)
    drift = noise.field(canvas.size, 2, 5, plan.key, octaves=4, rows=box.rows)
    mottle = 1 + (0.010 if plan.hour != "night" else 0.06) * drift
    canvas.paint(box, np.ones((1, 1), np.float32), column[:, :, None] * mottle, "sky")
    if plan.stars:
        _stars(canvas, plan)
    if plan.aurora:
        _aurora(canvas, plan)
    disc = plan.sun or plan.moon
    if disc is not None:
        _halo(canvas, plan, light, disc)
    if plan.sun is not None:
        _sun(canvas, plan, light, plan.sun)
    if plan.moon is not None:
        _moon(canvas, plan, plan.moon)


def _halo(canvas: Canvas, plan: Plan, light: Light, disc: Disc) -> None:
    box = canvas.box(y1=plan.horizon + 0.12)
    assert box is not None
    dx, dy = box.x - disc.x, box.y - disc.y
    if plan.hour == "night":
        wide, near, strength, core = 0.05, 0.006, 0.30, 0.42
    elif plan.hour == "noon":
        wide, near, strength, core = 0.10, 0.008, 0.38, 0.72
    else:
        wide, near, strength, core = 0.11, 0.014, 0.62, 0.60
        dy = dy * 1.5
    far = dx * dx + dy * dy
    alpha = strength * np.exp(far * (-1 / wide)) + core * np.exp(far * (-1 / near))
    canvas.paint(box, np.minimum(alpha, 0.96), light.glow)


def _sun(canvas: Canvas, plan: Plan, light: Light, sun: Disc) -> None:
    box = canvas.box(sun.x - sun.radius, sun.x + sun.radius, sun.y - sun.radius, sun.y + sun.radius)
    if box is None:
        return
    distance = np.hypot(box.x - sun.x, box.y - sun.y)
    cover = canvas.edge(sun.radius - distance)
    low = plan.hour != "noon"
    top = rgb(1.0, 0.97, 0.80) if low else rgb(1.0, 1.0, 0.96)
    bottom = light.glow * 0.35 + rgb(1.0, 0.80, 0.42) * 0.65 if low else rgb(1.0, 0.99, 0.90)
    t = clip((box.y - sun.y + sun.radius) / (2 * sun.radius), 0, 1)[None]
    color = top[:, None, None] + t * (bottom - top)[:, None, None]
    if plan.weather == "fog":
        color = 0.75 * color + 0.25 * light.haze[:, None, None]
    canvas.paint(box, cover, color, "sun")


def _moon(canvas: Canvas, plan: Plan, moon: Disc) -> None:
    r = moon.radius
    box = canvas.box(moon.x - r, moon.x + r, moon.y - r, moon.y + r)
    if box is None:
        return
    x, y = (box.x - moon.x) / r, (box.y - moon.y) / r
    tilt = 0.35
    across = x * np.float32(np.cos(tilt)) + y * np.float32(np.sin(tilt))
    along = y * np.float32(np.cos(tilt)) - x * np.float32(np.sin(tilt))
    disc = np.hypot(x, y)
    cover = canvas.edge((1 - disc) * r)
    if moon.phase != "full":
        # the terminator is half an ellipse from pole to pole
        bulge = 0.0 if moon.phase == "half" else 0.46
        limb = np.sqrt(np.maximum(0, 1 - along * along)) * bulge
        cover = np.minimum(cover, canvas.edge((across - limb) * r))
    seas = noise.field(canvas.size, 46, 46, plan.key + 5, octaves=3, rows=box.rows, cols=box.cols)
    tone = 1 - 0.12 * smoothstep(0.0, 0.9, seas) - 0.10 * smoothstep(0.6, 1.0, disc)
    color = rgb(1.0, 0.97, 0.86)[:, None, None] * tone
    canvas.paint(box, cover, color, "moon")


def _stars(canvas: Canvas, plan: Plan) -> None:
    size = canvas.size
    draws = noise.table()
    start = plan.key % 200
    for row, count, sigma, peak in ((start, 34, 0.0030, 0.95), (start + 1, 260, 0.0012, 0.8)):
        # a scaled normal deviate modulo 1 is close to uniform
        x = (draws[row, :count] * 7.31) % 1.0
        y = (draws[row + 3, :count] * 7.31) % 1.0 * (plan.horizon + 0.02)
        gain = (np.abs(draws[row + 5, :count]) * 0.45 + 0.15) * peak
        wide = max(sigma, 0.45 / size)
        gain = gain * (sigma / wide) ** 2
        reach = int(np.ceil(2.5 * wide * size))
        steps = np.arange(-reach, reach + 1)
        cols = np.floor(x * size).astype(np.int64)[:, None] + steps
        rows = np.floor(y * size).astype(np.int64)[:, None] + steps
        fall_x = np.exp(-0.5 * (((cols + 0.5) / size - x[:, None]) / wide) ** 2)
        fall_y = np.exp(-0.5 * (((rows + 0.5) / size - y[:, None]) / wide) ** 2)
        spot = gain[:, None, None] * fall_y[:, :, None] * fall_x[:, None, :]
        rows, cols = rows[:, :, None], cols[:, None, :]
        fits = (rows >= 0) & (rows < size) & (cols >= 0) & (cols < size)
        light = np.zeros((size, size), np.float32)
        rows, cols = np.broadcast_arrays(rows, cols)
        np.add.at(light, (rows[fits], cols[fits]), spot[fits].astype(np.float32))
        np.minimum(light, 1, out=light)
        canvas.image += light * (rgb(1.0, 0.98, 0.92)[:, None, None] - canvas.image)


def _aurora(canvas: Canvas, plan: Plan) -> None:
    box = canvas.box(y1=plan.horizon)
    assert box is not None
    size = canvas.size
    fine = noise.line(size, 26, plan.key + 11, octaves=4, gain=0.75)
    rays = clip(0.62 + 0.33 * fine, 0.12, 1.4)
    for k, (foot, tall, strength) in enumerate(((0.62, 0.34, 0.85), (0.42, 0.22, 0.5))):
        bend = noise.line(size, 2.2, plan.key + 20 + k, octaves=3, gain=0.45)
        shift = 0.18 if k else 0.0
        low = (plan.horizon * (foot + shift * 0.2 + 0.13 * bend))[None, :]
        up = (low - box.y) / (tall * (0.75 + 0.25 * rays))
        rise = smoothstep(-0.07, 0.06, up)
        fall = np.exp(-2.4 * np.maximum(0, up))
        glow = rise * fall * rays * strength
        alpha = clip(glow, 0, 0.92)
        green, violet = rgb(0.22, 0.95, 0.58), rgb(0.52, 0.30, 0.85)
        high = smoothstep(0.15, 1.0, up)[None]
        color = green[:, None, None] + high * (violet - green)[:, None, None]
        canvas.paint(box, alpha, color, "aurora", cover=smoothstep(0.12, 0.55, alpha))


def paint_rainbow(canvas: Canvas, plan: Plan) -> None:
    """Paint the rainbow over the clouds: translucent, but its band is labeled as one class."""
    if plan.rainbow is None:
        return
    x, y, radius = plan.rainbow
    band = 0.058
    box = canvas.box(x - radius, x + radius, y - radius, plan.horizon + 0.05)
    if box is None:
        return
    distance = np.hypot(box.x - x, box.y - y)
    t = (radius - distance) * (1 / band)  # 0 outside (red) .. 1 inside (violet)
    hues = (
        (1.0, 1.0, 1.0, 0.45, 0.25, 0.30, 0.62),
        (0.25, 0.58, 0.93, 0.90, 0.72, 0.40, 0.30),
        (0.25, 0.18, 0.30, 0.42, 0.95, 0.95, 0.90),
    )
    stops = np.linspace(0.02, 0.98, 7)
    color = np.stack([np.interp(t, stops, hue) for hue in hues]).astype(np.float32)
    cover = np.minimum(canvas.edge(t * band), canvas.edge((1 - t) * band))
    soft = smoothstep(0.0, 0.22, t) * smoothstep(0.0, 0.22, 1 - t)
    glow = smoothstep(-0.2, 1.4, t) * (1 - smoothstep(1.0, 4.5, t)) * 0.12
    canvas.paint(box, glow, rgb(1.0, 1.0, 1.0))
    canvas.paint(box, 0.62 * soft, color, "rainbow", cover=cover)
