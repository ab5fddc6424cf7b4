"""Any folder of pictures as a data set: random resized crops for training, whole for evaluation."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError, PictureError
from ...images import list_pictures
from ..picture_dataset import DatasetInfo, Entry, PictureDataset

_SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test", "testing"),
    "test": ("test", "testing", "val", "valid", "validation"),
}


class PictureFolder(PictureDataset):
    """All pictures under a folder, whatever its layout, without captions, maps or labels.

    `PictureDataset` describes crops, cache and the handling of broken files.

    Args:
        root: the folder; subfolders are searched too.
        size, seed, crop_scale, flip, cache_mb: as for `PictureDataset`.

    Raises:
        DataError: root is missing, not a folder, or without pictures; a parameter is out of range;
            later, from `draw` and `[]`: more than 1 % of the files are broken.
    """

    name = "folder"
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
    ) -> None:
        try:
            files = list_pictures(root)
        except PictureError as error:
            raise DataError(str(error)) from error
        if not files:
            raise DataError(
                f"{root} holds no pictures (by suffix: .jpg, .png, .webp, ...); "
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
        )


def split_folder(root: str | Path, split: str) -> Path:
    """Return the subfolder of `root` that holds a split, or `root` if it has no split folders.

    Split folders are a folder for training beside one for validation or test. (A single folder
    "train" may just as well be the class of trains.) If only one of "val" and "test" exists, it
    serves as both.
    """
    root = Path(root)
    found = {
        known: next((root / name for name in names if (root / name).is_dir()), None)
        for known, names in _SPLIT_FOLDERS.items()
    }
    folder = found[split]
    return folder if folder is not None and all(found.values()) else root
