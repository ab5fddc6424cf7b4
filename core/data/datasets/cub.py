"""CUB-200-2011: 200 species of birds, with boxes, attributes and Reed's captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import DataError
from ...images import open_turned
from ...orientation import stored_size, turned_box
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..text import cleaned
from .published_layout import (
    existing_entries,
    existing_root,
    first_existing,
    layout_error,
    numbered_lines,
    plain_name,
    read_lines,
    read_table,
    require,
    whole_number,
)

_LAYOUT = "images.txt, image_class_labels.txt, train_test_split.txt and images/"
_AGAIN = "extract CUB_200_2011.tgz again"


class CUB(PictureDataset):
    """Caltech-UCSD Birds 200 (2011) with the official split; "val" is also the official test set.

    Captions are those of Reed et al. 2016, ten per picture, `text_c10/CLASS/PICTURE.txt` in the
    root or beside it (their archive cvpr2016_cub); without them captions are empty.

    A picture is cropped to the square around the bird whose side is 1.5 times the longer side of
    its box, clipped to the picture, as text-to-image work does since StackGAN (Zhang et al. 2017);
    `boxed=False` leaves it whole. The split of those works into 150 and 50 species is another one.

    Raises DataError if the root has another layout, if lists are truncated, if more than 1 % of the
    pictures are missing, or if only some of the pictures have captions.
    """

    name = "cub"
    about = DatasetInfo(
        what="CUB-200-2011 (Wah et al. 2011): birds of 200 species, with Reed et al.'s captions",
        where="https://www.vision.caltech.edu/datasets/cub_200_2011; captions: "
        "https://github.com/reedscot/cvpr2016",
        terms="non-commercial research and education; photographs belong to their owners",
    )
    markers = (
        "CUB_200_2011*",
        "images.txt",
        "classes.txt",
        "image_class_labels.txt",
        "train_test_split.txt",
        "bounding_boxes.txt",
        "attributes*",
        "text_c10",
    )
    counts = {"train": 5_994, "val": 5_794, "test": 5_794}  # noqa: RUF012

    def __init__(
        self, root: str | Path | None, split: str = "train", boxed: bool = True, **options: Any
    ) -> None:
        root = existing_root(root, self.name, _LAYOUT)
        base = first_existing(root / "images.txt", root / "CUB_200_2011" / "images.txt")
        if base is None:
            raise layout_error(root, self.name, _LAYOUT)
        self._base = base = base.parent
        file_of = dict(read_table(base / "images.txt", 2))
        label_of = _numbers(base / "image_class_labels.txt")
        trains = _numbers(base / "train_test_split.txt")
        names = [row[1] for row in read_table(base / "classes.txt", 2)]
        boxes = _boxes(base) if boxed else {}
        lists = {"image_class_labels": label_of, "train_test_split": trains}
        lists |= {"bounding_boxes": boxes} if boxed else {}
        for list_name, found in lists.items():
            lost = next((name for number, name in file_of.items() if number not in found), None)
            if lost is not None:
                raise DataError(f"{base / list_name}.txt has no line for {lost}; {_AGAIN}.")
        unsplit = next((n for n in trains.values() if n not in (0, 1)), None)
        if unsplit is not None:
            raise DataError(
                f"{base / 'train_test_split.txt'} holds {unsplit} where 0 (test) or 1 (train) "
                f"belongs; {_AGAIN}."
            )
        strange = next((n for n in label_of.values() if not 1 <= n <= len(names)), None)
        if strange is not None:
            raise DataError(
                f"{base / 'image_class_labels.txt'} names the class {strange}, outside the "
                f"{len(names)} of classes.txt; {_AGAIN}."
            )
        self._number = {
            plain_name(base / "images" / name): number for number, name in file_of.items()
        }
        texts = _text_folder(root, base)
        entries, missing = existing_entries(
            (
                Entry(base / "images" / name, label=label_of[number] - 1)
                for number, name in file_of.items()
                if bool(trains[number]) == (split == "train")
            ),
            root,
            "images.txt",
            self.name,
        )
        self._boxes = boxes
        if texts is not None:
            entries = [
                Entry(entry.path, captions=_captions(texts, entry.path), label=entry.label)
                for entry in entries
            ]
        super().__init__(root, entries, missing=missing, **options)
        self.labels = tuple(name.partition(".")[2].replace("_", " ") or name for name in names)

    def _load(self, index: int) -> tuple[Image.Image, None]:
        path = self.entries[index].path
        picture, orientation = open_turned(path, name=self._shown(path))
        box = self._boxes.get(self._number[plain_name(path)])
        if box is None:
            return picture, None
        # Boxes are in pixels of the stored photograph.
        stored = stored_size(picture.size, orientation)
        return picture.crop(turned_box(_around(box, stored), stored, orientation)), None

    def box(self, index: int) -> tuple[float, float, float, float]:
        """Return x, y, width and height of the bird's box in pixels of the whole photograph, as it
        is stored: EXIF turns are not applied."""
        boxes = self._boxes or _boxes(self._base)
        return boxes[self._number[plain_name(self.entries[index].path)]]

    def attributes(self) -> list[tuple[str, ...]]:
        """Return the attributes that each item is annotated with, such as "has_bill_shape::dagger".

        Reads `attributes/image_attribute_labels.txt`, 3.6 million lines. Raises DataError if it is
        missing or broken.
        """
        names = self._attribute_names()
        file = require(self._base / "attributes" / "image_attribute_labels.txt", _AGAIN)
        present: dict[str, list[str]] = {}
        for number, line in numbered_lines(file):
            fields = line.split()  # some lines have more than the five fields
            if len(fields) < 3 or fields[1] not in names:
                raise DataError(f"{file}, line {number}, is {line[:40]!r}; {_AGAIN}.")
            if fields[2] == "1":
                present.setdefault(fields[0], []).append(names[fields[1]])
        return [
            tuple(present.get(self._number[plain_name(entry.path)], ())) for entry in self.entries
        ]

    def attribute_names(self) -> tuple[str, ...]:
        """Return the names of all attributes (312 are published), in order.

        Raises DataError if `attributes.txt` is missing.
        """
        return tuple(self._attribute_names().values())

    def _attribute_names(self) -> dict[str, str]:
        folders = (self._base, self._base / "attributes", self._base.parent)
        file = first_existing(*(folder / "attributes.txt" for folder in folders))
        if file is None:
            raise DataError(f"{self._base / 'attributes.txt'} is missing; {_AGAIN}.")
        return dict(read_table(file, 2))

    def notes(self) -> list[str]:
        """Return the check's lines on boxes and attributes. Raises DataError if files are wrong."""
        boxes = [self.box(index) for index in range(len(self))]
        width, height = (sum(box[side] for box in boxes) / len(boxes) for side in (2, 3))
        found = self.attributes()
        said = sum(map(len, found)) / len(found)
        return [
            f"boxes: {len(boxes):,}, {width:.0f}x{height:.0f} pixels on average",
            f"attributes: {len(self.attribute_names())} names, {said:.1f} per item",
        ]


def _numbers(file: Path) -> dict[str, int]:
    return {number: whole_number(value, file) for number, value in read_table(file, 2)}


def _boxes(base: Path) -> dict[str, tuple[float, float, float, float]]:
    file = base / "bounding_boxes.txt"
    try:
        return {
            number: (float(left), float(top), float(width), float(height))
            for number, left, top, width, height in read_table(file, 5)
        }
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} holds values that are not numbers; {_AGAIN}.") from None


def _around(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[int, int, int, int]:
    left, top, width, height = box
    reach = 0.75 * max(width, height)
    x, y = left + width / 2, top + height / 2
    low = (max(0, round(x - reach)), max(0, round(y - reach)))
    high = (min(size[0], round(x + reach)), min(size[1], round(y + reach)))
    if high[0] - low[0] < 1 or high[1] - low[1] < 1:  # a box outside the picture is ignored
        return (0, 0, *size)
    return (*low, *high)


def _text_folder(root: Path, base: Path) -> Path | None:
    places = (root, base, base.parent, base.parent / "cvpr2016_cub", root / "cvpr2016_cub")
    return first_existing(*(place / "text_c10" for place in places))


def _captions(texts: Path, picture: Path) -> tuple[str, ...]:
    file = texts / picture.parent.name / f"{picture.stem}.txt"
    said = cleaned(read_lines(file))
    if not said:
        raise DataError(f"{file} is empty; extract the archive of captions again.")
    return said
