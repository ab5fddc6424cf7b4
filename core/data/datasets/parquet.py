"""Pictures in parquet files: on a disk, in a bucket, or of a data set of the Hugging Face Hub.

The package ``datasets`` (extra ``parquet``) finds the files of each split, as a data set of the Hub
describes them, and says what their columns hold. Rows are then read by row groups, without its
copy of the whole data set on the disk, so that the draws are those of every other data set: a
function of (seed, k), in any number of processes and workers.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ...errors import DataError, PictureError
from ...extras import missing_extra
from ...images import open_picture
from ..picture_dataset import DatasetInfo, Entry, PictureDataset
from ..remote import is_pattern, is_web, listed, redact_query, url_of
from ..row_groups import WINDOW, RowGroups, open_tables
from ..shards.tar import expand_braces
from ..splits import are_splits, served_by, split_inside, split_of_name
from ..text import captions_in, label_in

_CAPTIONS = ("caption", "captions", "text", "prompt", "sentence", "sentences")
_LABELS = ("label", "labels", "class", "cls", "fine_label")
_IMAGES = ("image", "img", "picture", "jpg", "png", "webp")
_HUB = "hf://datasets/"


class Columns(NamedTuple):
    """The columns of pictures, captions and labels, and the subset of a data set of the Hub; None:
    the one that there is."""

    image: str | None = None
    caption: str | None = None
    label: str | None = None
    subset: str | None = None


class ParquetPictures(PictureDataset):
    """Pictures in a column of parquet files, with captions and labels in other columns.

    The root is a folder in the layout of a data set of the Hub, a parquet file, its address or a
    pattern (braces; on a disk or in a bucket also `*` and `?`), or `hf://datasets/OWNER/NAME`, also
    with `@REVISION`.
    Splits are those of the data set; of files that are named one by one, the words in their names
    (core.data.splits).

    The order of an epoch shuffles the files, then the rows of every ``core.data.row_groups.WINDOW``
    row groups together, so that few row groups are in memory at a time. A row group is read at
    once: write files with at most a few hundred pictures in each.

    Raises DataError without the package ``datasets``, and for files, subsets and columns that are
    not there; later for files that cannot be read.
    """

    name = "parquet"
    markers = ("**/*.parquet",)
    about = DatasetInfo(
        what="parquet files with a column of pictures, and data sets of the Hub",
        where="yours, or hf://datasets/OWNER/NAME",
        terms="those of the pictures in them",
    )

    def __init__(
        self,
        root: str | Path | None,
        split: str = "train",
        columns: Columns | None = None,
        **options: Any,
    ) -> None:
        if root is None:
            raise DataError(
                "the data set 'parquet' needs a root: give a folder, a file or a pattern, or "
                f"{_HUB}OWNER/NAME."
            )
        if problem := missing_extra("the data set 'parquet'", "parquet", "datasets", "pyarrow"):
            raise DataError(f"{problem}.")
        columns = columns or Columns()
        url = url_of(root)
        self._shown_root = str(root) if url is None else redact_query(url)
        places, remarks = _places(root, split, columns.subset)
        self._tables = open_tables(places)
        found = _columns(self._tables[0].schema, columns, self._shown_root)
        self._image, self._caption, self._label, self.labels = found
        read = [each for each in found[:3] if each is not None]
        for table in self._tables[1:]:
            if absent := [each for each in read if each not in table.schema.names]:
                raise DataError(f"{table.name} has no column {absent[0]!r}, as other files have.")
        self._groups = [
            (number, group, rows)
            for number, table in enumerate(self._tables)
            for group, rows in enumerate(table.groups)
            if rows
        ]
        self._starts = [0, *accumulate(rows for _, _, rows in self._groups)]
        if not self._starts[-1]:
            raise DataError(f"{self._shown_root} holds no rows; give files that do.")
        entries = [
            Entry(Path(self._tables[number].name) / f"{row}")
            for number, table in enumerate(self._tables)
            for row in range(sum(table.groups))
        ]
        self._rows = RowGroups(self._tables, read)
        self._latest: tuple[int, dict[str, Any]] = (-1, {})
        top = Path(self._shown_root)
        top = top.parent if top.suffix == ".parquet" else top
        super().__init__(top, entries, remarks=remarks, **options)

    @property
    def place(self) -> str:
        """The folder or address, as messages name it."""
        return self._shown_root

    def has_caption(self, index: int) -> bool:
        """Return True if there is a column of captions. Nothing is read."""
        return self._caption is not None

    def has_label(self, index: int) -> bool:
        """Return True if there is a column of labels. Nothing is read."""
        return self._label is not None

    def parts(self) -> tuple[bool, bool, bool]:
        """Return True for each of captions, maps and labels that there is a column of."""
        return self._caption is not None, False, self._label is not None

    def manifest(self) -> Iterator[str]:
        """Yield the columns, and a line for each file: its name, its size and its rows."""
        yield json.dumps([self._image, self._caption, self._label])
        for table in self._tables:
            yield json.dumps([Path(table.name).name, table.size, sum(table.groups)])

    def captions(self, index: int) -> tuple[str, ...]:
        """Return all captions of an item. Raises PictureError for texts that are none."""
        if self._caption is None:
            return ()
        try:
            return captions_in(self._row(index)[self._caption])
        except ValueError as error:
            raise PictureError(f"{self._name(index)} holds {error}.") from None

    def label(self, index: int) -> int:
        """Return the label of an item, or -1. Raises PictureError for a label that is none."""
        value = None if self._label is None else self._row(index)[self._label]
        if value is None or value == -1:  # -1 is that of held-out rows on the Hub
            return -1
        try:
            return label_in(value)
        except ValueError as error:
            raise PictureError(f"the label of {self._name(index)} is {error}.") from None

    def _load(self, index: int) -> tuple[Image.Image, None]:
        value, name = self._row(index)[self._image], self._name(index)
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise PictureError(f"{name} holds no bytes of a picture.")
        self.captions(index)  # an error in the captions or the label breaks the item too
        self.label(index)
        return open_picture(data, name=name), None

    def _name(self, index: int) -> str:
        return self._shown(self.entries[index].path)

    def _row(self, index: int) -> dict[str, Any]:
        if self._latest[0] != index:
            at = bisect_right(self._starts, index) - 1
            number, group, _ = self._groups[at]
            self._latest = (index, self._rows.row(number, group, index - self._starts[at]))
        return self._latest[1]

    def _permutation(self, rng: np.random.Generator) -> np.ndarray:
        windows = []
        for number in rng.permutation(len(self._tables)):
            groups = [at for at, (file, _, _) in enumerate(self._groups) if file == number]
            order = rng.permutation(groups)
            windows += [order[at : at + WINDOW] for at in range(0, len(order), WINDOW)]
        rows = (
            np.concatenate([np.arange(self._starts[at], self._starts[at + 1]) for at in window])
            for window in windows
        )
        return np.concatenate([rng.permutation(each) for each in rows])

    def __getstate__(self) -> dict:
        return super().__getstate__() | {"_latest": (-1, {})}


def parquet_held_out(root: str | Path | None, subset: str | None = None) -> bool:
    """Return True if the split "test" has other files than "train". Raises DataError."""
    if root is None:
        raise DataError("the data set 'parquet' needs a root.")
    return _places(root, "test", subset)[0] != _places(root, "train", subset)[0]


def _places(root: str | Path, split: str, subset: str | None) -> tuple[list[str], list[str]]:
    """Return the files of a split, and remarks on how it was understood."""
    url = url_of(root)
    hub = url is not None and url.startswith(_HUB) and url.count("/") == 4
    if hub or os.path.isdir(root):
        files = _of_builder(url.removeprefix(_HUB) if hub and url else None, root, subset)
    else:
        files = _named(str(root) if url is None else url)
    splits = {name: split_of_name(name) or split_inside(name) for name in files}
    known = {each for each in splits.values() if each is not None}
    if not are_splits(known):
        return [each for found in files.values() for each in found], [
            "no splits: the same pictures are in every split"
        ]
    wanted = served_by(split, known)
    return [each for name in files if splits[name] == wanted for each in files[name]], []


def _of_builder(
    repository: str | None, root: str | Path, subset: str | None
) -> dict[str, list[str]]:
    """Return the parquet files of each split of a folder, or of a data set of the Hub:
    OWNER/NAME, also with @REVISION."""
    import datasets

    quiet = contextlib.ExitStack()
    quiet.callback(datasets.logging.set_verbosity, datasets.logging.get_verbosity())
    shown = redact_query(url_of(root) or "") or str(root)
    with quiet:
        datasets.logging.set_verbosity_error()
        try:
            name, _, revision = (repository or "").partition("@")
            builder = datasets.load_dataset_builder(
                name or str(root), subset, revision=revision or None
            )
        except ImportError:
            raise
        except Exception as error:  # its own, those of the Hub, and of the network
            reason = " ".join(str(error).split()).rstrip(".")
            raise DataError(
                f"{shown} cannot be opened as a data set ({reason}); check it, and for one of "
                "several subsets set --data.subset."
            ) from None
    files = {
        str(split): [str(each) for each in found]
        for split, found in (builder.config.data_files or {}).items()
    }
    if not files or not all(
        each.endswith(".parquet") for found in files.values() for each in found
    ):
        raise DataError(
            f"{shown} is not stored as parquet; of a data set of the Hub, name its converted "
            f"files: '{_HUB}OWNER/NAME@refs%2Fconvert%2Fparquet/SUBSET/*/*.parquet'."
        )
    return files


def _named(pattern: str) -> dict[str, list[str]]:
    """Return the files that a path, an address or a pattern names, each by its own name."""
    found: list[str] = []
    for each in expand_braces(pattern):
        far, several = url_of(each) is not None and not is_web(each), is_pattern(each)
        if far and (several or not each.endswith(".parquet")):
            found += [name for name in listed(each) if name.endswith(".parquet")]
        elif not each.partition("?")[0].endswith(".parquet"):
            raise DataError(f"{redact_query(each)} is neither a folder nor a parquet file.")
        else:
            found += sorted(glob.glob(each)) if several and not is_web(each) else [each]
    if not found:
        raise DataError(f"there are no parquet files at {redact_query(pattern)}.")
    return {"/".join(Path(each).parts[-2:]): [each] for each in found}


class _Found(NamedTuple):
    """The columns that are read, and the names of the labels."""

    image: str
    caption: str | None
    label: str | None
    labels: tuple[str, ...]


def _columns(schema: Any, chosen: Columns, place: str) -> _Found:
    """Return the columns that a schema has for pictures, captions and labels. Raises DataError."""
    import datasets

    features = datasets.Features.from_arrow_schema(schema)
    names = ", ".join(features)
    for kind in ("image", "caption", "label"):
        if (name := getattr(chosen, kind)) is not None and name not in features:
            raise DataError(
                f"{place} has no column {name!r} (--data.{kind}-column); its columns are {names}."
            )
    pictures = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    pictures = pictures or [name for name in _IMAGES if name in features]
    if chosen.image is None and len(pictures) != 1:
        raise DataError(
            f"{place} has {len(pictures) or 'no'} columns of pictures among {names}; name one with "
            "--data.image-column."
        )
    classes = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    label = chosen.label or next(iter(classes), None) or _first(_LABELS, features, "int")
    known = features[label] if label is not None else None
    return _Found(
        chosen.image or pictures[0],
        chosen.caption or _first(_CAPTIONS, features, "string"),
        label,
        tuple(known.names) if isinstance(known, datasets.ClassLabel) else (),
    )


def _first(names: Sequence[str], features: Mapping[str, Any], kind: str) -> str | None:
    """Return the first of the names whose column holds values, or lists of values, of a kind."""
    for name in names:
        feature = features.get(name)
        inner = getattr(feature, "feature", feature)
        if str(getattr(inner, "dtype", "")).removeprefix("large_").startswith(kind):
            return name
    return None
