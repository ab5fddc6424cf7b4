"""Facts about a checkpoint's codes: from its bundle, or computed here once and cached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .cache import RecentItems
from .checkpoints import TokenizerHandle
from .encoding import PageFile, png
from .token_pictures import FLOOR, heat_levels, tile_sheet

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("regvq.app")

SCENES = 48
"""Number of drawn scenes in a new count."""
SCENE_SIZE = 192
"""Their width and height in pixels."""
UNUSED = 90
"""Gray level of a code without a value on the color scale."""

Progress = Callable[..., Any]
"""Called as ``gradio.Progress`` is: (done, total) or a share of 1, ``desc``, ``unit``."""


def scenes() -> Iterator[Tensor]:
    """Yield SCENES images (3, SCENE_SIZE, SCENE_SIZE) of the drawn data set."""
    from regvq.data import open_dataset

    drawn = open_dataset("scenes", size=SCENE_SIZE, seed=0, split="test")
    return (drawn[index].image for index in range(SCENES))


def scenes_source() -> str:
    """Return the pictures of a new count in words."""
    return f"{SCENES} drawn scenes at {SCENE_SIZE} × {SCENE_SIZE}"


@lru_cache(maxsize=6)
def atlas(handle: TokenizerHandle) -> dict[str, np.ndarray]:
    """Return the statistics of every code (``core.analysis.atlas``): the bundle's own if it has
    them and they fit its codes, otherwise computed on scenes."""
    from regvq.analysis.atlas import build_atlas, fits

    known = handle.bundle.atlas
    if fits(known, handle.tokenizer):
        return known
    return build_atlas(handle.tokenizer, scenes(), source=scenes_source())


@lru_cache(maxsize=6)
def code_sheet(handle: TokenizerHandle) -> PageFile:
    """Return the tiles that all codes decode to, side by side in one picture file."""
    return PageFile(png(tile_sheet(atlas(handle)["paints"])), "codes")


@lru_cache(maxsize=6)
def codebook(handle: TokenizerHandle) -> np.ndarray:
    """Return the codes' vectors, float32 (K, D)."""
    return handle.tokenizer.quantizer.codebook().detach().cpu().numpy()


@lru_cache(maxsize=6)
def norms(handle: TokenizerHandle) -> np.ndarray:
    """Return the length of each code's vector, float32 (K,)."""
    return np.linalg.norm(codebook(handle), axis=1)


# ---------------------------------------------------------------- real patches


@dataclass(frozen=True)
class Patches:
    """The pieces of real pictures that each code encodes, as a bundle stores them."""

    tiles: np.ndarray
    """uint8 (n, s, s, 3), ordered by code"""
    starts: np.ndarray
    """int64 (K + 1,): index in ``tiles`` of each code's first patch"""
    sheet: bytes
    """The same tiles as one WebP picture."""
    cells: int
    """Width of a patch in tokens: the code's own token in the middle, its surroundings around."""
    source: str
    pictures: int

    def of(self, code: int) -> np.ndarray:
        """Return a code's patches, uint8 (m, s, s, 3)."""
        return self.tiles[self.starts[code] : self.starts[code + 1]]


@lru_cache(maxsize=6)
def patches(handle: TokenizerHandle) -> Patches | None:
    """Return a bundle's real patches; None if it has none (old bundles) or they are unreadable."""
    from regvq.analysis.real_patches import unpack_patches

    known = handle.bundle.atlas
    try:
        found = unpack_patches(known)
    except ValueError as error:
        log.warning("%s: %s", handle.name, error)
        return None
    if found is None or len(found[1]) != handle.tokenizer.codebook_size + 1:
        return None
    return Patches(
        *found,
        sheet=known["patches"].tobytes(),
        cells=2 * int(known["patches_context"]) + 1,
        source=str(known["patches_source"]),
        pictures=int(known["patches_pictures"]),
    )


# ---------------------------------------------------------------- counts


_code_counts: RecentItems[TokenizerHandle, np.ndarray] = RecentItems(8)
_class_counts: RecentItems[TokenizerHandle, np.ndarray] = RecentItems(8)


def count_in_scenes(
    handle: TokenizerHandle, progress: Callable[[int], None] | None = None
) -> np.ndarray:
    """Return how often each code occurs in the scenes, int64 (K,); counted once per checkpoint.

    ``progress`` is called with the number of scenes that are done.
    """
    from regvq.analysis.counts import count_codes

    if handle not in _code_counts:
        _code_counts[handle] = count_codes(handle.tokenizer, scenes(), progress, batch=4)
    return _code_counts[handle]


def class_counts(
    handle: TokenizerHandle, progress: Progress | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the pixels of each class that each code covers in the scenes, int64 (K, C), and the
    names of the classes."""
    from regvq.analysis.counts import count_classes
    from regvq.data import open_dataset

    drawn = open_dataset("scenes", size=SCENE_SIZE, seed=0, split="test")
    if handle not in _class_counts:

        def report(done: int) -> None:
            if progress is not None:
                progress((done, SCENES), desc="Counting the classes of each code", unit="scenes")

        samples = (drawn[index] for index in range(SCENES))
        _class_counts[handle] = count_classes(handle.tokenizer, samples, len(drawn.classes), report)
    return _class_counts[handle], tuple(drawn.classes)


def dominant_classes(
    handle: TokenizerHandle, progress: Progress | None = None
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return the class that each code covers most, int64 (K,), -1 for none; the names of the
    classes; and their colors uint8 (C, 3)."""
    from regvq.analysis.rendering import number_colors

    counts, names = class_counts(handle, progress)
    most = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    return most, list(names), number_colors(len(names))


def code_colors(
    handle: TokenizerHandle, color: str, progress: Progress | None = None
) -> np.ndarray:
    """Return a color for each code, uint8 (K, 3); ``color`` is usage, mean, norm or class."""
    from regvq.analysis.rendering import ramp

    known = atlas(handle)
    if color == "mean":
        return known["mean_color"]
    if color == "class":
        most, _, palette = dominant_classes(handle, progress)
        return np.where(most[:, None] >= 0, palette[most], UNUSED).astype(np.uint8)
    if color == "norm":
        lengths = norms(handle)
        span = max(float(np.ptp(lengths)), 1e-9)
        return ramp(FLOOR + (1 - FLOOR) * (lengths - lengths.min()) / span)
    counts = known["counts"]
    found = ramp(FLOOR + (1 - FLOOR) * heat_levels(counts))
    found[counts == 0] = UNUSED
    return found


def color_ramp() -> list[list[int]]:
    """Return the color scale of uses and norms in 64 steps, as RGB from 0 to 255."""
    from regvq.analysis.rendering import ramp

    return ramp(np.linspace(FLOOR, 1, 64)).tolist()
