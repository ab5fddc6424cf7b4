"""Helpers for reading published layouts: folders, lists, and a report of missing files."""

from __future__ import annotations

import errno
import os
import unicodedata
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...formats import SUFFIXES, count_unread, suffix_of
from ..picture_dataset import Entry, shown_path
from ..text import lines_of, parse_json, read_text

MAX_MISSING = 0.01
_HELD_OUT = {0: "test", 1: "val"}


def existing_root(root: str | Path | None, data_set: str, layout: str) -> Path:
    """Return `root` as a path. Raises DataError if it was not given or is not a folder."""
    if root is None:
        raise DataError(f"the data set {data_set!r} needs a root: give a folder with {layout}.")
    root = Path(root)
    if not root.is_dir():
        wrong = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {wrong}; give the folder of {data_set!r}, with {layout}.")
    return root


def first_existing(*paths: Path) -> Path | None:
    """Return the first of the paths that exists, or None."""
    return next((path for path in paths if path.exists()), None)


def layout_error(root: Path, data_set: str, layout: str) -> DataError:
    """Return the error for a root that has another layout."""
    return DataError(
        f"{root} is not laid out as {data_set!r}: it should hold {layout}; give that folder, "
        "or use the data set 'folder' for pictures alone."
    )


def require(path: Path, remedy: str) -> Path:
    """Return `path`. Raises DataError with the remedy if it does not exist."""
    if not path.exists():
        raise DataError(f"{path} is missing; {remedy}.")
    return path


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not blank, with their numbers in the file, from 1.

    Raises DataError if it is missing or not a text.
    """
    return lines_of(read_text(path))


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank. Raises DataError if it cannot be read."""
    return [line for _, line in numbered_lines(path)]


def read_table(path: Path, columns: int, skip: int = 0) -> list[list[str]]:
    """Return the fields of each line, `columns` of them, separated by white space.

    The last field keeps its spaces; the first `skip` lines are left out. Raises DataError, which
    names the line, if one has fewer fields.
    """
    rows = []
    for number, line in numbered_lines(path)[skip:]:
        fields = line.split(maxsplit=columns - 1)
        if len(fields) < columns:
            raise DataError(
                f"{path}, line {number}, has {len(fields)} of {columns} fields; the file is "
                "truncated or another file: extract it again."
            )
        rows.append([field.strip() for field in fields])
    return rows


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises DataError if it is missing or broken."""
    text = read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); download it again.") from error


def whole_number(text: str, path: Path) -> int:
    """Return a number from a list. Raises DataError, which names the file, if it is not one."""
    try:
        return int(text)
    except ValueError:
        raise DataError(
            f"{path} holds {text!r} where a whole number belongs; extract it again."
        ) from None


def names_in(folder: Path) -> set[str]:
    """Return the names of the files and folders in a folder; none if it does not exist."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a name with a NUL, a half emoji
        return set()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return set()
        raise DataError(f"{folder} cannot be read ({error.strerror}); check it.") from error


def pictures_in(folder: Path, unread: Counter[str] | None = None) -> list[Path]:
    """Return the picture files directly in a folder, by suffix, sorted by name.

    `unread`: gets the number of files of each format of pictures that is not read.
    """
    names = names_in(folder)
    if unread is not None:
        unread += count_unread(names)
    return [
        folder / name
        for name in sorted(names)
        if suffix_of(name) in SUFFIXES and not name.startswith(".")
    ]


class Finder:
    """Listed files on the disk: each folder is listed once, and spellings may differ.

    A list that was made on Windows separates folders by backslashes, and one that was made on a Mac
    may write "ê" as two signs where the disk has one, or the other way around. Both are found.
    """

    def __init__(self) -> None:
        self._names: dict[Path, set[str]] = {}
        self._plain: dict[Path, dict[str, str]] = {}
        self.respelled = 0
        """The number of files that were found under another spelling."""

    def find(self, path: Path) -> Path | None:
        """Return the file as the disk spells it, or None if it does not exist."""
        if path.name in self._list(path.parent):
            return path
        place = Path(str(path).replace("\\", "/"))
        if place.name not in self._list(place.parent):
            place = self._respelled(place)
        if place is not None:
            self.respelled += 1
        return place

    def count(self, suffixes: Container[str]) -> int:
        """Return how many files of these suffixes the listed folders hold."""
        return sum(
            suffix_of(name) in suffixes and not name.startswith(".")
            for names in self._names.values()
            for name in names
        )

    def hint(self, path: Path) -> str:
        """Return a remark if a file exists under a name that differs in case, or is ""."""
        folder = self._respelled(path.parent) or path.parent
        wanted = plain_name(path.name).casefold()
        found = next((n for n in self._list(folder) if plain_name(n).casefold() == wanted), None)
        if found is not None:
            return f"the folder has {found}: the case of letters differs"
        if "\\" in path.name or path.name[1:2] == ":":
            return "write paths relative to the list's folder, with /"
        return ""

    def _list(self, folder: Path) -> set[str]:
        names = self._names.get(folder)
        if names is None:
            names = self._names[folder] = names_in(folder)
        return names

    def _respelled(self, path: Path) -> Path | None:
        place = Path(path.anchor)
        for part in path.parts[1:] if path.anchor else path.parts:
            if _exists(place / part):
                place = place / part
                continue
            if place not in self._plain:
                self._plain[place] = {plain_name(name): name for name in self._list(place)}
            found = self._plain[place].get(plain_name(part))
            if found is None:
                return None
            place = place / found
        return place


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def plain_name(name: str | Path) -> str:
    """Return a file's name in the one spelling by which names of lists and disks are compared."""
    return unicodedata.normalize("NFC", str(name)).replace("\\", "/")


def existing_entries(
    entries: Iterable[Entry], root: Path, source: str, data_set: str, finder: Finder | None = None
) -> tuple[list[Entry], list[str]]:
    """Return the entries whose files exist, and the names of the files that do not.

    Up to 1 % may be missing: published lists name pictures that were withdrawn. Raises DataError if
    more are missing, or if no entry is left.
    """
    finder = finder or Finder()
    kept, missing, named, hint = [], [], 0, ""
    for entry in entries:
        named += 1
        path = finder.find(entry.path)
        map_file = entry.map if entry.map is None else finder.find(entry.map)
        if path is None or (map_file is None and entry.map is not None):
            absent = entry.path if path is None or entry.map is None else entry.map
            missing.append(shown_path(absent, root))
            if len(missing) == 1:
                hint = finder.hint(absent)
        elif path is entry.path and map_file is entry.map:
            kept.append(entry)
        else:
            kept.append(replace(entry, path=path, map=map_file))
    if not named:
        raise DataError(f"{source} names no items of {data_set!r}; extract the archive again.")
    if len(missing) > MAX_MISSING * named or not kept:
        remedy = hint or "if an archive was extracted in part, extract it again"
        raise DataError(
            f"{len(missing)} of the {named} items that {source} names are incomplete in {root}, "
            f"beginning with {missing[0]}; {remedy}."
        )
    return kept, missing


def hash_split(name: str) -> str:
    """Return a split for a picture by its name: a tenth is "test", another tenth "val".

    It depends on the name alone, so a picture stays in its split when others are added or removed.
    """
    return _HELD_OUT.get(zlib.crc32(name.encode(errors="surrogateescape")) % 10, "train")


def of_split(entries: Sequence[Entry], split: str, root: Path) -> list[Entry]:
    """Return the entries that `hash_split` puts into a split. Raises DataError if none are."""
    found = [entry for entry in entries if hash_split(entry.path.stem) == split]
    if not found:
        raise DataError(
            f"none of the {len(entries)} pictures in {root} falls into the split {split!r} "
            "(a tenth of them by their names); give more pictures."
        )
    return found
