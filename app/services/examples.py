"""Pictures to start from: two photographs if scikit-learn is installed, and drawn scenes.

Nothing is made at import: the scenes are drawn when the first visitor comes, once a process, into a
folder of the process's own that goes when it ends.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import threading
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

SCENES = (45, 24, 50, 9)
SIZE = 512
THUMB = 96

_DRAWING = threading.Lock()


@dataclass(frozen=True)
class Example:
    """A picture on disk, what it shows, and whose it is."""

    path: str
    caption: str
    credit: str


# What sklearn/datasets/images/README.txt says of them.
_PHOTOGRAPHS = {
    "china.jpg": ("Summer Palace", "Photograph by danielbuechele, CC BY 2.0, via scikit-learn"),
    "flower.jpg": ("Dahlia", "Photograph by flickr.com/vultilion, CC BY 2.0, via scikit-learn"),
}


def photographs() -> list[Example]:
    """The real photographs that scikit-learn brings along, found without importing it."""
    try:
        spec = importlib.util.find_spec("sklearn")
    except (ImportError, ValueError):
        spec = None
    roots = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return [
        Example(str(file), caption, credit)
        for name, (caption, credit) in _PHOTOGRAPHS.items()
        for file in (root / "datasets" / "images" / name for root in roots)
        if file.is_file()
    ]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="regvq-examples-")  # removed when the process ends


@cache
def scenes() -> tuple[Example, ...]:
    """A few pictures of the project's own drawn data set, at SIZE pixels."""
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
    """The photographs in the process's own folder: Gradio serves nothing from site-packages."""
    return tuple(
        replace(found, path=shutil.copy(found.path, _folder().name)) for found in photographs()
    )


def examples() -> tuple[Example, ...]:
    """All examples; the first one is what a visitor sees first."""
    with _DRAWING:  # a second visitor waits rather than reads a file that is half written
        return (*_copies(), *scenes())


@cache
def thumbnails() -> tuple[dict[str, str], ...]:
    """For each example its "caption", its "credit" and a square "thumb" as a data: address."""
    import numpy as np
    from PIL import Image

    from regvq.images import open_picture

    from ..ui.pictures import data_url

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
