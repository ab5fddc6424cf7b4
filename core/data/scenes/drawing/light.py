"""The light of an hour and a weather: colors of the sky, the sun, the shade and the haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HOURS: tuple[str, ...] = ("dawn", "noon", "dusk", "night")
WEATHERS: tuple[str, ...] = ("clear", "cloudy", "overcast", "rain", "snowfall", "fog")
SEASONS: tuple[str, ...] = ("spring", "summer", "autumn", "winter")

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """The light of a scene; colors are sRGB-like in [0, 1].

    `sun` and `ambient` multiply a surface's own color.
    """

    zenith: np.ndarray
    middle: np.ndarray
    horizon: np.ndarray
    glow: np.ndarray
    sun: np.ndarray
    ambient: np.ndarray
    haze: np.ndarray
    density: float  # amount of haze between the viewer and the horizon, 0 .. 1
    sunny: float  # the sun's share of all light, 0 .. 1
    side: float  # direction of the light: -1 left .. 1 right
    cloud_lit: np.ndarray
    cloud_shade: np.ndarray

    def shade(self, albedo: np.ndarray, lit: np.ndarray | float) -> np.ndarray:
        """Return (3, h, w), the color of a surface that the sun reaches by `lit` (h, w)."""
        lit = np.asarray(lit, np.float32)
        if albedo.ndim == 1:
            shape = (3,) + (1,) * lit.ndim
            base, gain = albedo * self.ambient, albedo * self.sun
            return base.reshape(shape) + gain.reshape(shape) * lit
        shape = (3, 1, 1)
        return albedo * (self.ambient.reshape(shape) + self.sun.reshape(shape) * lit)

    def flat(self, albedo: np.ndarray, lit: float = 0.5) -> np.ndarray:
        """Return the color of an evenly lit surface, (3,)."""
        return albedo * (self.ambient + self.sun * np.float32(lit))

    def fade(self, color: np.ndarray, distance: float) -> np.ndarray:
        """Return a color (3, ...) seen through `distance` 0 ..

        1 of the air between here and the sky.
        """
        amount = np.float32(min(0.97, distance * self.density))
        haze = self.haze.reshape((3,) + (1,) * (color.ndim - 1))
        return color + amount * (haze - color)


def rgb(*values: float) -> np.ndarray:
    """Return a color, (3,) float32."""
    return np.array(values, np.float32)


# zenith, middle, horizon, glow, sun, ambient; chosen for this project, several moods per hour.
_MOODS: dict[str, tuple[tuple[Color, ...], ...]] = {
    "dawn": (
        (
            (0.38, 0.50, 0.76),
            (0.80, 0.70, 0.80),
            (1.00, 0.84, 0.70),
            (1.00, 0.80, 0.55),
            (0.62, 0.45, 0.33),
            (0.50, 0.52, 0.64),
        ),
        (
            (0.30, 0.52, 0.72),
            (0.68, 0.80, 0.84),
            (1.00, 0.91, 0.74),
            (1.00, 0.86, 0.56),
            (0.58, 0.47, 0.34),
            (0.50, 0.56, 0.64),
        ),
        (
            (0.46, 0.46, 0.72),
            (0.88, 0.66, 0.74),
            (1.00, 0.78, 0.70),
            (1.00, 0.76, 0.60),
            (0.62, 0.42, 0.38),
            (0.52, 0.50, 0.62),
        ),
    ),
    "noon": (
        (
            (0.15, 0.41, 0.80),
            (0.40, 0.66, 0.93),
            (0.80, 0.91, 0.97),
            (1.00, 0.97, 0.88),
            (0.56, 0.51, 0.40),
            (0.56, 0.62, 0.72),
        ),
        (
            (0.10, 0.45, 0.74),
            (0.38, 0.72, 0.88),
            (0.86, 0.94, 0.92),
            (1.00, 0.98, 0.86),
            (0.58, 0.52, 0.38),
            (0.55, 0.62, 0.68),
        ),
        (
            (0.20, 0.36, 0.72),
            (0.46, 0.62, 0.88),
            (0.86, 0.90, 0.94),
            (1.00, 0.96, 0.90),
            (0.54, 0.50, 0.42),
            (0.58, 0.62, 0.72),
        ),
    ),
    "dusk": (
        (
            (0.17, 0.16, 0.40),
            (0.64, 0.31, 0.46),
            (1.00, 0.58, 0.28),
            (1.00, 0.62, 0.25),
            (0.70, 0.38, 0.18),
            (0.38, 0.30, 0.44),
        ),
        (
            (0.13, 0.23, 0.46),
            (0.54, 0.44, 0.60),
            (0.99, 0.68, 0.42),
            (1.00, 0.70, 0.36),
            (0.66, 0.42, 0.24),
            (0.36, 0.34, 0.48),
        ),
        (
            (0.25, 0.12, 0.34),
            (0.80, 0.29, 0.36),
            (1.00, 0.63, 0.34),
            (1.00, 0.60, 0.28),
            (0.74, 0.34, 0.20),
            (0.40, 0.27, 0.40),
        ),
    ),
    "night": (
        (
            (0.02, 0.04, 0.14),
            (0.06, 0.12, 0.29),
            (0.17, 0.28, 0.48),
            (0.40, 0.50, 0.72),
            (0.20, 0.26, 0.36),
            (0.16, 0.21, 0.36),
        ),
        (
            (0.02, 0.06, 0.14),
            (0.05, 0.18, 0.29),
            (0.16, 0.37, 0.45),
            (0.40, 0.60, 0.70),
            (0.18, 0.28, 0.34),
            (0.14, 0.23, 0.34),
        ),
        (
            (0.06, 0.04, 0.17),
            (0.15, 0.11, 0.33),
            (0.32, 0.26, 0.50),
            (0.52, 0.46, 0.74),
            (0.23, 0.24, 0.36),
            (0.19, 0.19, 0.36),
        ),
    ),
}

_GRAY_SKY: dict[str, Color] = {
    "dawn": (0.74, 0.73, 0.77),
    "noon": (0.72, 0.76, 0.80),
    "dusk": (0.50, 0.44, 0.50),
    "night": (0.19, 0.25, 0.37),
}

_FOG: dict[str, Color] = {
    "dawn": (0.93, 0.88, 0.86),
    "noon": (0.87, 0.90, 0.92),
    "dusk": (0.93, 0.79, 0.72),
    "night": (0.27, 0.34, 0.48),
}

# grayness of the sky, brightness, haze density
_WEATHER: dict[str, tuple[float, float, float]] = {
    "clear": (0.0, 1.0, 0.62),
    "cloudy": (0.10, 1.0, 0.66),
    "overcast": (0.72, 0.94, 0.72),
    "rain": (0.76, 0.84, 0.80),
    "snowfall": (0.72, 0.98, 0.90),
    "fog": (0.55, 1.04, 1.30),
}


def _mix(a: np.ndarray, b: np.ndarray, amount: float) -> np.ndarray:
    return a + np.float32(amount) * (b - a)


def light_of(hour: str, weather: str, mood: tuple[int, float, float], side: float) -> Light:
    """Return the light of an hour and a weather; `mood`: variant, blend with the next, warmth."""
    variants = _MOODS[hour]
    first = np.array(variants[mood[0] % len(variants)], np.float32)
    second = np.array(variants[(mood[0] + 1) % len(variants)], np.float32)
    colors = _mix(first, second, mood[1])
    colors = colors * (1 + np.float32(mood[2]) * rgb(1.0, 0.1, -1.0))
    zenith, middle, horizon, glow, sun, ambient = colors
    gray_by, dark, density = _WEATHER[weather]
    gray = rgb(*_GRAY_SKY[hour])
    light = np.float32(dark)
    zenith = _mix(zenith, gray * 0.80, gray_by) * light
    middle = _mix(middle, gray * 0.95, gray_by) * light
    horizon = _mix(horizon, gray * 1.08, gray_by * 0.9) * light
    overcast = np.float32(gray_by)
    even = sun.mean() * 0.45 + ambient.mean()
    ambient = _mix(ambient, (ambient / ambient.mean() * 0.4 + 0.6) * even, gray_by) * light
    sun = sun * (1 - np.float32(0.85) * overcast) * light
    if hour == "night":  # no moon under clouds: brighten, as for an eye adapted to the dark
        ambient = ambient * np.float32(1 + 0.5 * gray_by)
    haze = _mix(horizon, middle, 0.25)
    if weather == "fog":
        haze = _mix(haze, rgb(*_FOG[hour]), 0.6)
    night = hour == "night"
    lit = _mix(rgb(1.0, 0.99, 0.97), glow, 0.25 if hour == "noon" else 0.55)
    if night:
        lit = _mix(middle, glow, 0.65)
    if hour == "dusk":
        lit = _mix(horizon, glow, 0.5) * 0.98 + 0.04
    shade = _mix(middle, zenith, 0.35) if not night else _mix(zenith, middle, 0.75)
    if hour == "noon":
        shade = _mix(shade, rgb(0.80, 0.84, 0.90), 0.62)
    if hour == "dawn":
        shade = _mix(shade, rgb(0.78, 0.72, 0.80), 0.5)
    lit = _mix(lit, gray * 1.12, gray_by * 0.85) * light
    shade = _mix(shade, gray * 0.82, gray_by * 0.85) * light
    return Light(
        zenith,
        middle,
        horizon,
        glow * light,
        sun,
        ambient,
        np.clip(haze, 0, 1),
        density,
        float(sun.sum() / (sun.sum() + 0.6 * ambient.sum())),
        side,
        np.clip(lit, 0, 1),
        np.clip(shade, 0, 1),
    )
