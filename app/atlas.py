"""What is known of a checkpoint's codes: from its bundle, or counted here and remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from app.models import Model
from app.pictures import png, sprite

if TYPE_CHECKING:
    from torch import Tensor

SCENES = 48
SCENE_SIZE = 192
"""What a fresh count looks at: so many drawn scenes of so many pixels a side."""


def scenes() -> Iterator[Tensor]:
    """SCENES images (3, SCENE_SIZE, SCENE_SIZE) of the drawn data set, one by one."""
    from core.data import open_dataset

    drawn = open_dataset("scenes", size=SCENE_SIZE, seed=0, split="test")
    return (drawn[index].image for index in range(SCENES))


@lru_cache(maxsize=6)
def atlas(which: Model) -> dict[str, np.ndarray]:
    """Statistics of every code (``core.analysis.atlas``): the bundle's own, or made on scenes."""
    from core.analysis.atlas import build_atlas

    known = which.bundle.atlas
    if len(known.get("counts", ())) == which.tokenizer.codebook_size:
        return known
    return build_atlas(which.tokenizer, scenes(), source=scenes_source())


@lru_cache(maxsize=6)
def sprite_png(which: Model) -> bytes:
    """What every code paints, side by side in one PNG."""
    return png(sprite(atlas(which)["paints"]))


def scenes_source() -> str:
    """What a fresh count was made on, in words."""
    return f"{SCENES} drawn scenes at {SCENE_SIZE} × {SCENE_SIZE}"


_classed: dict[Model, np.ndarray] = {}


def class_counts(which: Model, progress: Any = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels of each class under each code in the scenes, int64 (K, C), and the classes' names."""
    from core.analysis.usage import count_classes
    from core.data import open_dataset

    drawn = open_dataset("scenes", size=SCENE_SIZE, seed=0, split="test")
    if which not in _classed:
        if len(_classed) > 8:
            _classed.clear()

        def tell(done: int) -> None:
            if progress is not None:
                progress((done, SCENES), desc="Looking where codes stand", unit="scenes")

        samples = (drawn[index] for index in range(SCENES))
        _classed[which] = count_classes(which.tokenizer, samples, len(drawn.classes), tell)
    return _classed[which], tuple(drawn.classes)


_counted: dict[Model, np.ndarray] = {}


def count_scenes(which: Model, progress: Callable[[int], None] | None = None) -> np.ndarray:
    """How often each code occurs in the scenes, int64 (K,); counted once a checkpoint."""
    from core.analysis.usage import count_codes

    if which not in _counted:
        if len(_counted) > 8:
            _counted.clear()
        _counted[which] = count_codes(which.tokenizer, scenes(), progress, batch=4)
    return _counted[which]
