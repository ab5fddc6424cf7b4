"""The facts of a finished scene: measured on its map, not taken from its plan."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .classes import CLASSES
from .drawing.canvas import Canvas
from .plan import Plan

REFERENCE_SIZE = 64
"""Facts are measured on the scene drawn at this size, so they are the same for every size."""

MIN_AREA = 0.0015
"""Share of the picture from which a class or a single thing is visible (6 px of 64 x 64)."""

MIN_CONTRAST = 0.02
"""Mean change of color across its outline from which a thing is visible (5 of 255): a thing hidden
by fog or night is on the map, but no caption names it."""

COUNTED: tuple[str, ...] = ("house", "conifer", "tree", "rock", "boat", "bird")
"""The classes whose things are counted."""


@dataclass(frozen=True)
class Seen:
    """One visible thing: its class and color, its share of the picture, its mean x and y."""

    kind: str
    color: str
    area: float
    x: float
    y: float

    @property
    def side(self) -> str:
        """The third of the picture it is in: "left", "centre" or "right"."""
        return side_of(self.x)


@dataclass(frozen=True)
class Facts:
    """The facts of a scene that its caption is written from."""

    plan: Plan
    areas: dict[str, float]  # visible class -> share of the picture
    centers: dict[str, tuple[float, float]]  # visible class -> mean x and y of its pixels
    seen: tuple[Seen, ...]

    def shows(self, name: str, at_least: float = MIN_AREA) -> bool:
        """Return True if the class covers at least this share of the picture."""
        return self.areas.get(name, 0.0) >= at_least

    def of(self, kind: str) -> list[Seen]:
        """Return the visible things of a counted class."""
        return [thing for thing in self.seen if thing.kind == kind]


def side_of(x: float) -> str:
    """Return "left", "centre" or "right": published names of questions are spelled so."""
    return "left" if x < 0.38 else "right" if x > 0.62 else "centre"


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    return np.tile(np.arange(size), size), np.repeat(np.arange(size), size)


def _contrasts(image: np.ndarray, numbers: np.ndarray, many: int) -> np.ndarray:
    """Return the mean change of color across the outline of each numbered region.

    image (3, h, w), numbers (h, w) -> (many,) in [0, 1]: pixels two apart are compared, across the
    antialiased edge.
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
    """Measure the facts of a plan on its painted canvas (of REFERENCE_SIZE)."""
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
    """Return the facts as plain Python values (see `Scenes.attributes`)."""
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
