"""Data sets: each yields `Sample`s, by item for evaluation and by draw for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = ("train", "val", "test")
NAMES = (
    *("scenes", "folder", "captions", "shards", "imagenet", "ade20k", "celebamask", "cub"),
    *("coco", "camvid", "facades", "flickr8k"),
)


class DataError(ValueError):
    """A data set that cannot be used: one sentence with what is wrong and what would be right."""


@dataclass(frozen=True, eq=False)  # no ==: comparing tensors has no single truth value
class Sample:
    """One picture with what is known about it.

    image: float32 (3, H, W) in [-1, 1].
    caption: a sentence, or "".
    segmentation: int64 (H, W) class ids, 255 = unlabelled; or None.
    label: class id, or -1.
    captions: all that hold for this picture; `caption` is one of them.
    """

    image: Tensor
    caption: str = ""
    segmentation: Tensor | None = None
    label: int = -1
    captions: tuple[str, ...] = ()


class Dataset(Protocol):
    """What every data set offers.

    `dataset[i]` is the i-th item as it is, for evaluation. `draw(k)` is the k-th training draw,
    augmented, (3, size, size): a pure function of (seed, k) for any k >= 0, so that a run resumes
    exactly; every len(dataset) draws are a permutation of the items.
    """

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def draw(self, k: int) -> Sample: ...


def open_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    size: int = 64,
    seed: int = 0,
    split: str = "train",
    crop: tuple[float, float] = (0.0, 1.0),
) -> Dataset:
    """Open a data set by its name.

    Args:
        name: one of NAMES: "scenes" (drawn by the code, no files), "folder" (any folder of
            pictures), or one in the layout in which its authors publish it.
        root: the folder, where the data set is read from files; of "shards" also a pattern or
            an http(s) address.
        size: side in pixels of the square images that `draw` yields.
        seed: seed of the draws.
        split: "train", "val" or "test"; a plain folder without such subfolders has one split.
        crop: smallest and largest side of a training crop, as fractions of a file's short side.

    Raises:
        DataError: unknown name or split, missing or unusable root.
    """
    if name not in NAMES:
        raise DataError(f"unknown data set {name!r}; the data sets are: {', '.join(NAMES)}.")
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r}; the splits are: {', '.join(SPLITS)}.")
    if size < 1:
        raise DataError(f"size must be at least 1 pixel, got {size}.")
    if seed < 0:
        raise DataError(f"seed must be 0 or more, got {seed}.")
    # Modules are imported when a data set is opened, so that `--help` does not wait for them.
    if name == "scenes":
        return _open_scenes(root, size, seed, split)
    if name == "folder":
        return _open_folder(root, size, seed, split, crop)
    from .published import PUBLISHED

    return PUBLISHED[name](root, split, size=size, seed=seed, crop_scale=crop)


def has_held_out(name: str, root: str | Path | None) -> bool:
    """Whether the split "test" of a data set holds other pictures than "train"."""
    if name == "folder":
        from .datasets.folder import split_folder

        return split_folder(root, "test") != split_folder(root, "train")
    if name == "captions":
        from .datasets.captioned_folder import captions_held_out

        return captions_held_out(Path(root))
    if name == "shards":
        from .shards.files import shards_of

        return shards_of(root, "test") != shards_of(root, "train")
    return True


def _open_scenes(root: str | Path | None, size: int, seed: int, split: str) -> Dataset:
    if root is not None:
        raise DataError(f"the data set 'scenes' is drawn, not read: leave out the root {root}.")
    from .scenes import Scenes

    return Scenes(size=size, seed=seed, length=50_000 if split == "train" else 5_000, split=split)


def _open_folder(
    root: str | Path | None, size: int, seed: int, split: str, crop: tuple[float, float]
) -> Dataset:
    from .datasets.folder import PictureFolder, split_folder

    if root is None:
        raise DataError("the data set 'folder' needs a root: give a folder of pictures.")
    return PictureFolder(split_folder(root, split), size=size, seed=seed, crop_scale=crop)
