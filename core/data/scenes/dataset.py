"""The embedded data set: endless drawn landscapes, each with its caption, map and facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...errors import DataError
from ..picture_dataset import DatasetInfo
from ..sample import SPLITS
from .captions import caption_of
from .classes import CLASSES, PALETTE
from .composition import compose
from .drawing.paint import paint
from .facts import REFERENCE_SIZE, Facts, attributes_of, facts_of
from .plan import LANDS

if TYPE_CHECKING:
    from ..sample import Sample
    from .drawing.canvas import Canvas
    from .plan import Plan

MIN_SIZE = 16
MAX_SIZE = 2048


class Scenes:
    """Landscapes drawn by code, deterministic in (seed, split, index) and the same at any size.

    An item is a `Sample`: image float32 (3, size, size) in [-1, 1]; caption; segmentation int64
    (size, size), the class in CLASSES that covers most of each pixel (no pixel is unlabeled);
    label, the kind of landscape, an index into LANDS. Nothing is stored or downloaded; items are
    drawn on access, safely from several threads or processes. The splits draw from separate
    seed sequences. Caption and attributes of an item do not depend on `size`.

    Raises DataError for a size outside 16 .. 2048, a negative seed, a length below 1, or an unknown
    split.
    """

    name = "scenes"
    about = DatasetInfo(
        what="landscapes drawn by code, with captions and maps of 24 classes",
        where="this library; nothing is downloaded",
        terms="Apache-2.0, like the code",
    )
    classes = CLASSES
    palette = PALETTE
    labels = LANDS

    def __init__(
        self, size: int = 64, seed: int = 0, length: int = 50_000, split: str = "train"
    ) -> None:
        if not _whole(size) or not MIN_SIZE <= size <= MAX_SIZE:
            raise DataError(
                f"a scene's size must be a whole number of pixels from {MIN_SIZE} to {MAX_SIZE}, "
                f"got {size!r}."
            )
        if not _whole(seed) or seed < 0:
            raise DataError(f"the seed must be a whole number from 0 up, got {seed!r}.")
        if not _whole(length) or length < 1:
            raise DataError(
                f"the number of scenes must be a whole number from 1 up, got {length!r}."
            )
        if split not in SPLITS:
            raise DataError(f"unknown split {split!r}; available: {', '.join(SPLITS)}.")
        self.size, self.seed, self.length, self.split = int(size), int(seed), int(length), split

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Return the scene `index` (negative ones count from the end).

        Raises IndexError beyond the length.
        """
        seeds = self._seeds(self._index(index))
        plan = compose(seeds)
        canvas = paint(plan, self.size)
        facts, segmentation = self._measured(seeds, plan, canvas)
        caption, _ = caption_of(facts, seeds)
        return _sample(plan, canvas, segmentation, caption)

    def item_and_attributes(self, index: int) -> tuple[Sample, dict[str, object]]:
        """Return scene `index` and its `attributes`; the picture is drawn only once."""
        seeds = self._seeds(self._index(index))
        plan = compose(seeds)
        canvas = paint(plan, self.size)
        facts, segmentation = self._measured(seeds, plan, canvas)
        caption, named = caption_of(facts, seeds)
        return (
            _sample(plan, canvas, segmentation, caption),
            attributes_of(facts, caption, named),
        )

    def draw(self, k: int) -> Sample:
        """Return the k-th training draw, any k >= 0: item k, starting again after the last item."""
        if not _whole(k) or k < 0:
            raise DataError(f"the number of a draw must be a whole number from 0 up, got {k!r}.")
        return self[int(k) % self.length]

    def picture(self, index: int) -> np.ndarray:
        """Return only the image of an item, uint8 (size, size, 3)."""
        canvas = paint(compose(self._seeds(self._index(index))), self.size)
        return np.rint(canvas.image.transpose(1, 2, 0) * 255).astype(np.uint8)

    def attributes(self, index: int) -> dict[str, object]:
        """Return the facts of scene `index` as plain values, to judge a caption or a picture.

        `land`, `hour`, `weather`, `season`; `stars` (bool); `moon` (its phase or None); `flowers`
        (their color or None); `areas` (class -> share of the picture as drawn at 64 px, for visible
        classes: from MIN_AREA and MIN_CONTRAST up); `counts` (house, conifer, tree, rock, boat,
        bird -> number of visible ones); `things` (`kind`, `colour`, `side` and `area` of each);
        `caption`, and `named` (the classes the caption names -> their number, 0 if they are not
        counted).
        """
        index = self._index(index)
        seeds = self._seeds(index)
        facts = self._facts(seeds)
        return attributes_of(facts, *caption_of(facts, seeds))

    def _measured(
        self, seeds: tuple[int, ...], plan: Plan, canvas: Canvas
    ) -> tuple[Facts, np.ndarray]:
        segmentation = canvas.segmentation()
        if self.size == REFERENCE_SIZE:
            return facts_of(plan, canvas, segmentation), segmentation
        return self._facts(seeds), segmentation

    def _facts(self, seeds: tuple[int, ...]) -> Facts:
        plan = compose(seeds)
        return facts_of(plan, paint(plan, REFERENCE_SIZE))

    def _index(self, index: int) -> int:
        if not _whole(index):
            raise DataError(f"a scene's index must be a whole number, got {index!r}.")
        if not -self.length <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}")
        return int(index) % self.length

    def _seeds(self, index: int) -> tuple[int, ...]:
        return self.seed, SPLITS.index(self.split), index


def _sample(plan: Plan, canvas: Canvas, segmentation: np.ndarray, caption: str) -> Sample:
    """Return the sample; the colors of the canvas become the image in place."""
    import torch

    from ..sample import Sample

    image = canvas.image
    image *= 2
    image -= 1
    return Sample(
        image=torch.from_numpy(image),
        caption=caption,
        segmentation=torch.from_numpy(segmentation),
        label=LANDS.index(plan.land),
    )


def _whole(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
