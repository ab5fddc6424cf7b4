"""CMP Facades: rectified photographs of facades with maps of 12 classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import PictureError
from ...images import open_unturned
from ...orientation import turn
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..segmentation import plain_lookup, turned_map
from .published_layout import existing_entries, existing_root, layout_error, of_split, pictures_in

_LAYOUT = (
    "base/ (and extended/) of *.jpg with *.png, or {train,val,test}/*.jpg of photograph and map "
    "side by side, or {train,val}/{images,labels}/"
)

# The published maps use the color map jet with twelve levels.
_COLORS = {
    "background": (0, 0, 170), "facade": (0, 0, 255), "window": (0, 85, 255), "door": (0, 170, 255),
    "cornice": (0, 255, 255), "sill": (85, 255, 170), "balcony": (170, 255, 85),
    "blind": (255, 255, 0), "deco": (255, 170, 0), "molding": (255, 85, 0), "pillar": (255, 0, 0),
    "shop": (170, 0, 0),
}  # fmt: skip
CLASSES = tuple(_COLORS)

# The maps of pix2pix have slightly different colors, measured here on its JPEGs.
_PIX2PIX = np.array(
    [
        (0, 0, 222),
        (0, 48, 255),
        (2, 127, 255),
        (1, 207, 255),
        (34, 254, 226),
        (112, 253, 144),
        (192, 255, 63),
        (253, 240, 4),
        (255, 159, 2),
        (255, 80, 0),
        (250, 2, 2),
        (174, 0, 1),
    ],
    np.int32,
)


class Facades(PictureDataset):
    """Facades in one of three layouts, recognized by the folders in the root.

    - CMP's own, `base/cmp_b0001.{jpg,png}` and `extended/`: maps hold 1..12, 0 is unlabeled. No
      split is published: by file name, a tenth is "val" and another tenth "test".
    - pix2pix's, `{train,val,test}/1.jpg`: photograph left, painted map right. The map is a JPEG, so
      the class of a pixel is that of the nearest color, and borders are noisy.
    - `{train,val}/{images,labels}`, maps of 0..11.

    In the latter two, if only one of "val" and "test" exists, it serves as both.

    Raises DataError if the root has another layout, or if over 1 % of the pictures have no map.
    """

    name = "facades"
    about = DatasetInfo(
        what="CMP Facade Database (Tylecek and Sara 2013): rectified facades, 12 classes",
        where="https://cmp.felk.cvut.cz/~tylecr1/facade; side by side: pix2pix's facades.tar.gz",
        terms="not stated by its authors; assume research use only",
    )
    markers = ("base", "extended", "train", "val", "test", "cmp_b*")
    classes = CLASSES
    palette = np.array(list(_COLORS.values()), np.uint8)

    def __init__(self, root: str | Path | None, split: str = "train", **options: Any) -> None:
        root = existing_root(root, self.name, _LAYOUT)
        self._side_by_side = False
        entries: list[Entry] = []
        unread = Counter[str]()
        parts = [root / part for part in ("base", "extended") if (root / part).is_dir()]
        if parts:
            self.lookup = plain_lookup(len(CLASSES), first=1, unlabeled=0)
            source = " and ".join(f"{part.name}/*.jpg" for part in parts)
            entries = [
                Entry(path, path.with_suffix(".png"))
                for part in parts
                for path in pictures_in(part, unread)
                if path.suffix.lower() != ".png"
            ]
        else:
            folder = _split_folder(root, split)
            source = folder.name
            if (folder / "images").is_dir():
                entries = [
                    Entry(path, folder / "labels" / f"{path.stem}.png")
                    for path in pictures_in(folder / "images", unread)
                ]
            else:
                self._side_by_side = True
                entries = [Entry(path) for path in pictures_in(folder, unread)]
        entries, missing = existing_entries(entries, root, source, self.name)
        if parts:
            entries = of_split(entries, split, root)
        super().__init__(root, entries, missing=missing, unread=unread, **options)

    def has_map(self, index: int) -> bool:
        """Return True: every facade has a map."""
        return True

    def _load(self, index: int) -> tuple[Image.Image, np.ndarray | None]:
        if not self._side_by_side:
            return super()._load(index)
        path = self.entries[index].path
        # Photograph and map lie side by side on the stored pixels, so each is turned by itself.
        both, orientation = open_unturned(path, name=self._shown(path))
        half = both.width // 2
        if both.width != 2 * both.height:
            raise PictureError(
                f"{self._shown(path)} is {both.width}x{both.height} pixels, not a square photo "
                "beside its map; give the pictures of pix2pix's facades unchanged."
            )
        painted = np.asarray(both.crop((half, 0, 2 * half, both.height)))
        photo = turn(both.crop((0, 0, half, both.height)), orientation)
        return photo, turned_map(_nearest_color(painted), orientation)


def _split_folder(root: Path, split: str) -> Path:
    names = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}[split]
    folder = next((root / name for name in names if (root / name).is_dir()), None)
    if folder is None:
        raise layout_error(root, "facades", _LAYOUT)
    return folder


def _nearest_color(painted_HW3: np.ndarray) -> np.ndarray:
    colors, inverse = np.unique(painted_HW3.reshape(-1, 3), axis=0, return_inverse=True)
    distances = ((colors[:, None].astype(np.int32) - _PIX2PIX[None]) ** 2).sum(-1)
    nearest = distances.argmin(1).astype(np.uint8)
    return nearest[inverse.reshape(-1)].reshape(painted_HW3.shape[:2])
