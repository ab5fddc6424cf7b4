"""The known facts about the codes of a checkpoint, painted and counted while the server runs.

A bundle may hold all of them (``core.analysis.atlas``). Otherwise a large network would take
minutes for them, so a code is painted when somebody looks at it, and the others, and the uses of
all codes, follow in quiet moments (``painting``). What is painted and counted is kept in the
cache folder (``core.paths``), so that the next start does not repeat it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from regvq.paths import cache_folder

from . import scene_counts
from .array_cache import load_array, store_array
from .checkpoints import TokenizerHandle, fingerprint
from .model_lock import LOCK
from .scene_counts import SceneCount
from .tile_file import TileFile

AT_ONCE = 64
"""Codes that are painted with the first one that somebody looks at; most tests have fewer."""
SHARE = 0.25
"""Seconds that a piece of the work in quiet moments takes, for a visitor may wait for its end."""
UNKNOWN = 90
"""Gray level of a code that is not painted yet."""
QUICK = 4096
"""Codes up to which the arrangement by likeness is computed as soon as it is asked for."""


class CodeAtlas:
    """The codes of one checkpoint: uses of all, tiles of those that are painted."""

    def __init__(self, handle: TokenizerHandle) -> None:
        from regvq.analysis.atlas import field_side, fits, grid_columns

        self.handle = handle
        tokenizer, known = handle.tokenizer, handle.bundle.atlas
        self.size, self.patch = tokenizer.codebook_size, tokenizer.downsampling
        self._field, self._columns = field_side(self.size), grid_columns(self.size)
        self._grid: np.ndarray | None = None
        self._rough: np.ndarray | None = None
        self._own = known if fits(known, tokenizer) else {}
        self._batch = 8
        self.count: SceneCount | None = None
        """The count in drawn scenes, if the bundle has none of its own."""
        if "paints" in self._own:
            self.tiles, self.colors = self._own["paints"], self._own["mean_color"]
            self._grid = self._own["grid"]
            self.painted = np.ones(self.size, dtype=bool)
            self.sequence = np.arange(self.size)
            self._file = None
        else:
            self.tiles = np.zeros((self.size, self.patch, self.patch, 3), np.uint8)
            self.colors = np.full((self.size, 3), UNKNOWN, np.uint8)
            self.painted = np.zeros(self.size, dtype=bool)
            self.sequence = np.empty(0, np.int64)
            self._file = TileFile(self._cached("tiles"), self.size, self.patch)
            codes, tiles = self._file.read()
            codes, first = np.unique(codes, return_index=True)
            self._add(codes, tiles[first])
        if not self._own:
            self.count = scene_counts.count_of(handle)

    # ------------------------------------------------------------ counts

    @property
    def counts(self) -> np.ndarray:
        """The uses of each code, int64 (K,); those in the first scenes if the bundle has none."""
        if self.count is None:
            return self._own["counts"]
        self.count.begin()
        return self.count.counts

    @property
    def source(self) -> str:
        """The pictures on which uses are counted, in words."""
        return str(self._own["source"]) if self.count is None else self.count.source

    # ------------------------------------------------------------ tiles

    @property
    def complete(self) -> bool:
        """True if every code is painted."""
        return len(self.sequence) == self.size

    def look(self, codes: Sequence[int] | np.ndarray, seconds: float | None = None) -> np.ndarray:
        """Return the tiles of some codes, uint8 (n, f, f, 3); paint those that are missing.

        seconds: the time after which no further ones are painted; their tiles are black then.
        """
        codes = np.asarray(codes, dtype=np.int64).reshape(-1)
        wanted = list(dict.fromkeys(codes[~self.painted[codes]].tolist()))
        if self.size <= AT_ONCE:
            wanted, seconds = np.flatnonzero(~self.painted).tolist(), None
        end = None if seconds is None else time.monotonic() + seconds
        while wanted and (end is None or time.monotonic() < end):
            some = wanted[: self._batch]
            with LOCK:
                self._paint(some)
            wanted = wanted[len(some) :]
        return self.tiles[codes]

    def _paint(self, codes: Sequence[int]) -> None:
        """Paint some codes. The caller holds ``model_lock.LOCK``."""
        from regvq.analysis.codes import paint_codes

        new = np.array([code for code in codes if not self.painted[code]], dtype=np.int64)
        if not len(new):
            return
        started = time.monotonic()
        tiles = paint_codes(self.handle.tokenizer, new, self._field, batch=len(new))
        pace = max(time.monotonic() - started, 1e-3) / len(new)
        self._batch = int(np.clip(SHARE / pace, 4, min(64, 2 * self._batch)))
        self._add(new, tiles)
        if self._file is not None:
            self._file.append(new, tiles)

    def _add(self, codes: np.ndarray, tiles: np.ndarray) -> None:
        from regvq.analysis.atlas import mean_colors

        if not len(codes):
            return
        self.tiles[codes], self.colors[codes] = tiles, mean_colors(tiles)
        self.painted[codes] = True
        self.sequence = np.concatenate([self.sequence, codes])

    # ------------------------------------------------------------ arrangement

    def alike(self) -> np.ndarray:
        """Return the code in each cell of a square in which neighbors are alike, int64 (K,).

        Until every code is painted and the square is arranged by their tiles, codes with similar
        vectors lie side by side.
        """
        if self._grid is None and self.complete and self.size <= QUICK:
            self._arrange()
        if self._grid is not None:
            return self._grid.argsort()
        if self._rough is None:
            from regvq.analysis.arrangement import rough_grid

            codes = self.handle.tokenizer.quantizer.codebook().detach().float().cpu().numpy()
            self._rough = rough_grid(codes, self._columns).argsort()
        return self._rough

    @property
    def arranged(self) -> bool:
        """True if ``alike`` is by tiles."""
        return self._grid is not None

    def _arrange(self) -> None:
        """Arrange the painted codes by likeness, from the cache if they were arranged before."""
        from regvq.analysis.arrangement import grid_layout, paint_features

        file = self._cached("grid.npy")
        found = load_array(file, (self.size,), np.int64)
        if found is None:
            found = grid_layout(paint_features(self.tiles), self._columns)
            store_array(file, found)
        self._grid = found

    # ------------------------------------------------------------ work in quiet moments

    @property
    def finished(self) -> bool:
        """True if nothing is left to do."""
        counted = self.count is None or self.count.complete
        return counted and self.complete and self.arranged

    def work(self) -> None:
        """Do a piece of what is left, of about SHARE seconds: count first, then paint, the codes in
        use first; at last arrange them. The piece that runs the model holds the lock."""
        if self.count is not None and not self.count.complete:
            self.count.more()
        elif not self.complete:
            left = np.flatnonzero(~self.painted)
            left = left[np.argsort(-self.counts[left], kind="stable")]
            with LOCK:
                self._paint(left[: self._batch].tolist())
        elif not self.arranged:
            self._arrange()

    def progress(self) -> dict[str, int | bool]:
        """Return how much is known, as JSON: codes painted, scenes counted."""
        return {
            "painted": len(self.sequence),
            "total": self.size,
            "counted": self.count.done if self.count else 0,
            "scenes": self.count.total if self.count else 0,
            "arranged": self.arranged,
            "finished": self.finished,
        }

    def _cached(self, kind: str) -> Path:
        name = f"{fingerprint(self.handle)}-{self._field}.{kind}"
        return cache_folder() / "atlas" / name
