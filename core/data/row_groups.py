"""Parquet files as tables of rows: their row groups, read one by one and kept a while.

A file in a bucket or on a web server is copied whole, once per machine, into the bounded folder of
copies (``core.data.shards.cache``) when the first of its rows is read: parquet has no smaller part
than a row group, and every loading process would otherwise fetch each of them.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .remote import PartsFile, facts_of, redact_query, url_of
from .shards.cache import copy_of

if TYPE_CHECKING:
    import pyarrow as pa

WINDOW = 8
"""Row groups among whose rows the draws of an epoch are shuffled."""
_KEPT = WINDOW + 2
_OPENERS = 16


@dataclass(frozen=True)
class TableFile:
    """A parquet file: its place, a path or an address, and the rows of each of its row groups."""

    place: str
    groups: tuple[int, ...]
    schema: pa.Schema

    @property
    def name(self) -> str:
        """The place, as messages name it."""
        return redact_query(self.place) if url_of(self.place) else self.place

    @property
    def size(self) -> int | None:
        """Bytes."""
        url = url_of(self.place)
        return os.stat(self.place).st_size if url is None else facts_of(url).size


def open_tables(places: Sequence[str]) -> list[TableFile]:
    """Return the files with their row groups; several are opened at once. Raises DataError."""
    with ThreadPoolExecutor(_OPENERS) as pool:
        return list(pool.map(_described, places))


def _described(place: str) -> TableFile:
    with _reader(place, copied=False) as file:
        counts = (file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
        return TableFile(place, tuple(counts), file.schema_arrow)


def _reader(place: str, copied: bool) -> Any:
    """Return pyarrow's reader of a file; with ``copied``, of its copy on this machine."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    url = url_of(place)
    shown = place if url is None else redact_query(url)
    try:
        if url is None:
            return pq.ParquetFile(place)
        facts = facts_of(url)
        if copied or not facts.parts or not facts.size:
            return pq.ParquetFile(copy_of(url, facts, ".parquet"))
        return pq.ParquetFile(pa.PythonFile(PartsFile(url, facts.size), mode="r"))
    except (pa.ArrowException, OSError) as error:
        if url is not None and isinstance(error, FileNotFoundError):
            raise  # the copy was removed before it was opened
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{shown} cannot be read as a parquet file ({reason}); check it.") from None


class RowGroups:
    """The row groups that a process has read last, of all files of a data set."""

    def __init__(self, files: Sequence[TableFile], columns: Sequence[str]) -> None:
        self._files, self._columns = list(files), list(columns)
        self._groups: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def row(self, file: int, group: int, place: int) -> dict[str, Any]:
        """Return the columns of a row of a row group. Raises DataError."""
        table = self._groups.get((file, group))
        if table is None:
            table = self._groups[file, group] = self._read(file, group)
            while len(self._groups) > _KEPT:
                self._groups.popitem(last=False)
        return {name: table.column(name)[place].as_py() for name in self._columns}

    def _read(self, file: int, group: int) -> Any:
        import pyarrow as pa

        found = self._files[file]
        while True:
            try:
                with _reader(found.place, copied=True) as reader:
                    if reader.metadata.row_group(group).num_rows != found.groups[group]:
                        raise DataError(f"{found.name} changed while it was in use; start again.")
                    return reader.read_row_group(group, self._columns, use_threads=False)
            except FileNotFoundError:
                continue  # another process removed the copy before it was opened
            except (pa.ArrowException, OSError, IndexError) as error:
                reason = " ".join(str(error).split()).rstrip(".")
                raise DataError(
                    f"{found.name} cannot be read as a parquet file ({reason}); check it."
                ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self._files, "columns": self._columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["files"], state["columns"])
