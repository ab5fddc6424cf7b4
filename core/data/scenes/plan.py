"""The plan of a scene, decided before anything is drawn: pure data in unit coordinates.

x runs right and y down over [0, 1]; sizes are shares of the picture. All random choices are made
here, in one order, so a plan is the same for every picture size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .drawing.light import HOURS, SEASONS

LANDS: tuple[str, ...] = ("lake", "coast", "valley", "woods", "village")
"""The kinds of landscape; a sample's label is an index into them."""

WALLS: tuple[str, ...] = ("white", "red", "yellow", "blue", "brown")
HULLS: tuple[str, ...] = ("white", "red", "blue", "brown")
PHASES: tuple[str, ...] = ("crescent", "half", "full")


@dataclass(frozen=True)
class Disc:
    """The sun or the moon."""

    x: float
    y: float
    radius: float
    phase: str = "full"


@dataclass(frozen=True)
class Cumulus:
    """A cumulus cloud: center of its flat base, width, height."""

    x: float
    y: float
    width: float
    height: float
    key: int


@dataclass(frozen=True)
class Range:
    """A mountain range: peaks (x, y, slope), the y of its foot, its distance 0 (near) ..

    1 (far).
    """

    peaks: tuple[tuple[float, float, float], ...]
    foot: float
    distance: float
    snowline: float  # y below which there is no snow; 0 = no snow at all
    key: int


@dataclass(frozen=True)
class Hill:
    """A rolling layer of land: mean y of its skyline, its relief, its distance."""

    y: float
    relief: float
    waves: float
    tilt: float
    distance: float
    key: int
    wooded: bool


@dataclass(frozen=True)
class Thing:
    """An object that stands at (x, y), `height` tall."""

    kind: str  # conifer, tree, house, rock, boat, bird
    x: float
    y: float
    height: float
    color: str
    key: int
    lean: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A whole scene."""

    land: str
    hour: str
    weather: str
    season: str
    mood: tuple[int, float, float]
    side: float
    horizon: float
    key: int
    sun: Disc | None = None
    moon: Disc | None = None
    stars: bool = False
    aurora: bool = False
    rainbow: tuple[float, float, float] | None = None  # center x, y, radius
    veil: float = 0.0  # share of the sky covered by thin layers of cloud
    cumulus: tuple[Cumulus, ...] = ()
    ranges: tuple[Range, ...] = ()
    hills: tuple[Hill, ...] = ()
    water: str = ""  # lake, sea or nothing
    far_shore: float = 0.0
    near_shore: tuple[float, float] = (1.0, 1.0)  # y at the left and at the right edge
    path: tuple[float, float, float] | None = None  # x at the front, x far away, bend
    flowers: str = ""
    things: tuple[Thing, ...] = field(default=())


class Random:
    """A random generator that returns Python numbers, so that float32 pictures stay float32."""

    def __init__(self, seeds: tuple[int, ...]) -> None:
        self._draw = np.random.default_rng(seeds)
        self._pool: list[float] = []

    def unit(self) -> float:
        """Return a uniform number in [0, 1)."""
        if not self._pool:
            self._pool = self._draw.random(64).tolist()
        return self._pool.pop()

    def between(self, low: float, high: float) -> float:
        """Return a uniform number in [low, high)."""
        return low + (high - low) * self.unit()

    def happens(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.unit() < probability

    def whole(self, low: int, high: int) -> int:
        """Return a whole number, low .. high, both included."""
        return low + int(self.unit() * (high - low + 1))

    def key(self) -> int:
        """Return a key for a noise field."""
        return int(self.unit() * (1 << 30))

    def pick(self, options: tuple[str, ...], weights: tuple[float, ...] | None = None) -> str:
        """Return one of the options."""
        if weights is None:
            return options[int(self.unit() * len(options))]
        left = self.unit() * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            left -= weight
            if left < 0:
                return option
        return options[-1]


def pick_conditions(chance: Random) -> tuple[str, str, str]:
    """Pick an hour, a weather and a season that are compatible."""
    hour = chance.pick(HOURS, (0.24, 0.32, 0.25, 0.19))
    season = chance.pick(SEASONS)
    weather = chance.pick(
        ("clear", "cloudy", "overcast", "rain", "fog"), (0.37, 0.30, 0.10, 0.12, 0.11)
    )
    cold_clouds = weather == "overcast" and chance.happens(0.5)
    if season == "winter" and (weather == "rain" or cold_clouds):
        weather = "snowfall"
    return hour, weather, season
