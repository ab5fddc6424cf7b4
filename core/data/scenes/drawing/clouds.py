"""Clouds: thin layers of noise, and cumulus clouds lit from the sun's side."""

from __future__ import annotations

import numpy as np

from ..plan import Cumulus, Plan
from . import noise
from .canvas import Canvas, clip, smoothstep
from .light import Light
from .shapes import balls, lambert


def paint_clouds(canvas: Canvas, plan: Plan, light: Light) -> None:
    """Paint the thin layers, then the cumulus clouds from far to near."""
    if plan.veil > 0:
        _veil(canvas, plan, light)
    for cloud in plan.cumulus:
        _cumulus(canvas, plan, light, cloud)


def _near_light(plan: Plan, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    disc = plan.sun or plan.moon
    if disc is None:
        center_x, center_y = 0.5 + 0.7 * plan.side, 0.15
    else:
        center_x, center_y = disc.x, disc.y
    return np.exp(-((x - center_x) ** 2 + (y - center_y) ** 2) * 7)


def _veil(canvas: Canvas, plan: Plan, light: Light) -> None:
    box = canvas.box(y1=plan.horizon + 0.1)
    assert box is not None
    size, key = canvas.size, plan.key + 31
    closed = plan.veil >= 0.9
    if closed:
        body = noise.field(size, 2.2, 6, key, octaves=5, gain=0.55, rows=box.rows)
        body += 0.5 * noise.field(size, 5, 12, key + 1, octaves=3, ridged=True, rows=box.rows)
        density = 0.88 + 0.12 * smoothstep(-0.8, 0.4, body)
    else:
        body = noise.field(size, 1.8, 9, key, octaves=5, gain=0.55, rows=box.rows)
        wisp = noise.field(size, 4, 26, key + 2, octaves=3, gain=0.6, rows=box.rows)
        start = 1.35 - 2.0 * plan.veil
        density = smoothstep(start, start + 1.5, body + 0.35 * wisp) * 0.86
    lift = (plan.horizon - box.y) / plan.horizon
    density = density * (0.35 + 0.65 * smoothstep(-0.02, 0.25, lift))
    if closed:
        density = np.maximum(density, 0.62)
    tone = clip(0.5 + 0.30 * body + 0.55 * _near_light(plan, box.x, box.y), 0, 1)
    if not closed:
        tone = clip(tone + 0.12, 0, 1)
    color = (
        light.cloud_shade[:, None, None]
        + tone * (light.cloud_lit - light.cloud_shade)[:, None, None]
    )
    canvas.paint(box, density, color, "cloud")


def _cumulus(canvas: Canvas, plan: Plan, light: Light, cloud: Cumulus) -> None:
    half = cloud.width / 2
    box = canvas.box(
        cloud.x - half * 1.25,
        cloud.x + half * 1.25,
        cloud.y - cloud.height * 1.5,
        cloud.y + cloud.height * 0.14,
    )
    if box is None:
        return
    rng = noise.table()[cloud.key % 500, : 3 * 15].reshape(3, 15)
    spread = np.linspace(-0.86, 0.86, 15, dtype=np.float32)[np.argsort(rng[0])]
    dome = 1 - spread * spread
    lift = np.abs(rng[1]) / 1.6
    radius = cloud.height * (0.20 + 0.22 * dome + 0.05 * rng[2])
    center_x = cloud.x + spread * half + 0.03 * half * rng[2]
    center_y = cloud.y - cloud.height * np.minimum(lift, 0.62) * dome - radius * 0.25
    front = np.argsort(center_y)
    fine = noise.field(
        canvas.size, 22, 26, cloud.key, octaves=4, gain=0.6, rows=box.rows, cols=box.cols
    )
    puff = noise.field(
        canvas.size, 30, 34, cloud.key + 1, octaves=3, gain=0.6, rows=box.rows, cols=box.cols
    )
    inside, nx, ny = balls(
        box, center_x[front], center_y[front], radius[front].astype(np.float32), 0.20 * fine, 0.16
    )
    soft = 0.010 + 0.035 * cloud.height
    alpha = smoothstep(-0.25 * soft, soft, inside)
    base = (cloud.y - box.y) / cloud.height  # 0 at the flat base, 1 at the top
    alpha = alpha * smoothstep(-0.09, 0.05, base + 0.03 * fine)
    disc = plan.sun or plan.moon
    toward_x = (disc.x - cloud.x) * 1.6 if disc else 0.6 * plan.side
    toward_y = -0.75 if disc is None or disc.y < cloud.y else 0.05
    lit = lambert(nx + 0.16 * fine, ny + 0.16 * puff, toward_x, toward_y)
    tone = 0.80 * lit + 0.50 * smoothstep(-0.1, 0.9, base) - 0.20 + 0.05 * puff
    tone = clip(tone + 0.35 * _near_light(plan, box.x, box.y), 0, 1)
    far = clip((cloud.y / plan.horizon - 0.35) * 0.75, 0, 0.5)
    color = (
        light.cloud_shade[:, None, None]
        + tone * (light.cloud_lit - light.cloud_shade)[:, None, None]
    )
    color = color + np.float32(far) * (light.horizon[:, None, None] - color)
    canvas.paint(box, alpha * 0.97, color, "cloud")
