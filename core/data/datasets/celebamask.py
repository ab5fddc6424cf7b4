"""CelebAMask-HQ: 30,000 portraits with maps of 19 classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import DataError, PictureError
from ...images import open_turned
from ...masks import open_part
from ...orientation import turn
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..splits import SPLITS
from .published_layout import (
    existing_entries,
    existing_root,
    first_existing,
    layout_error,
    names_in,
    pictures_in,
    read_table,
    require,
    whole_number,
)

_LAYOUT = "CelebA-HQ-img/*.jpg and CelebAMask-HQ-mask-anno/{0..14}/*.png"
_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
_PARTITION = "list_eval_partition.txt"
_FACES_A_FOLDER = 2000
_MAP_SIDE = 512
_LAST = {"train": 162_770, "val": 182_637, "test": 202_599}  # CelebA's partition by file number

_COLORS = {
    "background": (0, 0, 0), "skin": (204, 0, 0), "nose": (76, 153, 0), "eye_g": (204, 204, 0),
    "l_eye": (51, 51, 255), "r_eye": (204, 0, 204), "l_brow": (0, 255, 255),
    "r_brow": (255, 204, 204), "l_ear": (102, 51, 0), "r_ear": (255, 0, 0), "mouth": (102, 204, 0),
    "u_lip": (255, 255, 0), "l_lip": (0, 0, 153), "hair": (0, 0, 204), "hat": (255, 51, 153),
    "ear_r": (0, 204, 204), "neck_l": (0, 51, 0), "neck": (255, 153, 51), "cloth": (0, 204, 0),
}  # fmt: skip
CLASSES = tuple(_COLORS)


class CelebAMaskHQ(PictureDataset):
    """Portraits whose part masks `CelebAMask-HQ-mask-anno/{0..14}/NNNNN_PART.png` form one map.

    A later part covers an earlier one (skin, nose, eye_g, ..., cloth), as its authors combine
    them; pixels in no part are background. Maps are 512x512 and are resized to the pictures'
    1024x1024 (NEAREST). In a mirrored picture left and right eyes, brows and ears change places.

    The split is CelebA's own: `CelebA-HQ-to-CelebA-mapping.txt` gives the CelebA file of each
    portrait, and `list_eval_partition.txt` its split; without that list the split follows from
    CelebA's file numbers.

    Raises DataError if the root has another layout, or if more than 1 % of the pictures have no
    parts.
    """

    name = "celebamask"
    about = DatasetInfo(
        what="CelebAMask-HQ (Lee et al. 2020): portraits with maps of 19 classes",
        where="https://github.com/switchablenorms/CelebAMask-HQ",
        terms="non-commercial research and education",
    )
    markers = ("CelebA-HQ*", "CelebAMask-HQ*")
    classes = CLASSES
    palette = np.array(list(_COLORS.values()), np.uint8)
    mirrored = tuple(
        (CLASSES.index(f"l_{part}"), CLASSES.index(f"r_{part}")) for part in ("eye", "brow", "ear")
    )
    counts = {"train": 24_183, "val": 2_993, "test": 2_824}  # noqa: RUF012

    def __init__(self, root: str | Path | None, split: str = "train", **options: Any) -> None:
        root = existing_root(root, self.name, _LAYOUT)
        base = root if (root / "CelebA-HQ-img").is_dir() else root / "CelebAMask-HQ"
        pictures, masks = base / "CelebA-HQ-img", base / "CelebAMask-HQ-mask-anno"
        if not (pictures.is_dir() and masks.is_dir()):
            raise layout_error(root, self.name, _LAYOUT)
        split_of = _splits(base)
        numbered = [
            (int(path.stem), path) for path in pictures_in(pictures) if path.stem.isdecimal()
        ]
        chosen = [(n, path) for n, path in sorted(numbered) if split_of.get(n) == split]
        self._parts = _parts(masks)
        entries, missing = existing_entries(
            (
                # The skin mask stands for all masks: every portrait has one.
                Entry(path, masks / str(n // _FACES_A_FOLDER) / f"{n:05d}_skin.png")
                for n, path in chosen
            ),
            root,
            f"the split {split!r} of CelebA-HQ-img",
            self.name,
        )
        super().__init__(root, entries, missing=missing, **options)

    def _load(self, index: int) -> tuple[Image.Image, np.ndarray]:
        path, skin = self.entries[index].path, self.entries[index].map
        assert skin is not None  # every entry of this data set has one
        picture, orientation = open_turned(path, name=self._shown(path))
        ids_HW = np.zeros((_MAP_SIDE, _MAP_SIDE), np.uint8)
        for part in sorted(self._parts.get(int(path.stem), ())):
            file = skin.with_name(f"{int(path.stem):05d}_{CLASSES[part]}.png")
            ids_HW[_mask(file, self._shown(file))] = part
        # Parts lie on the stored pixels (see `place_map`).
        upright = turn(Image.fromarray(ids_HW), orientation)
        resized = upright.resize(picture.size, Image.Resampling.NEAREST)
        return picture, np.asarray(resized)


def _mask(file: Path, name: str) -> np.ndarray:
    marked = open_part(file, name=name)
    if marked.shape != (_MAP_SIDE, _MAP_SIDE):
        raise PictureError(
            f"{name} is {marked.shape[1]}x{marked.shape[0]} pixels, but masks are published in "
            f"{_MAP_SIDE}x{_MAP_SIDE}; extract it again."
        )
    return marked


def _parts(masks: Path) -> dict[int, list[int]]:
    """Return the classes of the masks that each portrait has, by portrait number."""
    number = {name: index for index, name in enumerate(CLASSES)}
    found: dict[int, list[int]] = {}
    for folder in sorted(names_in(masks)):
        for name in names_in(masks / folder):
            portrait, _, part = name.removesuffix(".png").partition("_")
            if portrait.isdecimal() and part in number:
                found.setdefault(int(portrait), []).append(number[part])
    return found


def _splits(base: Path) -> dict[int, str]:
    file = require(base / _MAPPING, "it is in the archive of CelebAMask-HQ and defines the splits")
    rows = [row for row in read_table(file, 3) if row[0].isdecimal()]
    if not rows:
        raise DataError(f"{file} holds no lines 'idx orig_idx orig_file'; extract it again.")
    listed = first_existing(base / _PARTITION, base.parent / _PARTITION)
    if listed is not None:
        part = {row[0]: whole_number(row[1], listed) for row in read_table(listed, 2)}
        for _, _, original in rows:
            if part.get(original) not in (0, 1, 2):
                wrong = f"the number {part[original]}" if original in part else "no line"
                raise DataError(
                    f"{listed} has {wrong} for {original}; give the complete list of CelebA, with "
                    "0 (train), 1 (val) or 2 (test) for each file."
                )
        return {int(n): SPLITS[part[original]] for n, _, original in rows}
    found = {}
    for n, _, original in rows:
        number = whole_number(Path(original).stem, file)
        found[int(n)] = next((s for s, last in _LAST.items() if number <= last), "test")
    return found
