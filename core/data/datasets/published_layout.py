"""Helpers for reading published layouts: folders, lists, and a report of missing files."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...images import SUFFIXES
from ..picture_dataset import Entry

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


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank. Raises DataError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; extract the archive again.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file in UTF-8; copy or extract it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check it.") from error
    return [line for line in text.splitlines() if line.strip()]


def read_table(path: Path, columns: int, skip: int = 0) -> list[list[str]]:
    """Return the fields of each line, `columns` of them, separated by white space.

    The last field keeps its spaces; the first `skip` lines are left out. Raises DataError, which
    names the line, if one has fewer fields.
    """
    rows = []
    for number, line in enumerate(read_lines(path)[skip:], start=skip + 1):
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
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; extract the archive again.") from error
    except (OSError, ValueError) as error:
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
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror}); check it.") from error


def pictures_in(folder: Path) -> list[Path]:
    """Return the picture files directly in a folder, by suffix, sorted by name."""
    return [
        folder / name
        for name in sorted(names_in(folder))
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    ]


def existing_entries(
    entries: Iterable[Entry], root: Path, source: str, data_set: str
) -> tuple[list[Entry], list[str]]:
    """Return the entries whose files exist, and the names of the files that do not.

    Up to 1 % may be missing: published lists name pictures that were withdrawn. Raises DataError if
    more are missing, or if no entry is left.
    """
    listings: dict[Path, set[str]] = {}
    kept, missing, named = [], [], 0
    for entry in entries:
        named += 1
        absent = []
        for path in (entry.path, entry.map):
            if path is None:
                continue
            if path.parent not in listings:
                listings[path.parent] = names_in(path.parent)
            if path.name not in listings[path.parent]:
                absent.append(path)
        if absent:
            inside = absent[0].is_relative_to(root)
            missing.append(str(absent[0].relative_to(root) if inside else absent[0]))
        else:
            kept.append(entry)
    if not named:
        raise DataError(f"{source} names no items of {data_set!r}; extract the archive again.")
    if len(missing) > MAX_MISSING * named or not kept:
        raise DataError(
            f"{len(missing)} of the {named} items that {source} names are incomplete in {root}, "
            f"beginning with {missing[0]}; if an archive was extracted in part, extract it again."
        )
    return kept, missing


def hash_split(name: str) -> str:
    """Return a split for a picture by its name: a tenth is "test", another tenth "val".

    It depends on the name alone, so a picture stays in its split when others are added or removed.
    """
    return _HELD_OUT.get(zlib.crc32(name.encode()) % 10, "train")


def of_split(entries: Sequence[Entry], split: str, root: Path) -> list[Entry]:
    """Return the entries that `hash_split` puts into a split. Raises DataError if none are."""
    found = [entry for entry in entries if hash_split(entry.path.stem) == split]
    if not found:
        raise DataError(
            f"none of the {len(entries)} pictures in {root} falls into the split {split!r} "
            "(a tenth of them by their names); give more pictures."
        )
    return found
