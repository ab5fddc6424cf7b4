"""Any folder of pictures as a data set: random resized crops for training, whole for evaluation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...errors import DataError, PictureError
from ...formats import SUFFIXES, suffix_of, unread_notes
from ...images import scan_folder
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..splits import SPLITS, are_splits, served_by, split_of_name


class PictureFolder(PictureDataset):
    """All pictures under a folder, whatever its layout, without captions, maps or labels.

    `PictureDataset` describes crops, cache and the handling of broken files.

    Args:
        root: the folder; subfolders are searched too.
        size, seed, crop_scale, flip, cache_mb: as for `PictureDataset`.
        remarks: as for `PictureDataset`.

    Raises:
        DataError: root is missing, not a folder, or without pictures; a parameter is out of range;
            later, from `draw` and `[]`: more than 1 % of the files are broken.
    """

    name = "folder"
    suffixes = SUFFIXES
    about = DatasetInfo(
        what="any folder of pictures, searched with its subfolders",
        where="yours",
        terms="those of the pictures in it",
    )

    def __init__(
        self,
        root: str | Path,
        size: int = 64,
        seed: int = 0,
        crop_scale: tuple[float, float] = (0.0, 1.0),
        flip: bool = True,
        cache_mb: float = 1024,
        remarks: Sequence[str] = (),
    ) -> None:
        try:
            files, unread = scan_folder(root, self.suffixes)
        except PictureError as error:
            raise DataError(str(error)) from error
        if not files:
            unreadable = f" ({', '.join(unread_notes(unread))})" if unread else ""
            raise DataError(
                f"{root} holds no pictures (by suffix: .jpg, .png, .webp, ...){unreadable}; "
                "give a folder that does."
            )
        super().__init__(
            root,
            [Entry(path) for path in files],
            size=size,
            seed=seed,
            crop_scale=crop_scale,
            flip=flip,
            cache_mb=cache_mb,
            unread=unread,
            remarks=remarks,
        )


def split_folder(root: str | Path, split: str) -> Path:
    """Return the subfolder of `root` that holds a split, or `root` if it has no split folders.

    Split folders are a folder for training beside one for validation or test, in any of the words
    of `core.data.splits`. (A single folder "train" may just as well be the class of trains.) If
    only one of "val" and "test" exists, it serves as both.

    Raises DataError if two folders are named as the same split.
    """
    root = Path(root)
    found = _split_folders(root)
    if not are_splits(found):
        return root
    folders = found[served_by(split, found) or split]
    if len(folders) > 1:
        # A folder of exactly that name comes before others, such as "train" before "train_old".
        exact = [folder for folder in folders if folder.name == split]
        if len(exact) != 1:
            names = " and ".join(folder.name for folder in folders)
            raise DataError(
                f"{root} holds several folders of the split {split!r}, {names}; rename or move all "
                "but one."
            )
        return exact[0]
    return folders[0]


def split_remarks(root: str | Path) -> list[str]:
    """Return sentences on how the folders of a root were understood as splits."""
    root = Path(root)
    found = _split_folders(root)
    if not are_splits(found):
        named = sorted(folder.name for folders in found.values() for folder in folders)
        if named:
            return [
                f"{', '.join(f'{name}/' for name in named)} alone makes no splits (a folder for "
                "training beside one for validation or test would): all pictures are in every split"
            ]
        return ["no splits: the same pictures are in every split"]
    used = {split_folder(root, split).name for split in SPLITS}
    folders = [f"{name}/" for name in _names(root, folders=True) if name not in used]
    loose = [name for name in _names(root, folders=False) if suffix_of(name) in SUFFIXES]
    others = [*folders, *([f"{len(loose):,} pictures beside them"] if loose else [])]
    if not others:
        return []
    shown = ", ".join(others[:5]) + (f" and {len(others) - 5:,} more" if len(others) > 5 else "")
    return [f"only the folders of the splits are read, not {shown}"]


def _split_folders(root: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for name in _names(root, folders=True):
        split = split_of_name(name)
        if split is not None:
            found.setdefault(split, []).append(root / name)
    return found


def _names(root: Path, folders: bool) -> list[str]:
    try:
        with os.scandir(root) as entries:
            found = [each.name for each in entries if each.is_dir() == folders]
    except OSError:  # the reader of the folder raises a sentence
        return []
    return sorted(name for name in found if not name.startswith("."))
