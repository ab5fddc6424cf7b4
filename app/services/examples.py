"""Example pictures: two photographs from the app's files, and drawn scenes.

Nothing is created at import. The scenes are drawn once per process, when the first user comes, into
a folder of the process's own that is deleted when it ends.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from .encoding import data_url

PHOTOGRAPHS = Path(__file__).resolve().parents[1] / "static" / "examples"
"""The folder of the photographs; its README.md names their authors and licenses."""
SCENES = (45, 24, 50, 9)
SIZE = 512
THUMB = 96

_DRAWING = threading.Lock()


@dataclass(frozen=True)
class Example:
    """A picture on disk, its caption, and its author."""

    path: str
    caption: str
    credit: str


_CREDITS = {
    "coffee.jpg": ("A cup of coffee", "Photograph by Rachel Michetti, CC0, via scikit-image"),
    "rocket.jpg": (
        "A rocket on its launch pad",
        "Photograph by SpaceX, public domain, via scikit-image",
    ),
}


def photographs() -> list[Example]:
    """Return the photographs in the app's files."""
    return [
        Example(str(PHOTOGRAPHS / name), caption, credit)
        for name, (caption, credit) in _CREDITS.items()
        if (PHOTOGRAPHS / name).is_file()
    ]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="regvq-examples-")  # deleted when the process ends


@cache
def scenes() -> tuple[Example, ...]:
    """Return a few pictures of the project's own drawn data set, at SIZE pixels."""
    from regvq.data import open_dataset
    from regvq.images import to_pictures

    drawn = open_dataset("scenes", size=SIZE, seed=0, split="test")
    made = []
    for index in SCENES:
        sample = drawn[index]
        file = Path(_folder().name) / f"scene-{index}.png"
        to_pictures(sample.image[None])[0].save(file)
        made.append(Example(str(file), sample.caption, f"Drawn by the project, scene {index}"))
    return tuple(made)


@cache
def _copies() -> tuple[Example, ...]:
    """Return the photographs, copied: Gradio serves no file from an installed package."""
    return tuple(
        replace(found, path=shutil.copy(found.path, _folder().name)) for found in photographs()
    )


def examples() -> tuple[Example, ...]:
    """Return all examples; the first one is the first picture that a visitor sees."""
    with _DRAWING:  # a second visitor waits instead of reading an incomplete file
        return (*_copies(), *scenes())


@cache
def thumbnails() -> tuple[dict[str, str], ...]:
    """Return "caption", "credit" and a square "thumb" (a data address) of each example."""
    import numpy as np
    from PIL import Image

    from regvq.images import open_picture

    made = []
    for example in examples():
        whole = open_picture(example.path)
        edge = min(whole.size)
        left, top = (whole.width - edge) // 2, (whole.height - edge) // 2
        box = (left, top, left + edge, top + edge)
        small = np.asarray(whole.resize((THUMB, THUMB), Image.Resampling.LANCZOS, box))
        texts = {"caption": example.caption, "credit": example.credit}
        made.append({**texts, "thumb": data_url(small)})
    return tuple(made)
