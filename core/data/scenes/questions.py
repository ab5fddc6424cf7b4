"""Questions about a scene's picture, the true answers, and the answers that a caption gives.

A classifier that answers these from pixels judges whether a generated picture shows what its
caption says. Every question has few possible answers: yes and no, an hour, a number. The spelling
of the questions is part of the format of published classifiers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .captions import AT_NIGHT, WEATHER_PHRASES
from .classes import CLASS_INDEX, CLASSES
from .drawing.light import HOURS, SEASONS, WEATHERS
from .plan import PHASES, WALLS

NO_YES = ("no", "yes")
SIDES = ("left", "centre", "right")
_NUMBERED = ("0", "1", "2", "3", "4", "5 or more")
_COUNTS = {"house": _NUMBERED, "conifer": _NUMBERED, "tree": _NUMBERED, "rock": _NUMBERED,
           "boat": _NUMBERED, "bird": ("0", "1", "2 or more")}  # fmt: skip
_PLACED = ("house", "conifer", "tree", "rock", "boat")
_FLOWERS = ("red", "yellow", "pink", "white", "purple")
_AUTUMN = ("orange", "red", "golden")
_LEAVES = ("green", "pink", *_AUTUMN)
_TREES = (*_LEAVES, "bare", "autumn")
_SEEN = tuple(name for name in CLASSES if name not in ("sky", "roof"))

QUESTIONS: dict[str, tuple[str, ...]] = {
    "hour": HOURS,
    "weather": WEATHERS,
    "season": SEASONS,
    "stars": NO_YES,
    **dict.fromkeys(_SEEN, NO_YES),
    **{f"how many: {kind}": numbers for kind, numbers in _COUNTS.items()},
    **{f"{kind} {side}": NO_YES for kind in _PLACED for side in SIDES},
    **{f"{color} house": NO_YES for color in WALLS},
    **{f"{color} tree": NO_YES for color in _TREES},
    **{f"{color} flowers": NO_YES for color in _FLOWERS},
    **{f"{phase} moon": NO_YES for phase in PHASES},
}
"""Question -> its possible answers. A class name asks if the class is visible; `house left`, if a
house is on the left; `autumn tree`, if a tree is orange, red or golden."""


def answers(attributes: Mapping[str, Any], segmentation: np.ndarray) -> dict[str, int]:
    """Return the true answers about a scene, as indices into the answers of QUESTIONS.

    ``attributes``: those of `Scenes.attributes`; ``segmentation`` (H, W): the scene's map. If a
    class is on the map but too small or too faint to be seen, its question has no true answer and
    is left out: neither yes nor no would be wrong.
    """
    areas, things = attributes["areas"], attributes["things"]
    painted = np.bincount(np.asarray(segmentation).ravel(), minlength=len(CLASSES))
    known = {
        "hour": HOURS.index(attributes["hour"]),
        "weather": WEATHERS.index(attributes["weather"]),
        "season": SEASONS.index(attributes["season"]),
        "stars": int(attributes["stars"]),
    }
    for name in _SEEN:
        if name in areas or not painted[CLASS_INDEX[name]]:
            known[name] = int(name in areas)
    for kind, numbers in _COUNTS.items():
        count = attributes["counts"].get(kind, 0)
        if not count and painted[CLASS_INDEX[kind]]:
            continue
        known[f"how many: {kind}"] = min(count, len(numbers) - 1)
        if kind in _PLACED:
            sides = {thing["side"] for thing in things if thing["kind"] == kind}
            known |= {f"{kind} {side}": int(side in sides) for side in SIDES}
    walls = {thing["colour"] for thing in things if thing["kind"] == "house"}
    crowns = {thing["colour"] for thing in things if thing["kind"] == "tree"}
    if "how many: tree" in known:
        known["bare tree"] = int("bare" in crowns)
        known["autumn tree"] = int(bool(crowns & set(_AUTUMN)))
    # Dusk, night and fog change colors: captions do not name them then either.
    if attributes["hour"] in ("dawn", "noon") and attributes["weather"] != "fog":
        if "how many: house" in known:
            known |= {f"{color} house": int(color in walls) for color in WALLS}
        if "how many: tree" in known:
            known |= {f"{color} tree": int(color in crowns) for color in _LEAVES}
        if "flowers" in known:
            bloom = attributes["flowers"]
            known |= {f"{color} flowers": int(bloom == color) for color in _FLOWERS}
    if "moon" in known:
        known |= {f"{phase} moon": int(attributes["moon"] == phase) for phase in PHASES}
    return known


def named_in(attributes: Mapping[str, Any]) -> dict[str, int]:
    """Return the questions that a scene's caption answers, with its answers, as `answers` does.

    ``attributes``: those of `Scenes.attributes`. Classes and numbers are those that the caption's
    writer noted (``named``); hour, weather, season, colors, sides and phases are read from its
    words.
    """
    caption: str = attributes["caption"]
    named = {name: 1 for name in attributes["named"] if name in QUESTIONS}
    weather = _weather_in(caption)
    if weather is not None:
        named["weather"] = WEATHERS.index(weather)
    if weather != "cloudy":
        named.pop("cloud", None)  # a gray sky is a weather; single clouds may not be visible
    for kind, count in attributes["named"].items():
        if count and kind in _COUNTS:
            named[f"how many: {kind}"] = min(count, len(_COUNTS[kind]) - 1)
    named["hour"] = HOURS.index(attributes["hour"])  # every caption names it
    if re.search(r"\bthe stars\b|\bstarry\b", caption):
        named["stars"] = 1
    season = re.search(rf"\bin ({'|'.join(SEASONS)})\b", caption)
    if season:
        named["season"] = SEASONS.index(season[1])
    elif "autumn meadow" in caption:
        named["season"] = SEASONS.index("autumn")
    elif re.search(r"\bsnowy (conifer|fir|spruce)", caption):
        named["season"] = SEASONS.index("winter")
    for pattern, question in _PATTERNS:
        for found in pattern.findall(caption):
            named[question.format(_MEANT.get(found, found))] = 1
    return named


def _weather_in(caption: str) -> str | None:
    longest = sorted(_BY_PHRASE, key=len, reverse=True)
    return next((_BY_PHRASE[phrase] for phrase in longest if phrase in caption), None)


_BY_PHRASE = {
    phrase: weather
    for table in (WEATHER_PHRASES, AT_NIGHT)
    for weather, phrases in table.items()
    for phrase in phrases
} | {"under the stars": "clear", "under a starry sky": "clear"}

_MEANT = {
    "blossoming": "pink", "in the middle": "centre", "on the left": "left", "on the right": "right",
    "round": "full", "thin": "crescent",
}  # fmt: skip
_WORDS = {
    "house": "house", "conifer": "conifer|fir|spruce", "tree": "tree", "rock": "rock|boulder",
    "boat": "boat|sailboat",
}  # fmt: skip
_PATTERNS = (
    *(
        (re.compile(rf"\b(?:{words}) (on the left|in the middle|on the right)"), kind + " {}")
        for kind, words in _WORDS.items()
    ),
    (re.compile(rf"\b({'|'.join(WALLS)}) houses?\b"), "{} house"),
    (re.compile(rf"\bhouse and an? ({'|'.join(WALLS)}) one\b"), "{} house"),
    (re.compile(rf"\b({'|'.join((*_TREES, 'blossoming'))}) trees?\b"), "{} tree"),
    (re.compile(rf"\b({'|'.join(_FLOWERS)}) flowers\b"), "{} flowers"),
    (re.compile(r"\b(full|round|half|crescent|thin) moon\b"), "{} moon"),
)
