"""The composition of a scene: random choices within rules that make a good picture."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from .plan import (
    HULLS,
    LANDS,
    PHASES,
    WALLS,
    Cumulus,
    Disc,
    Hill,
    Plan,
    Random,
    Range,
    Thing,
    pick_conditions,
)

Coordinate = TypeVar("Coordinate", float, np.ndarray)


def compose(seeds: tuple[int, ...]) -> Plan:
    """Return the plan of the scene with these seeds; equal seeds give equal plans everywhere."""
    chance = Random(seeds)
    hour, weather, season = pick_conditions(chance)
    land = chance.pick(LANDS, (0.26, 0.22, 0.20, 0.16, 0.16))
    mood = (chance.whole(0, 2), chance.between(0, 0.8), chance.between(-0.05, 0.05))
    horizon = {
        "lake": chance.between(0.46, 0.56),
        "coast": chance.between(0.44, 0.56),
        "valley": chance.between(0.52, 0.62),
        "woods": chance.between(0.50, 0.60),
        "village": chance.between(0.52, 0.60),
    }[land]
    sun, moon, side = _lights(chance, hour, weather, horizon)
    open_sky = weather in ("clear", "cloudy")
    parts: dict[str, Any] = {}
    parts["stars"] = hour == "night" and open_sky
    parts["aurora"] = (
        hour == "night"
        and weather == "clear"
        and season in ("winter", "autumn")
        and chance.happens(0.45)
    )
    chance_of_bow = 0.45 if weather == "rain" else 0.14 if weather == "cloudy" else 0.0
    if hour in ("noon", "dawn") and sun is None and chance.happens(chance_of_bow):
        parts["rainbow"] = (
            chance.between(0.15, 0.85),
            horizon + chance.between(0.02, 0.12),
            chance.between(0.36, 0.50),
        )
    parts["veil"], parts["cumulus"] = _clouds(chance, weather, horizon)
    parts["ranges"] = _ranges(chance, land, season, horizon)
    parts.update(_ground(chance, land, season, horizon))
    draft = Plan(land, hour, weather, season, mood, side, horizon, chance.key(), sun, moon, **parts)
    things = _things(chance, draft)
    return Plan(**{**vars(draft), "things": things})


def _lights(
    chance: Random, hour: str, weather: str, horizon: float
) -> tuple[Disc | None, Disc | None, float]:
    x = chance.between(0.12, 0.88)
    radius = chance.between(0.034, 0.05)
    phase = chance.pick(PHASES, (0.35, 0.2, 0.45))
    low = horizon - chance.between(0.03, 0.20)
    high = chance.between(0.09, 0.22)
    shows = chance.unit()
    if hour == "night":
        here = weather in ("clear", "cloudy") and shows < 0.85
        moon = Disc(x, high, radius * 1.35, phase) if here else None
        return None, moon, (x - 0.5) * 2 if here else chance.between(-1, 1)
    here = shows < {"clear": 0.8, "cloudy": 0.5, "fog": 0.4}.get(weather, 0.0)
    y = high if hour == "noon" else low
    if here:
        return Disc(x, y, radius), None, (x - 0.5) * 2
    return None, None, -1.0 if chance.happens(0.5) else 1.0


def _clouds(chance: Random, weather: str, horizon: float) -> tuple[float, tuple[Cumulus, ...]]:
    veil = {
        "clear": chance.between(0.0, 0.35) if chance.happens(0.5) else 0.0,
        "cloudy": chance.between(0.25, 0.6),
        "overcast": 1.0,
        "rain": 1.0,
        "snowfall": 0.9,
        "fog": chance.between(0.2, 0.6),
    }[weather]
    count = {"clear": 0, "cloudy": chance.whole(2, 5)}.get(weather, 0)
    clouds = []
    for k in range(count):
        depth = (k + chance.unit()) / count  # far ones are low and small
        width = 0.16 + 0.36 * depth + chance.between(-0.03, 0.05)
        y = horizon - 0.10 - (horizon - 0.20) * depth * chance.between(0.75, 1.0)
        clouds.append(
            Cumulus(
                chance.between(-0.05, 1.05),
                y,
                width,
                width * chance.between(0.30, 0.46),
                chance.key(),
            )
        )
    return veil, tuple(clouds)


def _ranges(chance: Random, land: str, season: str, horizon: float) -> tuple[Range, ...]:
    likely = {"lake": 0.88, "coast": 0.3, "valley": 0.75, "woods": 0.6, "village": 0.65}[land]
    if not chance.happens(likely):
        return ()
    count = chance.pick(("1", "2", "3"), (0.35, 0.45, 0.2))
    white = season == "winter" or chance.happens(0.6)
    one_side = chance.pick(("left", "right")) if land == "coast" else ""
    ranges = []
    for k in range(int(count)):
        distance = 0.85 - 0.5 * k / max(1, int(count) - 1) if count != "1" else 0.6
        top = chance.between(0.20, 0.32) * (1.0 - 0.36 * k)
        peaks = []
        for _ in range(chance.whole(3, 5)):
            x = chance.between(-0.1, 1.1)
            if one_side:
                x = chance.between(-0.1, 0.38) if one_side == "left" else chance.between(0.62, 1.1)
            lift = top * chance.between(0.45, 1.0)
            peaks.append((x, horizon - lift, chance.between(0.62, 1.15)))
        summit = min(y for _, y, _ in peaks)
        snowline = summit + (horizon - summit) * chance.between(0.32, 0.55) if white else 0.0
        if season == "winter" and white:
            snowline = summit + (horizon - summit) * chance.between(0.6, 0.95)
        if k == 2 and season != "winter":
            snowline = 0.0
        ranges.append(Range(tuple(peaks), horizon + 0.03, distance, snowline, chance.key()))
    return tuple(ranges)


def _hills(
    chance: Random, low: int, high: int, top: float, bottom: float, wooded: float
) -> tuple[Hill, ...]:
    count = chance.whole(low, high)
    hills = []
    for k in range(count):
        t = (k + 0.5) / count
        hills.append(
            Hill(
                top + (bottom - top) * t,
                chance.between(0.018, 0.045),
                chance.whole(6, 14) / 4,
                chance.between(-0.07, 0.07),
                0.62 * (1 - t) + 0.08,
                chance.key(),
                chance.happens(wooded),
            )
        )
    return tuple(hills)


def _ground(chance: Random, land: str, season: str, horizon: float) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    if land == "lake":
        far = horizon + chance.between(0.01, 0.03)
        parts["hills"] = _hills(chance, 1, 2, horizon - 0.05, horizon - 0.005, 0.55)
        parts["water"] = "lake"
        parts["far_shore"] = far
        parts["near_shore"] = (chance.between(0.76, 0.92), chance.between(0.76, 0.92))
    elif land == "coast":
        parts["water"] = "sea"
        parts["far_shore"] = horizon
        low, high = chance.between(0.64, 0.74), chance.between(0.84, 1.02)
        parts["near_shore"] = (low, high) if chance.happens(0.5) else (high, low)
    else:
        wooded = {"valley": 0.3, "woods": 0.9, "village": 0.35}[land]
        parts["hills"] = _hills(chance, 2, 4, horizon - 0.06, horizon + 0.06, wooded)
    if land in ("valley", "village", "woods") and chance.happens(0.62):
        parts["path"] = (
            chance.between(0.25, 0.75),
            chance.between(0.3, 0.7),
            chance.between(-0.22, 0.22),
        )
    in_bloom = {"spring": 0.6, "summer": 0.5}.get(season, 0.0)
    if land != "coast" and chance.happens(in_bloom):
        parts["flowers"] = chance.pick(("red", "yellow", "pink", "white", "purple"))
    return parts


class _Layout:
    """The free spots on the ground: things placed there do not cover one another."""

    def __init__(self, chance: Random, plan: Plan) -> None:
        self.chance, self.plan = chance, plan
        self.taken: list[tuple[float, float]] = []

    def ground_y(self, x: float, near: float) -> float:
        """Return the y of a spot at x; `near` is 0 (the far end of the ground) .. 1 (close)."""
        plan = self.plan
        if plan.water:
            left, right = plan.near_shore
            shore = left + (right - left) * x + 0.035
            return shore + max(0.02, 0.99 - shore) * near
        return plan.horizon + 0.10 + (0.86 - plan.horizon) * near

    def path_x(self, y: float) -> float:
        path = self.plan.path
        if path is None:
            return -9.0
        t = (y - self.plan.horizon) / (1 - self.plan.horizon)
        return path_center(path, t)

    def place(
        self, half: float, near: tuple[float, float], grassy: bool, tries: int = 14
    ) -> tuple[float, float] | None:
        """Return a free spot (x, y) for something of this half-width, or None."""
        for _ in range(tries):
            x = self.chance.between(0.06, 0.94)
            y = self.ground_y(x, self.chance.between(*near))
            if grassy and self.plan.land == "coast":
                y += 0.13  # beyond the sand
            if y > 0.97 or abs(x - self.path_x(y)) < half + 0.07 * y:
                continue
            if all(abs(x - other) > half + wide for other, wide in self.taken):
                self.taken.append((x, half))
                return x, y
        return None


def path_center(path: tuple[float, float, float], t: Coordinate) -> Coordinate:
    """Return the x of a path at t = 0 (horizon) .. 1 (lower edge of the picture)."""
    front, far, bend = path
    return far + (front - far) * t + bend * 4 * t * (1 - t) * (0.5 - t) * 2


def _things(chance: Random, plan: Plan) -> tuple[Thing, ...]:
    layout = _Layout(chance, plan)
    things: list[Thing] = []
    scale = 1.0 if plan.water else 1.1

    def add(
        kind: str,
        height: float,
        wide: float,
        near: tuple[float, float],
        color: str,
        grows: bool = True,
    ) -> None:
        spot = layout.place(height * wide, near, kind != "rock")
        if spot is None:
            return
        x, y = spot
        if grows:
            height = height * (0.55 + 0.9 * max(0.0, (y - plan.horizon) / (1 - plan.horizon)))
        things.append(Thing(kind, x, y, height, color, chance.key(), chance.between(-1, 1)))

    houses = {
        "lake": (0.45, 2),
        "coast": (0.35, 1),
        "valley": (0.4, 1),
        "woods": (0.3, 1),
        "village": (1.0, 4),
    }[plan.land]
    if chance.happens(houses[0]):
        for _ in range(chance.whole(2 if plan.land == "village" else 1, houses[1])):
            add("house", chance.between(0.15, 0.20) * scale, 0.72, (0.0, 0.45), chance.pick(WALLS))
    kind = chance.pick(("conifer", "tree", "both"), (0.42, 0.33, 0.25))
    if plan.land == "woods":
        kind = chance.pick(("conifer", "both"), (0.6, 0.4))
    most = {"lake": 5, "coast": 2, "valley": 5, "woods": 8, "village": 4}[plan.land]
    for _ in range(chance.whole(0 if plan.land != "woods" else 5, most)):
        which = chance.pick(("conifer", "tree")) if kind == "both" else kind
        if which == "conifer":
            add("conifer", chance.between(0.22, 0.42) * scale, 0.20, (0.0, 0.85), "green")
        else:
            color = {
                "spring": chance.pick(("pink", "green", "green")),
                "summer": "green",
                "autumn": chance.pick(("orange", "red", "golden")),
                "winter": "bare",
            }[plan.season]
            add("tree", chance.between(0.20, 0.34) * scale, 0.34, (0.0, 0.7), color)
    if chance.happens(0.6 if plan.land in ("coast", "lake") else 0.2):
        for _ in range(chance.whole(1, 4)):
            add("rock", chance.between(0.05, 0.10), 0.8, (0.1, 0.95), "grey")
    things.sort(key=lambda thing: thing.y)
    if plan.water and chance.happens(0.55 if plan.land == "coast" else 0.45):
        things = _boats(chance, plan) + things
    if (
        plan.hour != "night"
        and plan.weather in ("clear", "cloudy", "overcast")
        and (chance.happens(0.3))
    ):
        things += _birds(chance, plan)
    return tuple(things)


def _boats(chance: Random, plan: Plan) -> list[Thing]:
    boats: list[Thing] = []
    nearest = min(plan.near_shore)
    for _ in range(chance.whole(1, 3)):
        x = chance.between(0.1, 0.9)
        t = chance.between(0.22, 0.72)
        y = plan.far_shore + (nearest - plan.far_shore) * t
        height = 0.07 + 0.16 * t * chance.between(0.8, 1.2)
        if all(abs(x - other.x) > 0.4 * (height + other.height) for other in boats):
            boats.append(
                Thing("boat", x, y, height, chance.pick(HULLS), chance.key(), chance.between(-1, 1))
            )
    return sorted(boats, key=lambda thing: thing.y)


def _birds(chance: Random, plan: Plan) -> list[Thing]:
    x, y = chance.between(0.12, 0.6), chance.between(0.12, 0.24)
    span = chance.between(0.05, 0.13)
    step = span * chance.between(1.15, 1.5)
    return [
        Thing(
            "bird",
            x + k * step,
            y + 0.06 * (k % 2) + chance.between(-0.02, 0.02),
            span * chance.between(0.8, 1.1),
            "dark",
            chance.key(),
            chance.between(-1, 1),
        )
        for k in range(chance.whole(3, 5))
    ]
