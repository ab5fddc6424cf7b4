"""Weather in front of everything: mist, rain, falling snow; and the final color grading."""

from __future__ import annotations

import numpy as np

from ..plan import Plan
from . import noise
from .canvas import Canvas, clip, smoothstep
from .light import Light, rgb


def paint_weather(canvas: Canvas, plan: Plan, light: Light) -> None:
    """Paint fog banks, rain streaks or snowflakes over the finished scene; the map is unchanged."""
    if plan.weather == "fog":
        _fog(canvas, plan, light)
    elif plan.weather == "rain":
        _rain(canvas, plan, light)
    elif plan.weather == "snowfall":
        _snowfall(canvas, plan, light)


def _fog(canvas: Canvas, plan: Plan, light: Light) -> None:
    box = canvas.box()
    assert box is not None
    drift = noise.field(canvas.size, 1.8, 8, plan.key + 121, octaves=4)
    rise = np.exp(-(((box.y - plan.horizon) / 0.30) ** 2))
    near = smoothstep(1.15, 0.4, box.y)
    alpha = clip((0.26 + 0.44 * rise) * (1 + 0.32 * drift) * (0.35 + 0.65 * near), 0, 0.86)
    canvas.paint(box, alpha, light.haze * 0.95 + 0.05 * light.cloud_lit)


def _rain(canvas: Canvas, plan: Plan, light: Light) -> None:
    box = canvas.box()
    assert box is not None
    size = canvas.size
    streak = np.zeros((size, size), np.float32)
    for layer, (fx, fy) in enumerate(((300, 18), (190, 11))):
        wave = noise.field(size, fx, fy, plan.key + 131 + layer, octaves=1)
        streak += smoothstep(0.9, 2.4, wave) * (0.34 + 0.06 * layer)
    lean = np.arange(size)[:, None] * 0.22  # the wind slants the streaks
    cols = (np.arange(size)[None, :] + lean.astype(np.int64)) % size
    streak = np.take_along_axis(streak, cols, 1)
    sheet = 0.12 + 0.05 * noise.field(size, 5, 2, plan.key + 135, octaves=3)
    canvas.paint(box, clip(sheet, 0, 0.4), light.haze)
    canvas.paint(box, clip(streak, 0, 0.45), np.minimum(1, light.cloud_lit * 0.6 + 0.35))


def _snowfall(canvas: Canvas, plan: Plan, light: Light) -> None:
    box = canvas.box()
    assert box is not None
    size = canvas.size
    canvas.paint(box, np.full((1, 1), 0.10, np.float32), light.haze)
    white = light.flat(rgb(1.0, 1.0, 1.0), 0.6) * 0.6 + 0.4
    draws = noise.table()
    start = plan.key % 300
    flakes = np.zeros((size, size), np.float32)
    for row, (count, radius, strength) in enumerate(
        ((420, 0.0022, 0.75), (130, 0.0046, 0.80), (34, 0.0085, 0.62))
    ):
        x = (draws[start + row, :count] * 9.17) % 1.0
        y = (draws[start + 7 + row, :count] * 9.17) % 1.0
        wide = max(radius * 0.62, 0.42 / size)
        gain = strength * (radius * 0.62 / wide) ** 2 * (0.7 + 0.3 * draws[start + 14, :count])
        reach = int(np.ceil(2.2 * wide * size))
        steps = np.arange(-reach, reach + 1)
        cols = np.floor(x * size).astype(np.int64)[:, None] + steps
        rows = np.floor(y * size).astype(np.int64)[:, None] + steps
        fall_x = np.exp(-0.5 * (((cols + 0.5) / size - x[:, None]) / wide) ** 2)
        fall_y = np.exp(-0.5 * (((rows + 0.5) / size - y[:, None]) / wide) ** 2)
        spot = (gain[:, None, None] * fall_y[:, :, None] * fall_x[:, None, :]).astype(np.float32)
        index = (rows[:, :, None] % size) * size + cols[:, None, :] % size
        np.maximum.at(flakes.reshape(-1), index.ravel(), spot.ravel())
    canvas.paint(box, clip(flakes, 0, 0.95), white)


def finish(canvas: Canvas, plan: Plan) -> None:
    """Grade the colors: deeper shadows, richer colors, a canvas texture, darker corners."""
    image = canvas.image
    np.clip(image, 0, 1, out=image)
    gray = image.mean(axis=0, keepdims=True)
    rich = {"fog": 1.04, "rain": 1.02, "overcast": 1.05, "snowfall": 1.04}.get(plan.weather, 1.14)
    image -= gray
    image *= np.float32(rich)
    image += gray
    np.clip(image, 0, 1, out=image)
    amount = np.float32(0.14)  # an S curve
    image += amount * (image * image * (3 - 2 * image) - image)
    box = canvas.box()
    assert box is not None
    corner = (box.x - 0.5) ** 2 + (box.y - 0.5) ** 2
    tooth = noise.field(canvas.size, 150, 150, plan.key + 141, octaves=2, gain=0.8)
    image *= 1 - 0.20 * corner + 0.006 * tooth
    np.clip(image, 0, 1, out=image)
