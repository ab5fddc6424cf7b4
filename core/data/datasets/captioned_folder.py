"""A user's captioned pictures: a folder with `captions.jsonl`, or a .txt beside each picture."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ...errors import DataError, PictureError
from ...formats import SUFFIXES, UNREAD, suffix_of, unread_notes
from ...images import scan_folder
from ..picture_dataset import DatasetInfo, Entry, PictureDataset, shown_path
from ..splits import are_splits, served_by, split_of_name, split_of_word, unknown_word
from ..text import captions_in, cleaned, label_in, parse_json
from .folder import split_folder, split_remarks
from .published_layout import (
    MAX_MISSING,
    Finder,
    existing_entries,
    existing_root,
    first_existing,
    numbered_lines,
    plain_name,
)

_LAYOUT = "captions.jsonl, or one .txt beside each picture"
_LISTS = ("captions.jsonl", "metadata.jsonl")
_OTHER_LISTS = (
    "metadata.csv",
    "captions.csv",
    "metadata.parquet",
    "metadata.json",
    "captions.json",
)
_FILE, _TEXT = ("file", "file_name", "image"), ("captions", "caption", "text")
_EXAMPLE = '{"file": "a.jpg", "captions": ["..."]}'


class CaptionedFolder(PictureDataset):
    """Pictures with captions in one of two forms.

    - `captions.jsonl` (or `metadata.jsonl`), one JSON object per line: "file" (a path relative to
      the list; also "file_name", "image"), "captions" (a list) or "caption" (also "text"; null:
      this picture has none), and optionally "split" (train, val, test, or another word of
      `core.data.splits`) and "label" (a number from 0). The list is in the root, or, if the root
      has split folders, in each of them. If the lines of a list in the root name no splits, the
      folders of their files are the splits, or else all lines are one split.
    - Without that file: a .txt beside each picture, one caption per line; subfolders for training
      and for validation or test are splits, as for the data set 'folder'.

    Raises DataError if neither form is found, if a line is broken or names an unknown split (it is
    named), if one picture is in two splits, or if more than 1 % of the pictures or captions are
    missing. Lines without a split beside lines that name one are in `skipped`.
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
        if listed is not None:
            found = _listed(listed, split)
        else:
            folder = split_folder(root, split)
            listed = _list_of(folder) or _list_below(folder)
            found = _listed(listed, None) if listed is not None else _beside(folder, root)
            found = found._replace(remarks=[*found.remarks, *split_remarks(root)])
        super().__init__(
            root,
            found.entries,
            missing=found.missing,
            skipped=found.skipped,
            unread=found.unread,
            remarks=found.remarks,
            **options,
        )


class _Found(NamedTuple):
    entries: list[Entry]
    missing: list[str]
    skipped: Sequence[str] = ()
    unread: Mapping[str, int] = MappingProxyType({})
    remarks: Sequence[str] = ()


class _Line(NamedTuple):
    number: int
    facts: dict[str, Any]


def captions_held_out(root: Path) -> bool:
    """Return True if the split "test" holds other pictures than "train"."""
    listed = _list_of(root)
    if listed is None:
        return split_folder(root, "test") != split_folder(root, "train")
    return are_splits(_splits_of(listed, _lines(listed)))


def _list_of(folder: Path) -> Path | None:
    return first_existing(*(folder / name for name in _LISTS))


def _list_below(folder: Path) -> Path | None:
    """Return the list in the only subfolder that has one. Raises DataError if several have one."""
    found = [file for name in _LISTS for file in sorted(folder.glob(f"*/{name}"))]
    if len(found) > 1:
        raise DataError(
            f"{found[0]} and {len(found) - 1} more lists are in folders that are no splits; give "
            "one of these folders, or put one list into the root."
        )
    return found[0] if found else None


def _lines(file: Path) -> list[_Line]:
    found = []
    for number, text in numbered_lines(file):
        try:
            facts = parse_json(text)
        except ValueError as error:
            raise DataError(
                f"{file}, line {number}, is not valid JSON ({error}); correct it."
            ) from None
        if not isinstance(facts, dict):
            raise DataError(f"{file}, line {number}, is not a JSON object; write {_EXAMPLE}.")
        found.append(_Line(number, {str(key).lower(): value for key, value in facts.items()}))
    if not found:
        raise DataError(f"{file} is empty; write one line for each picture.")
    return found


def _splits_of(file: Path, lines: list[_Line]) -> list[str | None]:
    """Return the split of each line: what it names, or else the folder of its picture.

    All are None if that makes no splits. Raises DataError for a word that is not known.
    """
    named = [line.facts.get("split") for line in lines]
    if all(word is None for word in named):
        folders = [_top_folder(line) for line in lines]
        splits = [split_of_name(folder) if folder else None for folder in folders]
        return splits if are_splits(splits) else [None] * len(lines)
    splits = []
    for line, word in zip(lines, named, strict=True):
        split = None if word is None else split_of_word(word)
        if split is None and word is not None:
            raise unknown_word(f"{file}, line {line.number},", word)
        splits.append(split)
    return splits


def _top_folder(line: _Line) -> str:
    parts = [part for part in (_file_of(line) or "").replace("\\", "/").split("/") if part != "."]
    return parts[0] if len(parts) > 1 else ""


def _listed(file: Path, split: str | None) -> _Found:
    """Return what a list holds of a split; None: of the one split that its folder is."""
    lines = _lines(file)
    skipped, remarks, finder = [], [], Finder()
    named = len({_file_of(line) for line in lines})
    if split is not None:
        lines, skipped, remarks = _of_split(file, lines, split)
    elif any(split_of_word(line.facts.get("split")) for line in lines):
        remarks.append(f'the lines of {file.name} name splits, but its folder is one: they are not '
                       "used")  # fmt: skip
    entries, unread = [], Counter[str]()
    for line in lines:
        entry = _entry(file, line)
        if suffix_of(entry.path.name) in UNREAD:
            unread[suffix_of(entry.path.name)] += 1
        else:
            entries.append(entry)
    if unread and not entries:
        raise DataError(f"{file} names no picture that is read: {'; '.join(unread_notes(unread))}.")
    kept, missing = existing_entries(entries, file.parent, file.name, "captions", finder)
    if not any(entry.captions for entry in kept):
        raise DataError(
            f"{file} holds no captions; write some, or use the data set 'folder' for pictures "
            "alone."
        )
    if finder.respelled:
        remarks.append(
            f"{finder.respelled:,} names in {file.name} are spelled differently on the disk"
        )
    if (extra := finder.count(SUFFIXES) - named) > 0:
        remarks.append(f"{extra:,} pictures beside those of {file.name} are not in it")
    return _Found(kept, missing, skipped, unread, remarks)


def _of_split(
    file: Path, lines: list[_Line], split: str
) -> tuple[list[_Line], list[str], list[str]]:
    """Return the lines of a split, sentences about lines without one, and remarks."""
    splits = _splits_of(file, lines)
    known = {each for each in splits if each is not None}
    if not known:
        return lines, [], [f"the lines of {file.name} name no splits: all are in every split"]
    _check_apart(file, lines, splits)
    skipped = [
        f"line {line.number} of {file.name} names no split, although others do"
        for line, each in zip(lines, splits, strict=True)
        if each is None
    ]
    wanted = served_by(split, known)
    remarks = []
    if wanted is None and split == "train":
        raise DataError(
            f"{file} names only lines of {' and '.join(sorted(known))}, none for training; name "
            'some "train", or remove "split" from all lines.'
        )
    if not are_splits(known):
        wanted = "train"
        remarks = [f"the lines of {file.name} name no held-out split: all are in every split"]
    chosen = [line for line, each in zip(lines, splits, strict=True) if each == wanted]
    return chosen, skipped, remarks


def _check_apart(file: Path, lines: list[_Line], splits: list[str | None]) -> None:
    first: dict[str, tuple[str, int]] = {}
    for line, split in zip(lines, splits, strict=True):
        name = _file_of(line)
        if name is None or split is None:
            continue
        file_name = posixpath.normpath(plain_name(name))  # as files are found: ./a.png is a.png
        before, number = first.setdefault(file_name, (split, line.number))
        if before != split:
            raise DataError(
                f"{file} puts {name} into {before} (line {number}) and into {split} (line "
                f"{line.number}); keep one of them."
            )


def _file_of(line: _Line) -> str | None:
    found = (line.facts[key] for key in _FILE if isinstance(line.facts.get(key), str))
    return next(found, None) or None


def _entry(file: Path, line: _Line) -> Entry:
    name, facts = _file_of(line), line.facts
    place = f"{file}, line {line.number},"
    said = [facts[key] for key in _TEXT if key in facts]
    try:
        captions = captions_in(next((each for each in said if each is not None), None))
    except ValueError:
        captions = ()
    # null states that there is no caption; a line without the key, or an empty text, is a mistake.
    if name is None or (not captions and (not said or any(each is not None for each in said))):
        raise DataError(
            f"{place} has no {'file' if name is None else 'caption'}; write {_EXAMPLE}."
        )
    try:
        label = label_in(facts.get("label"))
    except ValueError as error:
        raise DataError(
            f"{place} has no whole number as label, but {error}; write a number from 0, or null."
        ) from None
    return Entry(file.parent / name, captions=captions, label=label)


def _beside(folder: Path, root: Path) -> _Found:
    try:
        files, unread = scan_folder(folder)
    except PictureError as error:
        raise DataError(str(error)) from error
    if not files:
        unreadable = f" ({', '.join(unread_notes(unread))})" if unread else ""
        raise DataError(f"{folder} holds no pictures{unreadable}; give a folder with {_LAYOUT}.")
    other = first_existing(*(place / name for place in (folder, root) for name in _OTHER_LISTS))
    if other is not None:
        raise DataError(f"{other} is not read as a list; give {_LAYOUT}, one line {_EXAMPLE}.")
    # `existing_entries` looks for an entry's map, so the .txt file is passed in its place.
    found, missing = existing_entries(
        (Entry(path, path.with_suffix(".txt")) for path in files), root, "the folder", "captions"
    )
    entries = []
    for entry in found:
        file = entry.map or entry.path
        captions = cleaned(line for _, line in numbered_lines(file))
        if captions:
            entries.append(Entry(entry.path, captions=captions))
        else:
            missing.append(f"the caption in {shown_path(file, root)}")
    if len(missing) > MAX_MISSING * len(files):
        raise DataError(
            f"{len(missing)} of the {len(files)} pictures in {folder} have no caption, beginning "
            f"with {missing[0]}; write one into each .txt, or use the data set 'folder' for "
            "pictures alone."
        )
    return _Found(entries, missing, unread=unread)
