"""Settings of data sets in tables: the columns of parquet files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regvq.data.datasets.parquet import Columns


@dataclass(frozen=True, kw_only=True)
class ColumnsConfig:
    """The columns of parquet files, and the subset of a data set of the Hub."""

    image_column: str | None = None
    """Of parquet, the column of pictures; None: the only one that there is."""
    caption_column: str | None = None
    """Of parquet, the column of captions; None: caption, text or another usual name, if any."""
    label_column: str | None = None
    """Of parquet, the column of labels; None: the first one of classes, or label, if any."""
    subset: str | None = None
    """Of parquet, the subset (configuration) of a data set of the Hub that has several."""

    @property
    def columns(self) -> Columns:
        """The settings as ``open_dataset`` takes them."""
        from regvq.data.datasets.parquet import Columns

        return Columns(self.image_column, self.caption_column, self.label_column, self.subset)
