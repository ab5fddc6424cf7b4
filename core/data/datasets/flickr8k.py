"""Flickr8k: photographs, mostly of people and dogs, each with five captions."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from .published_layout import (
    existing_entries,
    existing_root,
    first_existing,
    layout_error,
    of_split,
    read_lines,
)

_LAYOUT = "Images/ and captions.txt, or Flicker8k_Dataset/ and Flickr8k.token.txt"
_LISTS = {"train": "train", "val": "dev", "test": "test"}


class Flickr8k(PictureDataset):
    """Photographs in one of two layouts: `Images/` with `captions.txt`, or the original one.

    `captions.txt` has lines "image,caption". The original layout is `Flicker8k_Dataset/` with
    `Flickr8k.token.txt` (lines "name.jpg#0", a tab, the caption). The split is that of
    `Flickr_8k.{train,dev,test}Images.txt` if these files exist; otherwise, by name, a tenth of the
    pictures is "val" and another tenth "test".

    Raises DataError if the root has another layout, if a list is broken, or if over 1 % of the
    pictures are missing.
    """

    name = "flickr8k"
    about = DatasetInfo(
        what="Flickr8k (Hodosh et al. 2013): 8,091 photographs, five captions each",
        where="https://www.kaggle.com/datasets/adityajn105/flickr8k, or the authors by form",
        terms="non-commercial research and education; photographs belong to their owners",
    )
    markers = ("Images", "Flicker8k_Dataset*", "Flickr8k*", "captions.txt", "Flickr_8k*")

    def __init__(self, root: str | Path | None, split: str = "train", **options: Any) -> None:
        root = existing_root(root, self.name, _LAYOUT)
        folders = ("Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "images")
        pictures = first_existing(
            *(root / name for name in folders), root / "Flicker8k_Dataset" / "Flicker8k_Dataset"
        )
        places = (root, root / "Flickr8k_text")
        listed = first_existing(
            *(place / name for place in places for name in ("captions.txt", "Flickr8k.token.txt"))
        )
        if pictures is None or listed is None:
            raise layout_error(root, self.name, _LAYOUT)
        table = _comma_separated(listed) if listed.name == "captions.txt" else _tokens(listed)
        entries, missing = existing_entries(
            (Entry(pictures / name, captions=tuple(said)) for name, said in sorted(table.items())),
            root,
            listed.name,
            self.name,
        )
        list_name = f"Flickr_8k.{_LISTS[split]}Images.txt"
        official = first_existing(*(place / list_name for place in places))
        if official is None:
            entries = of_split(entries, split, root)
        else:
            names = {line.strip() for line in read_lines(official)}
            entries = [entry for entry in entries if entry.path.name in names]
            if not entries:
                raise DataError(
                    f"{official} names no picture that is in {listed}; give the matching lists."
                )
        super().__init__(root, entries, missing=missing, **options)


def _comma_separated(file: Path) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for number, row in enumerate(csv.reader(read_lines(file)), start=1):
        if number == 1 and [field.strip() for field in row[:2]] == ["image", "caption"]:
            continue
        if len(row) < 2:
            raise DataError(
                f"{file}, line {number}, is not 'image,caption' but {row[0][:40]!r}; "
                "give the list as published."
            )
        # Some captions contain commas without being quoted.
        table.setdefault(row[0].strip(), []).append(",".join(row[1:]).strip())
    return table


def _tokens(file: Path) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(file), start=1):
        name, tab, caption = line.partition("\t")
        if not tab:
            raise DataError(
                f"{file}, line {number}, is not 'name.jpg#0', a tab, and a caption but "
                f"{line[:40]!r}; give the list as published."
            )
        table.setdefault(name.rpartition("#")[0] or name, []).append(caption.strip())
    return table
