"""The classes of a drawn scene, and the color of each class on a semantic map."""

from __future__ import annotations

import numpy as np

_COLORS: dict[str, tuple[int, int, int]] = {
    "sky": (126, 190, 238),
    "cloud": (202, 208, 218),
    "sun": (255, 222, 60),
    "moon": (246, 238, 190),
    "aurora": (60, 232, 150),
    "rainbow": (214, 92, 214),
    "mountain": (108, 108, 132),
    "snowcap": (176, 198, 252),
    "hill": (112, 148, 96),
    "forest": (28, 64, 52),
    "lake": (40, 122, 172),
    "sea": (20, 62, 128),
    "beach": (236, 208, 144),
    "grass": (124, 190, 62),
    "snow": (250, 252, 255),
    "flowers": (240, 84, 128),
    "path": (188, 150, 106),
    "rock": (148, 144, 136),
    "conifer": (14, 112, 66),
    "tree": (68, 152, 20),
    "house": (222, 118, 82),
    "roof": (140, 44, 40),
    "boat": (112, 66, 28),
    "bird": (40, 36, 48),
}

CLASSES: tuple[str, ...] = tuple(_COLORS)
"""The class names; a pixel of a segmentation holds an index into them."""

CLASS_INDEX: dict[str, int] = {name: index for index, name in enumerate(CLASSES)}
"""Class name -> its index in CLASSES."""

PALETTE: np.ndarray = np.array(list(_COLORS.values()), dtype=np.uint8)
"""(C, 3) uint8: the paint color of each class, all distinct."""
PALETTE.setflags(write=False)
