"""What a finished scene shows: measured on its map, not only planned."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .classes import CLASSES
from .drawing.canvas import Canvas
from .plan import Plan

REFERENCE_SIZE = 64
"""Facts are measured on the scene drawn at this size, so they hold for every size alike."""

MIN_AREA = 0.0015
"""A class or a single thing counts as visible from this share of the picture (6 px of 64 x 64)."""

MIN_CONTRAST = 0.02
"""A thing is visible where the picture changes by this much across its outline (5 of 255): what
fog or night swallows is on the map, but no caption names it."""

COUNTED: tuple[str, ...] = ("house", "conifer", "tree", "rock", "boat", "bird")
"""The classes whose things are counted one by one."""


@dataclass(frozen=True)
class Seen:
    """One visible thing: its class and color, its share of the picture, its visible center."""

    kind: str
    color: str
    area: float
    x: float
    y: float

    @property
    def side(self) -> str:
        """Which third of the picture it is in: left, center or right."""
        return side_of(self.x)


@dataclass(frozen=True)
class Facts:
    """The truth about a scene that its caption draws on."""

    plan: Plan
    areas: dict[str, float]  # class -> share of the picture, where it is visible
    centers: dict[str, tuple[float, float]]  # class -> mean x and y of its pixels
    seen: tuple[Seen, ...]

    def shows(self, name: str, at_least: float = MIN_AREA) -> bool:
        """Whether the class covers at least this share of the picture."""
        return self.areas.get(name, 0.0) >= at_least

    def of(self, kind: str) -> list[Seen]:
        """The visible things of a counted class."""
        return [thing for thing in self.seen if thing.kind == kind]


def side_of(x: float) -> str:
    """left, center or right."""
    return "left" if x < 0.38 else "right" if x > 0.62 else "centre"


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.tile(np.arange(size), size), np.repeat(np.arange(size), size)


def _contrasts(image: np.ndarray, numbers: np.ndarray, many: int) -> np.ndarray:
    """The mean change of color across the outline of each numbered region, (many,) in [0, 1].

    image (3, h, w), numbers (h, w): pixels two apart are compared, over the antialiased edge.
    """
    total, count = np.zeros(many), np.zeros(many)
    for first, second in (
        ((slice(None), slice(None, -2)), (slice(None), slice(2, None))),
        ((slice(None, -2), slice(None)), (slice(2, None), slice(None))),
    ):
        one, other = numbers[first], numbers[second]
        differ = one != other
        change = image[(slice(None), *first)] - image[(slice(None), *second)]
        change = np.abs(change).mean(axis=0)[differ]
        for side in (one[differ], other[differ]):
            total += np.bincount(side, change, minlength=many)
            count += np.bincount(side, minlength=many)
    return total / np.maximum(count, 1)


def facts_of(plan: Plan, canvas: Canvas, segmentation: np.ndarray | None = None) -> Facts:
    """Measure a plan's painted canvas (of REFERENCE_SIZE)."""
    size = canvas.size
    labels = (canvas.segmentation() if segmentation is None else segmentation).ravel()
    total = labels.size
    cols, rows = _grid(size)
    counts = np.bincount(labels, minlength=len(CLASSES))
    x = np.bincount(labels, cols, minlength=len(CLASSES))
    y = np.bincount(labels, rows, minlength=len(CLASSES))
    contrast = _contrasts(canvas.image, labels.reshape(size, size), len(CLASSES))
    areas, centers = {}, {}
    for index, name in enumerate(CLASSES):
        clear = contrast[index] >= MIN_CONTRAST or counts[index] == total
        if counts[index] >= MIN_AREA * total and clear:
            areas[name] = float(counts[index] / total)
            centers[name] = (
                float((x[index] / counts[index] + 0.5) / size),
                float((y[index] / counts[index] + 0.5) / size),
            )
    owners = canvas.owner.ravel().astype(np.int64) + 1
    many = len(plan.things) + 1
    counts = np.bincount(owners, minlength=many)
    x, y = np.bincount(owners, cols, minlength=many), np.bincount(owners, rows, minlength=many)
    contrast = _contrasts(canvas.image, owners.reshape(size, size), many)
    seen = tuple(
        Seen(
            thing.kind,
            thing.color,
            float(counts[k] / total),
            float((x[k] / counts[k] + 0.5) / size),
            float((y[k] / counts[k] + 0.5) / size),
        )
        for k, thing in enumerate(plan.things, start=1)
        if counts[k] >= MIN_AREA * total and contrast[k] >= MIN_CONTRAST
    )
    return Facts(plan, areas, centers, seen)


def attributes_of(facts: Facts, caption: str, named: dict[str, int]) -> dict[str, object]:
    """The facts as plain Python values, for judging (see `Scenes.attributes`)."""
    plan = facts.plan
    return {
        "land": plan.land,
        "hour": plan.hour,
        "weather": plan.weather,
        "season": plan.season,
        "stars": plan.stars and plan.weather == "clear",
        "moon": plan.moon.phase if plan.moon and facts.shows("moon") else None,
        "flowers": plan.flowers if plan.flowers and facts.shows("flowers") else None,
        "areas": dict(facts.areas),
        "counts": {kind: len(facts.of(kind)) for kind in COUNTED if facts.of(kind)},
        "things": [
            {"kind": thing.kind, "colour": thing.color, "side": thing.side, "area": thing.area}
            for thing in facts.seen
        ],
        "named": dict(named),
        "caption": caption,
    }
