"""The uses of a checkpoint's codes, counted in drawn scenes: the same ones for every checkpoint.

A large network takes half a minute for them. So they are counted piece by piece, other visitors'
models run in between, and the pages show what has been counted so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from regvq.channels import count_words
from regvq.paths import cache_folder

from .array_cache import load_array, store_array
from .cache import RecentItems
from .checkpoints import TokenizerHandle, fingerprint
from .errors import UserError
from .model_lock import LOCK
from .precision import is_large

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SCENES = 48
"""Number of drawn scenes in a new count."""
SCENE_SIZE = 192
"""Their width and height in pixels."""
PIECE = 4
"""Scenes that are counted at a time; of a large network, a single one."""

Progress = Callable[..., Any]
"""Called as ``gradio.Progress`` is: (done, total) or a share of 1, ``desc``, ``unit``."""


def scenes() -> Iterator[Tensor]:
    """Yield SCENES images (3, SCENE_SIZE, SCENE_SIZE) of the drawn data set."""
    return (scene(index) for index in range(SCENES))


def scene(index: int) -> Tensor:
    """Return one of these images."""
    from regvq.data import open_dataset

    return open_dataset("scenes", size=SCENE_SIZE, seed=0, split="test")[index].image


def other_channels(handle: TokenizerHandle) -> str:
    """Return a clause on why a checkpoint cannot encode the scenes; "" if it can."""
    if handle.channels == 3:
        return ""
    channels = count_words(handle.channels)
    return f"{handle.name} takes pictures of {channels}, and the drawn scenes have 3"


class SceneCount:
    """The uses of each code in the scenes counted so far; in none, if they have other channels."""

    def __init__(self, handle: TokenizerHandle) -> None:
        self._handle = handle
        size = handle.tokenizer.codebook_size
        self.total = 0 if other_channels(handle) else SCENES
        known = load_array(self._file, (size,), np.int64)
        self.counts = np.zeros(size, np.int64) if known is None else known
        """int64 (K,); replaced, never changed, when more is counted"""
        self.done = 0 if known is None else self.total

    @property
    def complete(self) -> bool:
        """True if all scenes are counted."""
        return self.done >= self.total

    @property
    def source(self) -> str:
        """The counted pictures in words."""
        if unusable := other_channels(self._handle):
            return f"no pictures: {unusable}"
        of = "" if self.complete else f"the first {self.done} of "
        return f"{of}{self.total} drawn scenes at {SCENE_SIZE} × {SCENE_SIZE}"

    def begin(self) -> None:
        """Count the first scenes unless some are counted."""
        if not self.done:
            self.more()

    def more(self) -> None:
        """Count PIECE more scenes; the model runs while holding ``model_lock.LOCK``."""
        from regvq.analysis.counts import count_codes

        with LOCK:
            if self.complete:
                return
            piece = 1 if is_large(self._handle.tokenizer) else PIECE
            end = min(self.done + piece, self.total)
            some = (scene(index) for index in range(self.done, end))
            self.counts = self.counts + count_codes(self._handle.tokenizer, some, batch=PIECE)
            self.done = end
        if self.complete:
            store_array(self._file, self.counts)

    def finish(self, progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Return the counts of all scenes; ``progress`` is called with the number of those done."""
        while not self.complete:
            self.more()
            if progress is not None:
                progress(self.done)
        return self.counts

    @property
    def _file(self) -> Path:
        name = f"{fingerprint(self._handle)}-scenes-{SCENES}-{SCENE_SIZE}.npy"
        return cache_folder() / "atlas" / name


def class_names() -> tuple[str, ...]:
    """Return the names of the classes of the scenes' semantic maps."""
    from regvq.data import open_dataset

    return tuple(open_dataset("scenes", size=SCENE_SIZE, seed=0, split="test").classes)


_code_counts: RecentItems[TokenizerHandle, SceneCount] = RecentItems(8)
_class_counts: RecentItems[TokenizerHandle, np.ndarray] = RecentItems(8)


def count_of(handle: TokenizerHandle) -> SceneCount:
    """Return the count of a checkpoint's codes, with as many scenes as are counted so far."""
    found = _code_counts.touch(handle)
    if found is None:
        found = _code_counts[handle] = SceneCount(handle)
    return found


def class_counts(
    handle: TokenizerHandle, progress: Progress | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the pixels of each class that each code covers in the scenes, int64 (K, C), and the
    names of the classes. Raises UserError if the scenes have other channels than the checkpoint."""
    from regvq.analysis.counts import count_classes
    from regvq.data import open_dataset

    if unusable := other_channels(handle):
        raise UserError(f"{unusable}: the classes of its codes are not known.")
    drawn = open_dataset("scenes", size=SCENE_SIZE, seed=0, split="test")
    if handle not in _class_counts:
        size, kinds = handle.tokenizer.codebook_size, len(drawn.classes)
        counts = np.zeros((size, kinds), np.int64)
        for index in range(SCENES):
            with LOCK:  # for one scene: others need not wait for all of them
                counts += count_classes(handle.tokenizer, [drawn[index]], kinds)
            if progress is not None:
                progress(
                    (index + 1, SCENES), desc="Counting the classes of each code", unit="scenes"
                )
        _class_counts[handle] = counts
    return _class_counts[handle], tuple(drawn.classes)
