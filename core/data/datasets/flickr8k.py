"""Flickr8k: photographs, mostly of people and dogs, each with five captions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import DataError
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..splits import SPLITS, are_splits, served_by
from ..text import clean_caption
from .published_layout import (
    existing_entries,
    existing_root,
    first_existing,
    layout_error,
    numbered_lines,
    of_split,
    read_lines,
)

_LAYOUT = "Images/ and captions.txt, or Flicker8k_Dataset/ and Flickr8k.token.txt"
_LISTS = {"train": "train", "val": "dev", "test": "test"}
_LONGEST = 20  # lines of a caption in quotes
_ROW = re.compile(r'"?[^,"]{1,200}\.(jpe?g|png|gif|webp|bmp|tiff?)"?,', re.IGNORECASE)
"""The start of a row of `captions.txt`: the name of a picture."""


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
        official = {
            each: found
            for each in SPLITS
            if (found := first_existing(*(place / _list_name(each) for place in places)))
        }
        if not official:
            entries = of_split(entries, split, root)
        else:
            # A split by names beside an official list would put its pictures into several splits.
            chosen = served_by(split, official)
            if chosen is None or not are_splits(official):
                raise DataError(
                    f"{root} has {' and '.join(path.name for path in official.values())}, but not "
                    "lists of a training and of a held-out split; give all of "
                    f"{', '.join(map(_list_name, SPLITS))}, or none."
                )
            names = {line.strip() for line in read_lines(official[chosen])}
            entries = [entry for entry in entries if entry.path.name in names]
            if not entries:
                raise DataError(
                    f"{official[chosen]} names no picture that is in {listed}; give the matching "
                    "lists."
                )
        super().__init__(root, entries, missing=missing, **options)


def _list_name(split: str) -> str:
    return f"Flickr_8k.{_LISTS[split]}Images.txt"


def _comma_separated(file: Path) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for number, name, caption in _rows(file):
        if (name.lower(), caption.lower()) == ("image", "caption"):
            if table:
                raise DataError(f"{file}, line {number}, begins a second list; keep one.")
            continue
        # Some captions contain commas without being quoted.
        table.setdefault(name, []).append(clean_caption(caption))
    return table


def _rows(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the number of the line, the picture and the caption of each row.

    A caption in quotes may go over several lines. One that is never closed would swallow all rows
    behind it: such a row is refused. Quotes inside a caption are signs like any other.
    """
    lines = iter(numbered_lines(file))
    for number, line in lines:
        name, comma, said = _head(line)
        if not comma:
            raise DataError(
                f"{file}, line {number}, is not 'image,caption' but {line[:40]!r}; "
                "give the list as published."
            )
        if said.startswith('"'):
            said, rest = said[1:], _closing(said[1:])
            while rest is None:
                further, more = next(lines, (0, None))
                if more is None or _ROW.match(more) or further - number > _LONGEST:
                    raise DataError(
                        f'{file}, line {number}, opens a caption with " and never closes it; write '
                        'a " within a caption twice, and enclose the caption in one at each end.'
                    )
                said = f"{said} {more}"
                rest = _closing(said)
            said = said[:rest].replace('""', '"') + said[rest + 1 :]
        yield number, name.strip(), said.strip()


def _head(line: str) -> tuple[str, str, str]:
    if line.startswith('"'):
        end = _closing(line[1:])
        if end is not None and line[end + 2 : end + 3] == ",":
            return line[1 : end + 1].replace('""', '"'), ",", line[end + 3 :]
    return line.partition(",")


def _closing(text: str) -> int | None:
    """Return the place of the quote that ends a quoted text: the first that is not doubled."""
    found = re.match(r'(?:[^"]|"")*"(?!")', text)
    return None if found is None else found.end() - 1


def _tokens(file: Path) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for number, line in numbered_lines(file):
        name, tab, caption = line.partition("\t")
        if not tab:
            raise DataError(
                f"{file}, line {number}, is not 'name.jpg#0', a tab, and a caption but "
                f"{line[:40]!r}; give the list as published."
            )
        table.setdefault(name.rpartition("#")[0] or name, []).append(clean_caption(caption))
    return table
