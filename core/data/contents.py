"""The contents of a data set: the items with captions, maps and labels, and their identity.

A batch may be without captions although its data set has some, so what a data set holds is
determined when it is opened, never from a batch or from the first item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from ..channels import count_words
from ..errors import PictureError, printable
from .datasets.channel_folder import ChannelFolder
from .picture_dataset import PictureDataset
from .sample import Dataset, Sample
from .scenes import Scenes

_TRIED = 1024  # items of a data set of the user's own that are looked at, at most


class Contents(NamedTuple):
    """The number of items with each part, or with a file that may hold it."""

    items: int
    captions: int
    maps: int
    labels: int


class Parts(NamedTuple):
    """True for each part that any item has."""

    captions: bool
    maps: bool
    labels: bool


NOTHING = Parts(False, False, False)
EVERYTHING = Parts(True, True, True)


def contents_of(data: Dataset) -> Contents | None:
    """Return the contents of a data set; nothing is read. None for one of the user's own."""
    items = len(data)
    if isinstance(data, PictureDataset) and _is_built_in(data):
        rows = range(items)
        return Contents(
            items,
            sum(map(data.has_caption, rows)),
            sum(map(data.has_map, rows)),
            sum(map(data.has_label, rows)),
        )
    return Contents(items, items, items, items) if isinstance(data, Scenes) else None


def parts_of(data: Any, needed: Parts = EVERYTHING) -> Parts:
    """Return the parts that any item of a data set, or of token shards, has.

    Of a data set of the user's own, whose items may hold more than its lists name, some items are
    looked at, spread over all of them, until one has each part that is ``needed``.
    """
    if isinstance(data, Scenes):
        return EVERYTHING
    found = Parts(*data.parts()) if hasattr(data, "parts") else NOTHING
    count = 0 if hasattr(data, "parts") and _is_built_in(data) else min(_TRIED, len(data))
    for place in range(count):
        if all(held or not wanted for held, wanted in zip(found, needed, strict=True)):
            break
        try:
            sample = data[place * len(data) // count]
        except PictureError:
            continue
        found = parts_in([sample], found)
    return found


def _is_built_in(data: Any) -> bool:
    return type(data).__module__.startswith(f"{__package__}.")


def parts_in(samples: Sequence[Sample], found: Parts = NOTHING) -> Parts:
    """Return the parts that any of some samples has, or that were found before."""
    return Parts(
        found.captions or any(sample.captions or sample.caption for sample in samples),
        found.maps or any(sample.segmentation is not None for sample in samples),
        found.labels or any(sample.label >= 0 for sample in samples),
    )


def identity_of(data: Dataset) -> str:
    """Return a digest of which data these are: the names, sizes, captions and labels of the items.

    Names are relative to the folder of the data set, so that it stays the same when the folder is
    moved or copied; pictures that are added, removed or replaced by others of another size change
    it. Every file's size is asked for once: half a second for 100,000 files on a disk.
    """
    digest = hashlib.sha256(f"{getattr(data, 'name', '')} {len(data)}".encode())
    if isinstance(data, PictureDataset):
        for line in data.manifest():
            digest.update(f"{line}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def summary(data: Dataset, split: str) -> str:
    """Return one line on what a data set holds and what is left out of it, for its opening."""
    line = headline(data, split)
    if isinstance(data, PictureDataset):
        missing = _some("listed files are missing", data.missing)
        skipped = _some("left out", data.skipped)
        line += "".join(f"; {left}" for left in (missing, skipped, *data.left_out()) if left)
    return line


def headline(data: Dataset, split: str) -> str:
    """Return the start of the summary: how many items, captions, maps and labels there are."""
    contents, place = contents_of(data), getattr(data, "place", None)
    line = f"{getattr(data, 'name', 'data')}, {split}: {len(data):,} items"
    line += f" in {printable(place)}" if place is not None else ""
    if isinstance(data, ChannelFolder):
        line += f", of {count_words(data.channels)} ({data.value_range})"
    if contents is not None:
        shares = (_share(n, len(data), what) for what, n in contents._asdict().items())
        line += "; " + ", ".join(islice(shares, 1, None))
    if more := getattr(data, "with_json", 0):
        line += f", and what {more:,} .json files hold"
    return line


def _share(count: int, items: int, what: str) -> str:
    if not count:
        return f"no {what}"
    return what if count == items else f"{what} of {count:,}"


def _some(what: str, sentences: tuple[str, ...]) -> str:
    if not sentences:
        return ""
    more = f" and {len(sentences) - 2:,} more" if len(sentences) > 2 else ""
    return f"{len(sentences):,} {what}: {', '.join(sentences[:2])}{more}"
