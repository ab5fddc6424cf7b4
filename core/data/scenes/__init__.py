"""`scenes`, the embedded data set: landscapes drawn by code, with captions and semantic maps.

A scene is first planned (`compose` returns a `Plan` of pure data in unit coordinates), then painted
back to front at any size (`paint`). Its facts are measured on the painted map (`facts_of`) before a
caption is written from them, so a caption never names anything that cannot be seen.
"""

from .classes import CLASS_INDEX, CLASSES, PALETTE
from .dataset import Scenes
from .drawing.light import HOURS, SEASONS, WEATHERS
from .facts import MIN_AREA, MIN_CONTRAST, REFERENCE_SIZE
from .plan import LANDS
from .questions import QUESTIONS, answers, named_in

__all__ = [
    "CLASSES",
    "CLASS_INDEX",
    "HOURS",
    "LANDS",
    "MIN_AREA",
    "MIN_CONTRAST",
    "PALETTE",
    "QUESTIONS",
    "REFERENCE_SIZE",
    "SEASONS",
    "WEATHERS",
    "Scenes",
    "answers",
    "named_in",
]
