"""The data sets by name, and the choice between a published layout and a plain folder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from ..channels import check_channels, count_words
from ..errors import DataError
from ..extensions import ExtensionError, load_extensions, same_definition
from ..formats import ARRAYS, SUFFIXES, UNREAD, suffix_of
from .crops import ASPECT
from .datasets.ade20k import ADE20K
from .datasets.camvid import CamVid
from .datasets.captioned_folder import CaptionedFolder, captions_held_out
from .datasets.celebamask import CelebAMaskHQ
from .datasets.channel_folder import ChannelFolder, holds_only_arrays
from .datasets.coco import COCO
from .datasets.cub import CUB
from .datasets.facades import Facades
from .datasets.flickr8k import Flickr8k
from .datasets.folder import PictureFolder, split_folder, split_remarks
from .datasets.imagenet import ImageNet
from .datasets.parquet import Columns, ParquetPictures, parquet_held_out
from .datasets.remote_folder import RemoteFolder, remote_held_out
from .picture_dataset import PictureDataset
from .remote import url_of
from .sample import SPLITS, Dataset
from .scenes import Scenes
from .shards import TarShards
from .shards.files import shards_of

PUBLISHED: dict[str, type[PictureDataset]] = {
    kind.name: kind
    for kind in (
        *(
            CaptionedFolder,
            TarShards,
            ParquetPictures,
            ImageNet,
            ADE20K,
            CelebAMaskHQ,
            CUB,
            COCO,
            CamVid,
            Facades,
        ),
        Flickr8k,
    )
}
"""The data sets that are read from files in a published layout, by name."""
NAMES = ("scenes", "folder", *PUBLISHED)
"""The names that ``open_dataset`` knows."""


class DatasetOpener(Protocol):
    """A function that opens one split of a data set of your own."""

    def __call__(
        self,
        root: str | Path | None,
        split: str,
        *,
        size: int,
        seed: int,
        crop: tuple[float, float],
    ) -> Dataset: ...


class _Registered(NamedTuple):
    open: DatasetOpener
    held_out: bool


_REGISTERED: dict[str, _Registered] = {}


def register_dataset(name: str, opener: DatasetOpener, *, held_out: bool = True) -> None:
    """Make a data set of your own known to ``open_dataset`` under ``name``.

    ``opener(root, split, size=, seed=, crop=)`` returns a ``Dataset``; it raises DataError for a
    root or a split that it cannot use. ``held_out``: True if the split "test" holds other pictures
    than "train"; cards state it. Raises ExtensionError for a name that is taken.
    """
    if not name or not isinstance(name, str) or not callable(opener):
        raise ExtensionError(f"a data set needs a name and a function that opens it, got {name!r}")
    known = _REGISTERED.get(name)
    again = known is not None and same_definition(known.open, opener)
    if name in NAMES or (known is not None and known.open is not opener and not again):
        raise ExtensionError(f"the data set name {name!r} is taken; choose another name")
    _REGISTERED[name] = _Registered(opener, held_out)


def _load_extensions(name: str) -> None:
    """Import the user's extensions. Raises DataError unless one of them registers ``name``."""
    try:
        load_extensions()
    except ExtensionError as error:
        raise DataError(str(error)) from None
    if name not in _REGISTERED:
        raise DataError(
            f"unknown data set {name!r}; available: {', '.join((*NAMES, *_REGISTERED))}."
        )


def open_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    size: int = 64,
    seed: int = 0,
    split: str = "train",
    crop: tuple[float, float] = (0.0, 1.0),
    aspect: float = ASPECT,
    stretch: bool = False,
    channels: int = 3,
    columns: Columns | None = None,
) -> Dataset:
    """Open a data set by its name.

    Args:
        name: one of NAMES: "scenes" (drawn by the code, no files), "folder" (any folder of
            pictures), or one in the layout in which its authors publish it.
        root: the folder, if the data set is read from files; for "shards" also a pattern or
            an address, for "folder" an address that fsspec lists (s3, gs, hf and others).
        size: side in pixels of the square images that `draw` yields.
        seed: seed of the draws.
        split: "train", "val" or "test"; a plain folder without such subfolders has one split.
        crop: smallest and largest side of a training crop, as fractions of a file's short side;
            (1, 1) means whole squares.
        aspect: largest ratio of the sides of other crops; 1: squares.
        stretch: stretch every picture to a square before it is cropped, for pictures that are
            crops of one object themselves (CUB's by their boxes): a square of them would cut it.
        channels: the channels of the images, from 1 to 16. Only "folder" has others than 3:
            `core.arrays.read_array` says which files have how many.
        columns: for "parquet", its columns of pictures, captions and labels, and the subset.

    Raises:
        DataError: unknown name or split, missing or unusable root, other channels, an aspect below
            1 or, of a data set that does not crop pictures, another one than the default or a
            stretch.
    """
    if name not in NAMES and name not in _REGISTERED:
        _load_extensions(name)
    if split not in SPLITS:
        raise DataError(f"unknown split {split!r}; available: {', '.join(SPLITS)}.")
    if size < 1:
        raise DataError(f"size must be at least 1 pixel, got {size}.")
    if seed < 0:
        raise DataError(f"seed must be 0 or more, got {seed}.")
    if not 1 <= aspect < math.inf:
        raise DataError(f"aspect must be at least 1, got {aspect}.")
    try:
        check_channels(channels)
    except ValueError as error:
        raise DataError(f"{error}.") from None
    if columns is not None and any(columns) and name != "parquet":
        raise DataError(f"the data set {name!r} has no columns: name them for 'parquet' alone.")
    if name == "folder":
        data = _open_folder(root, size, seed, split, crop, channels)
    elif name == "scenes":
        data = _open_scenes(root, size, seed, split)
    elif name in _REGISTERED:
        data = _REGISTERED[name].open(root, split, size=size, seed=seed, crop=crop)
    elif name == "parquet":
        data = ParquetPictures(root, split, columns, size=size, seed=seed, crop_scale=crop)
    else:
        # Each of these classes takes a split where PictureDataset itself takes the entries.
        open_published = cast(Callable[..., Dataset], PUBLISHED[name])
        data = open_published(root, split, size=size, seed=seed, crop_scale=crop)
    if (found := getattr(data, "channels", 3)) != channels:
        raise DataError(
            f"the pictures of the data set {name!r} have {count_words(found)} and not {channels}; "
            f"set channels to {found}, or give the data set 'folder' pictures of {channels}."
        )
    if isinstance(data, PictureDataset):
        data.aspect, data.stretch = aspect, stretch
    elif aspect != ASPECT or stretch:
        setting = "stretch" if stretch else "aspect"
        raise DataError(f"the data set {name!r} does not crop pictures: leave out the {setting}.")
    return data


def has_held_out(name: str, root: str | Path | None, subset: str | None = None) -> bool:
    """Return True if the split "test" of a data set holds other pictures than "train".

    ``subset``: that of "parquet", if it has several. Raises DataError if the data set needs a root
    and none is given.
    """
    if name in _REGISTERED:
        return _REGISTERED[name].held_out
    if name == "parquet":
        return parquet_held_out(root, subset)
    if name not in ("folder", "captions", "shards"):
        return True
    if root is None:
        raise DataError(f"the data set {name!r} needs a root: give its folder.")
    if name == "folder" and (url := url_of(root)) is not None:
        return remote_held_out(url)
    if name == "folder":
        return split_folder(root, "test") != split_folder(root, "train")
    if name == "captions":
        return captions_held_out(Path(root))
    return shards_of(root, "test") != shards_of(root, "train")


def _open_scenes(root: str | Path | None, size: int, seed: int, split: str) -> Dataset:
    if root is not None:
        raise DataError(f"the data set 'scenes' needs no files: leave out the root {root}.")
    return Scenes(size=size, seed=seed, length=50_000 if split == "train" else 5_000, split=split)


def _open_folder(
    root: str | Path | None,
    size: int,
    seed: int,
    split: str,
    crop: tuple[float, float],
    channels: int,
) -> Dataset:
    if root is None:
        raise DataError("the data set 'folder' needs a root: give a folder of pictures.")
    if not os.path.isdir(root):
        if (url := url_of(root)) is not None and channels == 3:
            return RemoteFolder(url, split, size=size, seed=seed, crop_scale=crop)
        return PictureFolder(root)  # raises a sentence
    folder, remarks = split_folder(root, split), split_remarks(root)
    if channels != 3 or holds_only_arrays(folder):
        return ChannelFolder(
            folder, channels, size=size, seed=seed, crop_scale=crop, remarks=remarks
        )
    return PictureFolder(folder, size=size, seed=seed, crop_scale=crop, remarks=remarks)


def fitting_name(name: str, root: str | Path | None) -> str:
    """Return the data set to open `root` with if only pictures are needed: `name`, or "folder".

    "folder" if the root holds pictures and no trace (``PictureDataset.markers``) of the published
    layout of ``name``. One trace is enough for ``name``: a partly extracted archive must be
    refused, not taken for a plain folder.
    """
    if root is None or name not in PUBLISHED or not os.path.isdir(root):
        return name
    for marker in PUBLISHED[name].markers:
        if next(Path(root).glob(marker), None) is not None:
            return name
    return "folder" if _holds_pictures(Path(root)) else name


def _holds_pictures(root: Path) -> bool:
    known = SUFFIXES | UNREAD | ARRAYS
    return any(suffix_of(file) in known for _, _, files in os.walk(root) for file in files)
