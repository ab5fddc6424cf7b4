"""The painting of a plan: the order of its layers, back to front."""

from __future__ import annotations

from collections.abc import Callable

from ..plan import Plan, Thing
from .canvas import Canvas
from .clouds import paint_clouds
from .ground import paint_ground
from .land import haze_band, paint_hill, paint_range
from .light import Light, light_of
from .plants import paint_conifer, paint_tree, tuft
from .sky import paint_rainbow, paint_sky
from .things import paint_bird, paint_boat, paint_house, paint_rock
from .water import paint_water
from .weather import finish, paint_weather

_PAINTERS: dict[str, Callable[[Canvas, Plan, Light, Thing, int], None]] = {
    "conifer": paint_conifer,
    "tree": paint_tree,
    "house": paint_house,
    "rock": paint_rock,
    "boat": paint_boat,
    "bird": paint_bird,
}

# half the width of the grass around the foot of a thing, in heights of the thing
_FOOT = {"conifer": 0.10, "tree": 0.14, "house": 0.62, "rock": 0.95}


def _on_grass(plan: Plan, thing: Thing) -> bool:
    return plan.land != "coast" or thing.kind != "rock"


def paint(plan: Plan, size: int) -> Canvas:
    """Return the finished canvas of a plan, size x size pixels; owners are the things' indices."""
    canvas = Canvas(size)
    light = light_of(plan.hour, plan.weather, plan.mood, plan.side)
    paint_sky(canvas, plan, light)
    paint_clouds(canvas, plan, light)
    paint_rainbow(canvas, plan)
    for mountains in plan.ranges:
        paint_range(canvas, plan, light, mountains)
    if plan.ranges:
        haze_band(canvas, light, plan.horizon + 0.01, 0.035, 0.35, plan.key + 7)
    floor = plan.far_shore if plan.water else plan.horizon + 0.16
    for hill in plan.hills:
        paint_hill(canvas, plan, light, hill, floor + 0.01)
    if plan.water:
        paint_water(canvas, plan, light)
        for index, thing in enumerate(plan.things):
            if thing.kind == "boat":
                paint_boat(canvas, plan, light, thing, index)
    paint_ground(canvas, plan, light)
    for index, thing in enumerate(plan.things):
        if thing.kind != "boat":
            _PAINTERS[thing.kind](canvas, plan, light, thing, index)
            if thing.kind in _FOOT and _on_grass(plan, thing):
                wide = _FOOT[thing.kind] * thing.height
                tuft(canvas, plan, light, thing.x, thing.y, wide, thing.key)
    paint_weather(canvas, plan, light)
    finish(canvas, plan)
    return canvas
