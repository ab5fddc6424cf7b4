"""Example prompts and semantic maps for a prior, in the style of its training data."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .examples import Example, examples
from .priors import PriorHandle
from .semantic_maps import Legend, legend

SCENES = (45, 24, 50, 9, 60, 3, 33, 71)
"""The drawn scenes whose captions and maps are examples; no prior was trained on them."""

# Captions in the style of other data sets, by a part of the data set's or the prior's name.
PROMPTS = {
    "bird": (
        "this small perching bird is red and black with a short black cone bill",
        "this small perching bird is yellow, olive and white with a short black bill",
        "this medium-sized duck-like bird is black and white with a grey bill",
        "this large bird is brown and black with a curved hooked bill",
    ),
    "flickr": (
        "a dog runs through shallow water on a beach",
        "two children play on the grass in a park",
        "a man in a red jacket stands on a snowy mountain",
    ),
    "coco": (
        "a plate of food on a wooden table",
        "a train at a station on a sunny day",
        "a boat on a lake below mountains",
    ),
}
PROMPTS["cub"] = PROMPTS["bird"]


SUBJECTS = {
    "scenes": "drawn landscapes",
    "bird": "birds",
    "cub": "birds",
    "facade": "house facades",
    "celeb": "faces",
    "camvid": "streets",
}
"""The subject of a data set's pictures, by a part of the data set's or the prior's name; a prior of
other data sets knows photographs of many kinds."""


def trained_on_scenes(handle: PriorHandle) -> bool:
    """Return True if the prior was trained on the drawn scenes, whose examples are drawn here."""
    return handle.data.get("name") == "scenes"


def subject(handle: PriorHandle) -> str | None:
    """Return what the pictures show that the prior was trained on; None for many kinds of them."""
    if trained_on_scenes(handle):
        return SUBJECTS["scenes"]
    about = f"{handle.data.get('name', '')} {handle.name}".lower()
    return next((words for key, words in SUBJECTS.items() if key in about), None)


def example_picture(handle: PriorHandle) -> Example | None:
    """Return an example picture of the kind that the prior was trained on; None if none is."""
    if trained_on_scenes(handle):
        return examples()[-1]
    return examples()[0] if subject(handle) is None else None


@lru_cache(maxsize=4)
def scenes(size: int) -> tuple[tuple[str, np.ndarray], ...]:
    """Return captions and maps uint8 (size, size) of the example scenes."""
    from regvq.data import open_dataset

    drawn = open_dataset("scenes", size=size, seed=0, split="test")
    items = (drawn[index] for index in SCENES)
    return tuple((item.caption, item.segmentation.numpy().astype(np.uint8)) for item in items)


def example_prompts(handle: PriorHandle) -> tuple[str, ...]:
    """Return prompts in the style of the captions that the prior was trained on."""
    if trained_on_scenes(handle):
        return tuple(sorted((caption for caption, _ in scenes(64)), key=len))
    about = f"{handle.data.get('name', '')} {handle.name}".lower()
    return next((prompts for key, prompts in PROMPTS.items() if key in about), ())


def example_maps(handle: PriorHandle) -> tuple[tuple[str, np.ndarray], ...]:
    """Return a title and classes uint8 (height, width) for each example map."""
    width, height = handle.size
    if trained_on_scenes(handle) and width == height:
        return scenes(width)
    return facade_maps(legend(handle), width, height)


def facade_maps(known: Legend, width: int, height: int) -> tuple[tuple[str, np.ndarray], ...]:
    """Return maps of house facades with rows of windows and a door; () without their classes."""
    at = {name: index for index, name in enumerate(known.classes)}
    if not {"facade", "window", "door"} <= set(at):
        return ()
    made = []
    for floors, columns in ((3, 4), (4, 3), (5, 5), (2, 3)):
        ids = np.full((height, width), at.get("background", at["facade"]), np.uint8)
        top, left, right = height // 12, width // 16, width - width // 16
        ids[top:, left:right] = at["facade"]
        for floor in range(floors):
            for column in range(columns):
                y = top + (floor + 0.25) * (height - top) / floors
                x = left + (column + 0.28) * (right - left) / columns
                down, across = 0.5 * (height - top) / floors, 0.44 * (right - left) / columns
                ground_floor = floor == floors - 1
                door = ground_floor and column == columns // 2
                bottom = height if door else int(y + down)
                kind = "door" if door else "window"
                ids[int(y) : bottom, int(x) : int(x + across)] = at[kind]
                if not door and "sill" in at:
                    sill = slice(int(y + down), int(y + down) + max(1, height // 40))
                    ids[sill, int(x) : int(x + across)] = at["sill"]
        if "cornice" in at:
            ids[top : top + max(2, height // 30), left:right] = at["cornice"]
        made.append((f"{floors} floors of {columns}", ids))
    return tuple(made)
