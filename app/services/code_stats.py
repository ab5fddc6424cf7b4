"""What is known of a checkpoint's codes: from its bundle, or counted here and remembered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ui.pictures import png, sprite
from .checkpoints import Model

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("regvq.app")

SCENES = 48
SCENE_SIZE = 192
"""What a fresh count looks at: so many drawn scenes of so many pixels a side."""


def scenes() -> Iterator[Tensor]:
    """SCENES images (3, SCENE_SIZE, SCENE_SIZE) of the drawn data set, one by one."""
    from regvq.data import open_dataset

    drawn = open_dataset("scenes", size=SCENE_SIZE, seed=0, split="test")
    return (drawn[index].image for index in range(SCENES))


@lru_cache(maxsize=6)
def atlas(which: Model) -> dict[str, np.ndarray]:
    """Statistics of every code (``core.analysis.atlas``): the bundle's own, or made on scenes."""
    from regvq.analysis.atlas import build_atlas

    known = which.bundle.atlas
    if len(known.get("counts", ())) == which.tokenizer.codebook_size:
        return known
    return build_atlas(which.tokenizer, scenes(), source=scenes_source())


@lru_cache(maxsize=6)
def sprite_png(which: Model) -> bytes:
    """What every code paints, side by side in one PNG."""
    return png(sprite(atlas(which)["paints"]))


@dataclass(frozen=True)
class Patches:
    """Pieces of real pictures that each code encodes, as the bundle holds them."""

    tiles: np.ndarray
    """uint8 (n, s, s, 3), code by code"""
    starts: np.ndarray
    """int64 (K + 1,): where in ``tiles`` each code's begin"""
    sheet: bytes
    """the same as one WebP picture"""
    cells: int
    """tokens across one: the code's own in the middle, the rest is what lay around it"""
    source: str
    pictures: int

    def of(self, code: int) -> np.ndarray:
        """A code's patches, uint8 (m, s, s, 3)."""
        return self.tiles[self.starts[code] : self.starts[code + 1]]


@lru_cache(maxsize=6)
def patches(which: Model) -> Patches | None:
    """The real patches of a bundle, or None: old ones hold none, and a broken sheet is as none."""
    from regvq.analysis.real_patches import unpack_patches

    known = which.bundle.atlas
    try:
        found = unpack_patches(known)
    except ValueError as error:
        log.warning("%s: %s", which.name, error)
        return None
    if found is None or len(found[1]) != which.tokenizer.codebook_size + 1:
        return None
    return Patches(
        *found,
        sheet=known["patches"].tobytes(),
        cells=2 * int(known["patches_context"]) + 1,
        source=str(known["patches_source"]),
        pictures=int(known["patches_pictures"]),
    )


def scenes_source() -> str:
    """What a fresh count was made on, in words."""
    return f"{SCENES} drawn scenes at {SCENE_SIZE} × {SCENE_SIZE}"


_classed: dict[Model, np.ndarray] = {}


def class_counts(which: Model, progress: Any = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels of each class under each code in the scenes, int64 (K, C), and the classes' names."""
    from regvq.analysis.counts import count_classes
    from regvq.data import open_dataset

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
    from regvq.analysis.counts import count_codes

    if which not in _counted:
        if len(_counted) > 8:
            _counted.clear()
        _counted[which] = count_codes(which.tokenizer, scenes(), progress, batch=4)
    return _counted[which]
