"""Single things in a landscape: houses, boats, rocks, birds."""

from __future__ import annotations

import numpy as np

from ..plan import Plan, Thing
from . import noise
from .canvas import Box, Canvas, clip, smoothstep
from .light import Light, rgb
from .plants import shadow
from .shapes import balls, lambert

_WALLS = {
    "white": rgb(0.90, 0.88, 0.83),
    "red": rgb(0.70, 0.18, 0.14),
    "yellow": rgb(0.92, 0.74, 0.30),
    "blue": rgb(0.28, 0.46, 0.70),
    "brown": rgb(0.46, 0.30, 0.19),
}
_HULLS = {
    "white": rgb(0.92, 0.92, 0.90),
    "red": rgb(0.74, 0.16, 0.13),
    "blue": rgb(0.16, 0.32, 0.62),
    "brown": rgb(0.42, 0.26, 0.15),
}
_ROOFS = (rgb(0.52, 0.24, 0.17), rgb(0.30, 0.31, 0.36), rgb(0.38, 0.26, 0.20))


def _quad(canvas: Canvas, box: Box, corners: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Return the coverage (h, w) of a convex polygon whose corners run clockwise on the screen."""
    inside = np.full((1, 1), 9.0, np.float32)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        dx, dy = bx - ax, by - ay
        length = max(1e-6, (dx * dx + dy * dy) ** 0.5)
        inside = np.minimum(inside, (dx * (box.y - ay) - dy * (box.x - ax)) * (1 / length))
    return canvas.edge(inside)


def paint_house(canvas: Canvas, plan: Plan, light: Light, house: Thing, owner: int) -> None:
    """Paint a house seen a little from the side: gable, long wall, roof, windows, door, chimney."""
    tall, y = house.height, house.y
    flip = 1.0 if house.lean > 0 else -1.0
    gable, long, wall = 0.40 * tall, 0.74 * tall, 0.52 * tall
    lift = 0.035 * tall  # perspective: the far end of the long wall is a little higher
    x0 = house.x - flip * (gable + long) / 2
    x1, x2 = x0 + flip * gable, x0 + flip * (gable + long)
    shadow(canvas, plan, light, house.x, y, (gable + long) * 0.62, 0.6)
    eave, ridge, apex = y - wall, y - tall, (x0 + x1) / 2
    box = canvas.box(
        min(x0, x2) - 0.08 * tall, max(x0, x2) + 0.08 * tall, y - 1.18 * tall, y + 0.02 * tall
    )
    if box is None:
        return

    def shape(*corners: tuple[float, float]) -> np.ndarray:
        return _quad(canvas, box, corners if flip > 0 else corners[::-1])

    planks = noise.field(canvas.size, 9, 120, house.key, octaves=2, rows=box.rows, cols=box.cols)
    grain = noise.field(canvas.size, 60, 60, house.key + 1, octaves=2, rows=box.rows, cols=box.cols)
    albedo = _WALLS[house.color][:, None, None] * (1 + 0.05 * planks + 0.035 * grain)
    faces_light = flip * plan.side < 0  # the gable is on the outer side of the house
    bright, dim = (0.95, 0.34) if faces_light else (0.40, 0.80)
    far = max(0.0, 0.36 * (1.0 - (y - plan.horizon) / (1 - plan.horizon)))
    foot = 0.78 + 0.22 * clip((y - box.y) / wall, 0, 1)
    wall_gable = shape((x0, y), (x0, eave), (apex, ridge + 0.02 * tall), (x1, eave), (x1, y))
    wall_long = shape((x1, y), (x1, eave), (x2, eave - lift), (x2, y - lift))
    canvas.paint(
        box, wall_long, light.fade(light.shade(albedo * foot, dim), far), "house", owner=owner
    )
    canvas.paint(
        box, wall_gable, light.fade(light.shade(albedo * foot, bright), far), "house", owner=owner
    )
    _openings(canvas, plan, light, house, (x0, x1, x2, y, wall, tall, lift, flip))
    roof = _ROOFS[house.key % 3]
    if house.color == "red":
        roof = _ROOFS[1]
    out = 0.05 * tall * flip
    tiles = roof[:, None, None] * (1 + 0.10 * planks + 0.10 * grain)
    slope = clip((box.y - ridge) / (eave - ridge), 0, 1)
    roof_lit = light.shade(tiles, 0.35 + 0.45 * dim + 0.10 * (1 - slope))
    if plan.season == "winter":
        snow = smoothstep(1.02, 0.80, slope + 0.05 * grain)
        white = light.shade(rgb(0.93, 0.96, 1.0), clip(dim * 0.8 + 0.06 * grain, 0, 1))
        roof_lit = roof_lit + snow * (white - roof_lit)
    chimney_x = x1 + flip * long * 0.45
    c = 0.045 * tall
    stack = shape(
        (chimney_x - flip * c, ridge + 0.12 * tall),
        (chimney_x - flip * c, ridge - 0.12 * tall),
        (chimney_x + flip * c, ridge - 0.12 * tall),
        (chimney_x + flip * c, ridge + 0.12 * tall),
    )
    brick = light.fade(light.flat(rgb(0.46, 0.28, 0.23), dim), far)
    canvas.paint(box, stack, brick, "roof", owner=owner)
    main = shape(
        (x1 + out * 0.4, eave + 0.05 * tall),
        (apex, ridge - 0.015 * tall),
        (x2 - flip * 0.5 * gable + out, ridge - lift),
        (x2 + out, eave - lift + 0.05 * tall),
    )
    canvas.paint(box, main, light.fade(roof_lit, far), "roof", owner=owner)
    barge = 0.05 * tall
    edge = shape(
        (x0 - out, eave + barge),
        (x0 - out, eave),
        (apex, ridge - 0.03 * tall),
        (apex, ridge + 0.05 * tall),
    )
    canvas.paint(box, edge, light.fade(light.flat(roof * 0.72, bright), far), "roof", owner=owner)
    if plan.season == "winter" or plan.hour == "night":
        _smoke(canvas, light, chimney_x, ridge - 0.12 * tall, tall, house.key, plan.side)


def _openings(
    canvas: Canvas, plan: Plan, light: Light, house: Thing, frame: tuple[float, ...]
) -> None:
    x0, x1, x2, y, wall, tall, lift, flip = frame
    lit_up = (
        plan.hour == "night"
        or (plan.hour == "dusk" and house.key % 3)
        or (plan.weather in ("rain", "fog", "snowfall") and house.key % 2)
    )
    glow = rgb(1.0, 0.80, 0.38)
    pane = glow if lit_up else light.flat(rgb(0.16, 0.22, 0.30), 0.6) * 0.8 + light.middle * 0.2
    frame_color = light.flat(rgb(0.94, 0.93, 0.90), 0.55)

    def panel(left: float, right: float, top: float, bottom: float, color: np.ndarray) -> None:
        left, right = min(left, right), max(left, right)
        spot = canvas.box(left, right, top, bottom)
        if spot is None:
            return
        across = canvas.edge(spot.x - left) + canvas.edge(right - spot.x) - 1
        down = canvas.edge(spot.y - top) + canvas.edge(bottom - spot.y) - 1
        canvas.paint(spot, across * down, color)  # without a label: it belongs to the wall

    def window(cx: float, cy: float, wide: float, high: float) -> None:
        w, h, trim = flip * wide, high, 0.016 * tall
        panel(cx - w - flip * trim, cx + w + flip * trim, cy - h - trim, cy + h + trim, frame_color)
        panel(cx - w, cx + w, cy - h, cy + h, pane)
        if 0.012 * tall * canvas.size < 0.2:
            return  # the glazing bar would not be visible
        panel(cx - flip * 0.006 * tall, cx + flip * 0.006 * tall, cy - h, cy + h, frame_color)

    middle = (x0 + x1) / 2
    window(middle, y - 0.30 * wall, 0.075 * tall, 0.085 * tall)
    window(middle, y - 1.04 * wall, 0.05 * tall, 0.06 * tall)
    span = x2 - x1
    for share in (0.22, 0.80):
        window(x1 + span * share, y - lift * share - 0.55 * wall, 0.065 * tall, 0.08 * tall)
    door = x1 + span * 0.51
    panel(
        door - flip * 0.06 * tall,
        door + flip * 0.06 * tall,
        y - 0.66 * wall - lift * 0.5,
        y - lift * 0.5,
        light.flat(rgb(0.36, 0.20, 0.13), 0.5),
    )
    if lit_up:  # light spills out of the windows
        reach = 0.9 * tall
        wide = canvas.box(house.x - reach, house.x + reach, y - tall, y + 0.5 * tall)
        if wide is not None:
            gone = ((wide.x - house.x) ** 2 + ((wide.y - y + 0.2 * tall) * 1.4) ** 2) / reach**2
            strength = 0.34 if plan.hour == "night" else 0.16
            canvas.paint(wide, strength * np.exp(-4.5 * gone), glow)


def _smoke(
    canvas: Canvas, light: Light, x: float, y: float, tall: float, key: int, side: float
) -> None:
    rise = 0.95 * tall
    box = canvas.box(x - rise, x + rise, y - rise, y)
    if box is None:
        return
    t = (y - box.y) / rise
    curl = noise.field(canvas.size, 16, 22, key + 8, octaves=3, rows=box.rows, cols=box.cols)
    away = -1.0 if side > 0 else 1.0
    center = x + tall * (away * 0.30 * t * t + 0.05 * np.sin(t * 9 + key) * t)
    wide = tall * (0.03 + 0.11 * t)
    body = np.exp(-(((box.x - center) / wide) ** 2)) * (1 + 0.35 * curl)
    alpha = clip(body * (1 - t) * smoothstep(-0.01, 0.05, t) * 0.5, 0, 0.7)
    canvas.paint(box, alpha, light.cloud_lit * 0.6 + light.haze * 0.4)


def paint_boat(canvas: Canvas, plan: Plan, light: Light, boat: Thing, owner: int) -> None:
    """Paint a small sailing boat with its broken reflection."""
    tall, x, y = boat.height, boat.x, boat.y
    flip = 1.0 if boat.lean > 0 else -1.0
    half, deep = 0.36 * tall, 0.13 * tall
    far = max(0.05, 0.5 * (1.0 - (y - plan.horizon) / (1 - plan.horizon)))
    box = canvas.box(x - half * 1.2, x + half * 1.2, y - tall, y + deep + 0.55 * tall)
    if box is None:
        return
    hull = light.fade(light.flat(_HULLS[boat.color], 0.6), far)
    sail = light.fade(light.flat(rgb(0.97, 0.95, 0.90), 0.75), far)
    # the reflection first, without a label: it belongs to the water
    under = (box.y - y - 0.6 * deep) / (0.55 * tall)
    shake = noise.field(canvas.size, 14, 90, boat.key, octaves=2, rows=box.rows, cols=box.cols)
    body = np.abs(box.x - x + 0.03 * tall * shake) / half
    blot = smoothstep(1.0, 0.5, body + 0.9 * clip(under, 0, 1)) * smoothstep(1.0, 0.1, under)
    canvas.paint(box, np.where(under > -0.15, 0.55 * blot, 0), hull * 0.8)
    v = clip((box.y - (y - deep)) / (1.6 * deep), 0, 1)
    u = (box.x - x) * flip / half
    sheer = y - deep - 0.30 * deep * u * np.abs(u)
    inside = np.minimum(
        np.minimum(box.y - sheer, y + 0.6 * deep - box.y), (1 - np.abs(u) - 0.30 * v * v) * half
    )
    cover = canvas.edge(inside)
    shade = 1.08 - 0.45 * v
    stripe = np.exp(-((v - 0.18) ** 2) * 260)[None] * 0.7
    color = hull[:, None, None] * shade
    trim = light.fade(
        light.flat(rgb(0.93, 0.90, 0.84) if boat.color != "white" else rgb(0.2, 0.3, 0.5), 0.6),
        far,
    )[:, None, None]
    color = color + stripe * (trim - color)
    mast_top = y - tall
    rise = clip((box.y - mast_top) / (tall - 1.5 * deep), 0, 1)
    mast = canvas.stroke(np.abs(box.x - x), 0.010 * tall) * canvas.edge(box.y - mast_top)
    mast = mast * canvas.edge(y - deep - box.y)
    canvas.paint(
        box, mast, light.fade(light.flat(rgb(0.32, 0.23, 0.16), 0.5), far), "boat", owner=owner
    )
    foot = y - deep * 1.35
    belly = 0.62 * half * rise**0.85 + 0.10 * half * np.sin(np.pi * rise)
    off = (box.x - x) * flip
    for sign, share, tint in ((-1.0, 1.0, 1.0), (1.0, 0.78, 0.86)):
        top = 0.0 if sign < 0 else 0.16
        reach = belly * share * 1.25 * clip((rise - top) / (1 - top), 0, 1)
        cloth = np.minimum(np.minimum(sign * off - 0.018 * tall, reach - sign * off), foot - box.y)
        fold = 1 - 0.14 * clip(sign * off / (half * 0.7), 0, 1)
        canvas.paint(
            box,
            canvas.edge(cloth),
            sail[:, None, None] * fold * np.float32(tint),
            "boat",
            owner=owner,
        )
    canvas.paint(box, cover, color, "boat", owner=owner)


def paint_rock(canvas: Canvas, plan: Plan, light: Light, rock: Thing, owner: int) -> None:
    """Paint a boulder: a few flattened balls with crags, with snow on top in winter."""
    r = rock.height
    shadow(canvas, plan, light, rock.x, rock.y, r * 1.1, 0.6)
    box = canvas.box(rock.x - 1.1 * r, rock.x + 1.1 * r, rock.y - r, rock.y + 0.12 * r)
    if box is None:
        return
    draws = noise.table()[rock.key % 500, :12].reshape(3, 4)
    center_x = (rock.x + r * 0.42 * np.linspace(-1, 1, 4) + 0.08 * r * draws[0]).astype(np.float32)
    radius = (r * (0.44 + 0.09 * draws[1])).astype(np.float32)
    center_y = (rock.y - 0.18 * r - 0.16 * r * np.abs(draws[2])).astype(np.float32)
    crag = noise.field(
        canvas.size,
        22,
        22,
        rock.key,
        octaves=5,
        gain=0.65,
        ridged=True,
        rows=box.rows,
        cols=box.cols,
    )
    inside, nx, ny = balls(box, center_x, center_y, radius, 0.16 * crag, 0.03)
    inside = np.minimum(inside, rock.y + 0.05 * r * crag - box.y)
    # facets: quantized normals look like hewn stone
    nx, ny = np.round(nx * 2.2 + 0.4 * crag) / 2.2, np.round(ny * 2.2 + 0.3 * crag) / 2.2
    lit = lambert(clip(nx, -0.95, 0.95), clip(ny, -0.95, 0.95), plan.side, -0.6)
    stone = rgb(0.50, 0.48, 0.46)
    color = light.shade(stone[:, None, None] * (0.92 + 0.12 * crag), lit)
    if plan.season == "winter":
        snow = smoothstep(-0.10, -0.55, ny + 0.1 * crag) * 0.9
        white = light.shade(rgb(0.93, 0.96, 1.0), lit)
        color = color + snow * (white - color)
    canvas.paint(box, canvas.edge(inside), color, "rock", owner=owner)


def paint_bird(canvas: Canvas, plan: Plan, light: Light, bird: Thing, owner: int) -> None:
    """Paint a gliding bird: two curved wings."""
    half = bird.height / 2
    box = canvas.box(bird.x - half, bird.x + half, bird.y - half, bird.y + half)
    if box is None:
        return
    u = (box.x - bird.x) / half
    flap = 0.34 + 0.14 * bird.lean
    w = np.abs(u + 0.12 * bird.lean)
    wing = bird.y - half * flap * (np.sin(np.minimum(w, 1) * np.pi * 0.86) - 0.35 * w)
    thick = half * (0.125 * clip(1 - w, 0, 1) ** 0.6 + 0.10 * np.exp(-w * w * 60))
    cover = canvas.stroke(np.abs(box.y - wing), thick + 1e-4) * canvas.edge((1 - w) * half)
    canvas.paint(box, cover, light.flat(rgb(0.16, 0.16, 0.20), 0.4), "bird", owner=owner)
