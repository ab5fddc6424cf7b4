"""A folder of pictures in a bucket, or at another place that fsspec lists: s3, gs, hf, …"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import DataError
from ...formats import SUFFIXES, UNREAD, suffix_of, unread_notes
from ...images import open_picture
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..remote import is_web, listed, read_whole, redact_query
from ..splits import are_splits, served_by, split_of_name
from .folder import PictureFolder


class RemoteFolder(PictureDataset):
    """All pictures below an address, without captions, maps or labels.

    Files are listed once, when it is opened, and each is read when it is drawn, whole. The first
    folders below the address are splits as in a plain folder (``PictureFolder``). For more files
    than are quickly listed, tar shards are read in longer runs.

    Raises DataError if nothing is there, or without an answer, also later.
    """

    name = "folder"
    about: DatasetInfo = PictureFolder.about

    def __init__(self, url: str, split: str = "train", **options: Any) -> None:
        if is_web(url):
            raise DataError(
                f"{redact_query(url)} is on a web server, which does not list its files: name tar "
                "shards there, with --data.name shards."
            )
        files, remarks = _of_split(url, split)
        found = [name for name in files if suffix_of(name) in SUFFIXES]
        unread = Counter(suffix_of(name) for name in files if suffix_of(name) in UNREAD)
        if not found:
            notes = ", ".join(unread_notes(unread))
            raise DataError(
                f"{redact_query(url)} holds no pictures (by suffix: .jpg, .png, .webp, ...)"
                f"{f' ({notes})' if notes else ''}; give a folder that does."
            )
        self._files = [(name, files[name]) for name in found]
        entries = [Entry(Path(redact_query(name))) for name in found]
        root = Path(redact_query(url))
        super().__init__(root, entries, unread=unread, remarks=remarks, **options)

    @property
    def place(self) -> str:
        """The address, as messages name it."""
        return _address(self.root)

    def manifest(self) -> Iterator[str]:
        """Yield a line for each picture: its name below the address, and its size."""
        for entry, (_, size) in zip(self.entries, self._files, strict=True):
            yield json.dumps([f"{self._shown(entry.path)} {size}", -1])

    def _load(self, index: int) -> tuple[Image.Image, None]:
        data = read_whole(self._files[index][0])
        return open_picture(data, name=self._shown(self.entries[index].path)), None


def remote_held_out(url: str) -> bool:
    """Return True if the split "test" below an address holds other pictures than "train"."""
    return _of_split(url, "test")[0].keys() != _of_split(url, "train")[0].keys()


def _of_split(url: str, split: str) -> tuple[Mapping[str, int], list[str]]:
    """Return the files of a split, address and bytes, and remarks on how it was understood."""
    files, folders = _listed(url)
    splits = {first: split_of_name(first) for first in set(folders.values())}
    named = {each for each in splits.values() if each is not None}
    if not are_splits(named):
        return files, ["no splits: the same pictures are in every split"]
    wanted = served_by(split, named)
    chosen = {name: size for name, size in files.items() if splits[folders[name]] == wanted}
    left = sum(splits[first] is None for first in folders.values())
    return chosen, [f"{left:,} files are in the folder of no split"] if left else []


@lru_cache(maxsize=8)
def _listed(url: str) -> tuple[Mapping[str, int], Mapping[str, str]]:
    """Return the files below an address with their bytes, and the first folder of each, or ""."""
    files = listed(url)
    start = url.rstrip("/")
    inside = {name: name.removeprefix(start).lstrip("/") for name in files}
    return files, {name: rest.rpartition("/")[0].partition("/")[0] for name, rest in inside.items()}


def _address(path: Path) -> str:
    scheme, _, rest = str(path).partition(":/")
    return f"{scheme}://{rest}"
