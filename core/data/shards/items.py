"""The items of a tar: which of its files belong to one picture, and which are left out.

WebDataset cuts a name at its first dot, so that `v1.2.png` and `v1.3.png` would be one item with
two pictures. Here a name ends where a known suffix begins: every picture is an item, and captions,
label and map are the files of the same name. WebDataset's fields (`0.png` beside `0.mask.png`) are
known by their middle parts, which are words.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ...formats import SUFFIXES, UNREAD, suffix_of, unread_notes

MAP_SUFFIXES = (".seg.png", ".segmentation.png", ".map.png")
TEXT_SUFFIXES = (".txt", ".json", ".cls")
_FIELD = re.compile(r"[a-z]+([_-][a-z]+)*[0-9]{0,2}$", re.IGNORECASE)


class Member(NamedTuple):
    """A file in a tar: its suffix, and the place of its bytes."""

    suffix: str
    offset: int
    size: int


class TarFile(NamedTuple):
    """A file in a tar: its whole name, and the place of its bytes."""

    name: str
    offset: int
    size: int


@dataclass
class LeftOut:
    """Files of one or more tars that are not read: how many, and the first one."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """Count files that are left out for a reason."""
        self.counts[reason] += count
        self.first.setdefault(reason, name)


class Index(NamedTuple):
    """The items of a tar in order, and what is left out of it.

    items: the key of each (its path without the suffix), and its members by suffix.
    problems: pictures that are not read although they seem to be meant.
    notes: other files that belong to no item.
    unread: how many files have each suffix of a format of pictures that is not read.
    """

    items: tuple[tuple[str, dict[str, Member]], ...]
    problems: LeftOut
    notes: LeftOut
    unread: Counter[str]


_SENTENCES = {
    "several": "pictures are several of one item, of which none is read; call one of them NAME.png",
    "second": "pictures are further ones of an item that has one; give each its own name",
    "link": "files are links, or sparse, and cannot be read in place; write plain files",
    "orphan": "files belong to no picture of their name",
    "field": "files are further fields of items",
}


def sentences(left: LeftOut, shard: str) -> list[str]:
    """Return a sentence on each reason for which files of a shard are left out."""
    return [
        f"{count:,} {_SENTENCES[reason]} ({shard}, beginning with {left.first[reason]})"
        for reason, count in left.counts.items()
    ]


def index_of(files: Iterable[TarFile]) -> Index:
    """Group the files of a tar into items."""
    problems, notes, unread = LeftOut(), LeftOut(), Counter[str]()
    pictures: dict[str, dict[str, TarFile]] = {}
    others: list[tuple[str, str, TarFile]] = []
    order: dict[str, int] = {}
    for place, file in enumerate(files):
        stem, suffix = _parted(file.name)
        if suffix in SUFFIXES:
            same = pictures.setdefault(stem, {})
            if suffix in same:  # "a.jpg" and "a.JPG"
                problems.add("second", file.name)
                continue
            same[suffix] = file
            order.setdefault(stem, place)
        elif suffix in MAP_SUFFIXES or suffix in TEXT_SUFFIXES:
            others.append((stem, suffix, file))
            order.setdefault(stem, place)
        elif suffix in UNREAD:
            unread[suffix] += 1
    items = _pictures(pictures, problems, notes)
    alone = _alone(items)
    for stem, suffix, file in others:
        key = stem if stem in items else alone.get(stem)
        if key is None:
            notes.add("orphan", file.name)
            continue
        items[key][suffix] = Member(suffix, file.offset, file.size)
        order[key] = min(order[key], order[stem])
    found = sorted(items.items(), key=lambda item: order[item[0]])
    return Index(tuple(found), problems, notes, unread)


def _parted(name: str) -> tuple[str, str]:
    """Return a name without its suffix, and the suffix in lower case; "" if it is hidden."""
    base = posixpath.basename(name)
    if base.startswith("."):
        return name, ""
    lower = base.lower()
    suffix = next((s for s in MAP_SUFFIXES if lower.endswith(s)), None) or suffix_of(base)
    return name[: len(name) - len(suffix)], suffix


def _first_part(stem: str) -> tuple[str, str]:
    """Return a stem up to the first dot of its base name, and the rest after that dot."""
    folder, base = posixpath.split(stem)
    first, _, rest = base.partition(".")
    return (f"{folder}/{first}" if folder else first), rest


def _pictures(
    found: dict[str, dict[str, TarFile]], problems: LeftOut, notes: LeftOut
) -> dict[str, dict[str, Member]]:
    """Return the items by key, with their pictures alone."""
    fields: dict[str, list[str]] = {}
    for stem in found:
        first, rest = _first_part(stem)
        if rest and all(_FIELD.match(part) for part in rest.split(".")):
            fields.setdefault(first, []).append(stem)
    left_out = set()
    for first, stems in fields.items():
        if first in found:
            for stem in stems:
                notes.add("field", next(iter(found[stem].values())).name, len(found[stem]))
        elif len(stems) > 1:
            for stem in stems:
                problems.add("several", next(iter(found[stem].values())).name, len(found[stem]))
        else:
            continue
        left_out.update(stems)
    items = {}
    for stem, by_suffix in found.items():
        if stem in left_out:
            continue
        (suffix, file), *further = by_suffix.items()
        items[stem] = {suffix: Member(suffix, file.offset, file.size)}
        if further:
            problems.add("second", further[0][1].name, len(further))
    return items


def _alone(items: dict[str, dict[str, Member]]) -> dict[str, str]:
    """Return the key of each item whose name has a dot, by the part before it, if it is the only
    one: in `0.image.png` and `0.txt`, the text belongs to the picture."""
    keys: dict[str, list[str]] = {}
    for key in items:
        first, rest = _first_part(key)
        if rest:
            keys.setdefault(first, []).append(key)
    return {first: found[0] for first, found in keys.items() if len(found) == 1}


def unread_sentences(unread: Counter[str], shards: str) -> list[str]:
    """Return a note on each format of pictures in tars that is not read."""
    return [f"{note} ({shards})" for note in unread_notes(unread)]
