"""Trees that are near enough to have an individual shape: conifers and broadleaf trees."""

from __future__ import annotations

import numpy as np

from ..plan import Plan, Thing
from . import noise
from .canvas import Canvas, clip, smoothstep
from .land import meadow_color
from .light import Light, rgb
from .shapes import balls, lambert

_LEAVES = {
    "green": (rgb(0.14, 0.34, 0.12), rgb(0.46, 0.66, 0.22)),
    "pink": (rgb(0.66, 0.34, 0.46), rgb(1.0, 0.78, 0.86)),
    "orange": (rgb(0.56, 0.22, 0.05), rgb(0.98, 0.56, 0.14)),
    "red": (rgb(0.44, 0.08, 0.07), rgb(0.86, 0.24, 0.14)),
    "golden": (rgb(0.60, 0.40, 0.06), rgb(0.99, 0.82, 0.24)),
}


def shadow(
    canvas: Canvas, plan: Plan, light: Light, x: float, y: float, wide: float, strength: float = 0.5
) -> None:
    """Paint the shadow of a thing on the ground around its foot, away from the light."""
    reach = wide * (1.0 + 0.9 * abs(plan.side))
    shift = -0.55 * reach * plan.side
    flat = 0.16
    box = canvas.box(x + shift - reach, x + shift + reach, y - flat * reach, y + flat * reach)
    if box is None:
        return
    u, v = (box.x - x - shift) / reach, (box.y - y) / (flat * reach)
    alpha = smoothstep(1.0, 0.15, np.hypot(u, v)) * (strength * (0.45 + 0.75 * light.sunny))
    canvas.paint(box, np.minimum(alpha, 0.8), light.flat(rgb(0.10, 0.13, 0.16), 0.05))


def tuft(
    canvas: Canvas, plan: Plan, light: Light, x: float, y: float, wide: float, key: int
) -> None:
    """Paint grass around the foot of a thing, so that it stands in the meadow and not on it."""
    if plan.season == "winter":
        return
    tall = 0.010 + 0.03 * max(0.0, y - plan.horizon)
    box = canvas.box(x - wide, x + wide, y - tall, y + 0.6 * tall)
    if box is None:
        return
    t = clip(1 - ((box.x - x) / wide) ** 2, 0, 1)
    spikes = np.abs(noise.line(canvas.size, 128, key, octaves=2))[None, box.cols]
    tips = y + 0.15 * tall - tall * t * (0.25 + 0.45 * spikes)
    up = (y - box.y) / tall
    cover = clip((box.y - tips) * (0.5 * canvas.size) + 0.5, 0, 1) * smoothstep(-0.5, 0.0, up)
    color = light.shade(meadow_color(plan) * rgb(0.80, 0.90, 0.64), clip(0.3 + up, 0, 1))
    canvas.paint(box, cover * np.minimum(1, 3 * t), color, "grass")


def _distance(plan: Plan, thing: Thing) -> float:
    return max(0.0, 0.42 * (1.0 - (thing.y - plan.horizon) / (1 - plan.horizon)))


def paint_conifer(canvas: Canvas, plan: Plan, light: Light, tree: Thing, owner: int) -> None:
    """Paint a fir or spruce: tiers of drooping boughs, darker under each, with snow in winter."""
    tall = tree.height
    half = tall * (0.18 + 0.025 * tree.lean)
    shadow(canvas, plan, light, tree.x, tree.y, half * 1.5)
    box = canvas.box(tree.x - half * 1.3, tree.x + half * 1.3, tree.y - tall, tree.y)
    if box is None:
        return
    size = canvas.size
    v = (box.y - (tree.y - tall)) / tall  # 0 at the tip, 1 at the ground
    u = (box.x - tree.x) / half
    needles = noise.field(
        size, 150, 80, tree.key, octaves=2, gain=0.8, rows=box.rows, cols=box.cols
    )
    boughs = noise.field(size, 40, 56, tree.key + 1, octaves=3, rows=box.rows, cols=box.cols)
    tiers = 12.0 + 2.5 * tree.lean
    trunk_top = 0.93
    grown = clip(v / trunk_top, 0, 1)
    # tiers get longer toward the ground; boughs droop, so a tier ends lower at its outside
    phase = tiers * grown**0.8 - 0.75 * np.abs(u) + 0.30 * boughs + 0.23 * np.sign(u)
    step = phase - np.floor(phase)
    width = grown**0.95 * (0.62 + 0.38 * step) + 0.012
    inside = (width + (0.10 * needles + 0.09 * boughs) * grown**0.6 - np.abs(u)) * half
    inside = np.minimum(inside, (trunk_top - v + 0.03 * needles) * tall)
    cover = canvas.edge(inside, 1.3)
    trunk = (
        canvas.stroke(np.abs(box.x - tree.x), 0.055 * half + 0.006 * tall)
        * canvas.edge((v - 0.80) * tall)
        * canvas.edge((1 - v) * tall)
    )
    far = _distance(plan, tree)
    bark = light.fade(light.flat(rgb(0.26, 0.18, 0.13), 0.35), far)
    canvas.paint(box, trunk, bark, "conifer", owner=owner)
    lit = 0.40 + 0.30 * clip(u, -1, 1) * np.float32(plan.side) + 0.26 * (step - 0.5)
    lit = clip(lit + 0.15 * needles + 0.14 * boughs, 0.0, 1.1)
    deep, fresh = rgb(0.05, 0.17, 0.13), rgb(0.22, 0.44, 0.22)
    amount = clip(0.15 + 0.60 * step + 0.20 * needles + 0.12 * boughs, 0, 1)
    albedo = deep[:, None, None] + amount * (fresh - deep)[:, None, None]
    color = light.shade(albedo, lit)
    if plan.season == "winter":
        snow = smoothstep(0.45, 0.80, step + 0.26 * boughs + 0.12 * needles - 0.12 * grown)
        white = light.shade(rgb(0.92, 0.95, 1.0), clip(lit + 0.15, 0, 1))
        color = color + 0.92 * snow * (white - color)
    canvas.paint(box, cover, light.fade(color, far), "conifer", owner=owner)


def paint_tree(canvas: Canvas, plan: Plan, light: Light, tree: Thing, owner: int) -> None:
    """Paint a broadleaf tree: trunk, boughs and, except in winter, a crown of lit leaf masses."""
    tall = tree.height
    half = tall * 0.36
    shadow(canvas, plan, light, tree.x, tree.y, half * 1.05)
    box = canvas.box(tree.x - half * 1.25, tree.x + half * 1.25, tree.y - tall * 1.04, tree.y)
    if box is None:
        return
    bare = tree.color == "bare"
    far = _distance(plan, tree)
    _boughs(canvas, plan, light, tree, owner, far, bare)
    if bare:
        return
    size = canvas.size
    rng = noise.table()[tree.key % 500, : 3 * 17].reshape(3, 17)
    angle = np.arange(17) * 2.39996 + rng[0] * 0.3  # the golden angle spreads them evenly
    ring = np.sqrt((np.arange(17) + 0.4) / 17)
    center_x = tree.x + half * 0.66 * ring * np.cos(angle) + 0.04 * half * rng[1]
    center_y = tree.y - tall * 0.64 + tall * 0.235 * ring * np.sin(angle)
    radius = half * (0.40 - 0.10 * ring + 0.035 * rng[2])
    order = np.argsort(center_y)[::-1]
    center_x, center_y, radius = (
        value[order].astype(np.float32) for value in (center_x, center_y, radius)
    )
    leaf = noise.field(
        size, 74, 74, tree.key + 3, octaves=3, gain=0.8, rows=box.rows, cols=box.cols
    )
    clump = noise.field(size, 28, 28, tree.key + 4, octaves=3, rows=box.rows, cols=box.cols)
    inside, nx, ny = balls(box, center_x, center_y, radius, 0.30 * leaf + 0.18 * clump)
    cover = canvas.edge(inside, 1.4)
    high = plan.hour == "noon"
    lit = lambert(nx + 0.28 * leaf, ny + 0.20 * clump, 0.9 * plan.side, -0.9 if high else -0.45)
    whole = (tree.y - tall * 0.36 - box.y) / (tall * 0.66)  # 0 at the crown's foot, 1 at its top
    tone = clip(0.62 * lit + 0.40 * whole + 0.12 * leaf - 0.05, 0, 1)
    deep, fresh = _LEAVES[tree.color]
    albedo = deep[:, None, None] + tone * (fresh - deep)[:, None, None]
    color = light.shade(albedo, clip(0.10 + 0.85 * lit + 0.10 * leaf, 0, 1.1))
    canvas.paint(box, cover, light.fade(color, far), "tree", owner=owner)


def _boughs(
    canvas: Canvas, plan: Plan, light: Light, tree: Thing, owner: int, far: float, bare: bool
) -> None:
    """Paint trunk, boughs and, on a bare tree, twigs: tapering strokes, all at once."""
    ax, ay, bx, by, ra, rb = _skeleton(tree, 5 if bare else 2, 0.10 / canvas.size)
    half = tree.height * 0.42
    box = canvas.box(tree.x - half, tree.x + half, tree.y - tree.height * 1.02, tree.y + 0.005)
    if box is None:
        return
    best = np.zeros((box.rows.stop - box.rows.start, box.cols.stop - box.cols.start), np.float32)
    lit = np.full_like(best, 0.5)
    for k in range(0, len(ax), 16):  # 16 at a time, to limit the memory at large sizes
        part = slice(k, k + 16)
        px = box.x[None] - ax[part, None, None]
        py = box.y[None] - ay[part, None, None]
        vx, vy = bx[part] - ax[part], by[part] - ay[part]
        along = (px * vx[:, None, None] + py * vy[:, None, None]) / (
            (vx * vx + vy * vy)[:, None, None] + 1e-9
        )
        along = clip(along, 0, 1)
        dx = px - along * vx[:, None, None]
        dy = py - along * vy[:, None, None]
        radius = ra[part, None, None] + along * (rb - ra)[part, None, None]
        cover = canvas.stroke(np.hypot(dx, dy), radius)
        top = cover.max(0)
        side = np.take_along_axis(dx / radius, np.argmax(cover, 0)[None], 0)[0]
        lit = np.where(top > best, clip(0.4 + 0.4 * side * plan.side, 0, 1), lit)
        best = np.maximum(best, top)
    bark = light.shade(rgb(0.33, 0.25, 0.20), lit)
    canvas.paint(box, best, light.fade(bark, far), "tree", owner=owner)


def _skeleton(tree: Thing, levels: int, thinnest: float) -> tuple[np.ndarray, ...]:
    """Return segments (ax, ay, bx, by, ra, rb), each (n,) float32, of a tree that forks repeatedly.

    It forks `levels` times. Twigs whose radius is below `thinnest` would not be visible and are
    left out.
    """
    draws = noise.table()[tree.key % 480 : tree.key % 480 + 8].ravel()
    tall, count = tree.height, 0
    segments: list[tuple[float, float, float, float, float, float]] = []
    tips = [(tree.x, tree.y, 0.06 * tree.lean, tall * 0.36, tall * 0.030)]
    for level in range(levels + 1):
        fresh = []
        for x, y, turn, length, radius in tips:
            end_x = x + length * float(np.sin(turn))
            end_y = y - length * float(np.cos(turn))
            segments.append((x, y, end_x, end_y, radius, radius * 0.66))
            if level == levels or radius * 0.6 < thinnest:
                continue
            forks = 3 if level < 3 else 2
            for fork in range(forks):
                spread = (fork - (forks - 1) / 2) * (0.62 if level else 0.68)
                jitter = 0.22 * float(draws[count % draws.size])
                count += 1
                shrink = 0.66 if level else 0.60
                fresh.append(
                    (
                        end_x,
                        end_y,
                        turn * 0.86 + spread + jitter,
                        length * (shrink + 0.05 * float(draws[(count * 7) % draws.size])),
                        radius * 0.60,
                    )
                )
        tips = fresh
    return tuple(np.array(values, np.float32) for values in zip(*segments, strict=True))
