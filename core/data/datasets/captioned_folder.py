"""A user's captioned pictures: a folder with `captions.jsonl`, or a .txt beside each picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import DataError, PictureError
from ...images import list_pictures
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from .folder import split_folder
from .published_layout import (
    MAX_MISSING,
    existing_entries,
    existing_root,
    first_existing,
    read_lines,
)

_LAYOUT = "captions.jsonl, or one .txt beside each picture"
_LISTS = ("captions.jsonl", "metadata.jsonl")
_FILE, _TEXT = ("file", "file_name", "image"), ("captions", "caption", "text")


class CaptionedFolder(PictureDataset):
    """Pictures with captions in one of two forms.

    - `captions.jsonl` (or `metadata.jsonl`) in the root, one JSON object per line: "file" (a path
      relative to the root; also "file_name", "image"), "captions" (a list) or "caption" (also
      "text"), and optionally "split" (train, val or test) and "label" (a number from 0).
      If the lines name no splits, all of them are one split.
    - Without that file: a .txt beside each picture, one caption per line; subfolders for training
      and for validation or test are splits, as for the data set 'folder'.

    Raises DataError if neither form is found, if a line is broken (it is named), or if more than
    1 % of the pictures or captions are missing.
    """

    name = "captions"
    about = DatasetInfo(
        what="any folder of pictures with captions.jsonl, or with a .txt beside each picture",
        where="yours",
        terms="those of the pictures and captions in it",
    )
    markers = ("captions.json*", "metadata.json*", "**/*.txt")

    def __init__(self, root: str | Path | None, split: str = "train", **options: Any) -> None:
        root = existing_root(root, self.name, _LAYOUT)
        listed = _list_of(root)
        if listed is None:
            entries, missing = _beside(split_folder(root, split), root)
        else:
            lines = _lines(listed)
            parts = _parts(lines, split)
            entries = [
                _entry(root, listed, number, line)
                for number, line in lines
                if parts is None or line.get("split") in parts
            ]
            entries, missing = existing_entries(entries, root, listed.name, self.name)
        super().__init__(root, entries, missing=missing, **options)


def captions_held_out(root: Path) -> bool:
    """Return True if the split "test" holds other pictures than "train"."""
    listed = _list_of(root)
    if listed is None:
        return split_folder(root, "test") != split_folder(root, "train")
    lines = _lines(listed)
    return _parts(lines, "test") != _parts(lines, "train")


def _list_of(root: Path) -> Path | None:
    return first_existing(*(root / name for name in _LISTS))


def _lines(file: Path) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for number, text in enumerate(read_lines(file), start=1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise DataError(
                f"{file}, line {number}, is not valid JSON ({error}); correct it."
            ) from None
        if not isinstance(line, dict):
            raise DataError(
                f"{file}, line {number}, is not a JSON object; write "
                '{"file": "a.jpg", "captions": ["..."]}.'
            )
        found.append((number, line))
    if not found:
        raise DataError(f"{file} is empty; write one line for each picture.")
    return found


def _parts(lines: list[tuple[int, dict[str, Any]]], split: str) -> tuple[str, ...] | None:
    """Return the values of "split" that make up a split; None if the lines name no splits."""
    named = {line.get("split") for _, line in lines}
    held_out = tuple(part for part in ("val", "test") if part in named)
    if "train" not in named or not held_out:
        return None
    if split == "train":
        return ("train",)
    return (split,) if split in named else held_out


def _entry(root: Path, file: Path, number: int, line: dict[str, Any]) -> Entry:
    name = next((line[key] for key in _FILE if isinstance(line.get(key), str)), None)
    captions = _texts(next((line[key] for key in _TEXT if key in line), None))
    label = line.get("label", -1)
    if name is None or not captions or not isinstance(label, int):
        wrong = "file" if name is None else "caption" if not captions else "whole number as label"
        raise DataError(
            f"{file}, line {number}, has no {wrong}; write "
            '{"file": "a.jpg", "captions": ["..."]}.'
        )
    return Entry(root / name, captions=captions, label=label)


def _texts(value: object) -> tuple[str, ...]:
    """Return the captions of a line without extra white space; () if they are not texts."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return ()
    return tuple(filter(None, (" ".join(text.split()) for text in texts)))


def _beside(folder: Path, root: Path) -> tuple[list[Entry], list[str]]:
    try:
        files = list_pictures(folder)
    except PictureError as error:
        raise DataError(str(error)) from error
    if not files:
        raise DataError(f"{folder} holds no pictures; give a folder with {_LAYOUT}.")
    # `existing_entries` looks for an entry's map, so the .txt file is passed in its place.
    found, missing = existing_entries(
        (Entry(path, path.with_suffix(".txt")) for path in files), root, "the folder", "captions"
    )
    entries = []
    for entry in found:
        file = entry.path.with_suffix(".txt")
        captions = tuple(line.strip() for line in read_lines(file))
        if captions:
            entries.append(Entry(entry.path, captions=captions))
        else:
            missing.append(f"the caption in {file.relative_to(root).as_posix()}")
    if len(missing) > MAX_MISSING * len(files):
        raise DataError(
            f"{len(missing)} of the {len(files)} pictures in {folder} have no caption, beginning "
            f"with {missing[0]}; write one into each .txt, or use the data set 'folder' for "
            "pictures alone."
        )
    return entries, missing
