"""The tiles painted so far of one tokenizer's codes, in a file of the cache folder.

Tiles are appended as they are painted, each with its code and a checksum. So a server that is
stopped in the middle, or a full disk, loses the last tiles and no others, and two servers may write
to the same file.
"""

from __future__ import annotations

import logging
import zlib
from pathlib import Path

import numpy as np

log = logging.getLogger("regvq.app")


class TileFile:
    """Tiles of ``side`` x ``side`` pixels of a codebook with ``size`` codes."""

    def __init__(self, path: Path, size: int, side: int) -> None:
        self.path, self.size = path, size
        self._kind = np.dtype(
            [("code", "<i4"), ("check", "<u4"), ("tile", np.uint8, (side, side, 3))]
        )
        self._writable = True

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the codes int64 (n,) whose tiles are stored, and the tiles uint8 (n, f, f, 3).

        What is damaged is left out; a file with anything damaged is written anew.
        """
        try:
            data = self.path.read_bytes()
        except OSError:
            return self._valid(np.empty(0, self._kind))
        whole = np.frombuffer(
            data[: len(data) // self._kind.itemsize * self._kind.itemsize], self._kind
        )
        codes, tiles = self._valid(whole)
        if len(codes) * self._kind.itemsize != len(data):
            log.warning("%s was damaged in part; its tiles are painted again", self.path)
            self._replace(codes, tiles)
        return codes, tiles

    def append(self, codes: np.ndarray, tiles: np.ndarray) -> None:
        """Store more tiles; after a failure (a full or read-only disk), none any more."""
        if not self._writable:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:  # a single write: see the top
                file.write(self._records(codes, tiles).tobytes())
        except OSError as error:
            self._writable = False
            log.warning("The painted codes cannot be stored in %s: %s", self.path.parent, error)

    def _replace(self, codes: np.ndarray, tiles: np.ndarray) -> None:
        try:
            self.path.write_bytes(self._records(codes, tiles).tobytes())
        except OSError as error:
            self._writable = False
            log.warning("%s cannot be written: %s", self.path, error)

    def _records(self, codes: np.ndarray, tiles: np.ndarray) -> np.ndarray:
        records = np.empty(len(codes), self._kind)
        records["code"], records["tile"] = codes, tiles
        records["check"] = [_checksum(code, tile) for code, tile in zip(codes, tiles, strict=True)]
        return records

    def _valid(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        right = np.array(
            [
                0 <= record["code"] < self.size
                and record["check"] == _checksum(record["code"], record["tile"])
                for record in records
            ],
            dtype=bool,
        )
        records = records[right]
        return records["code"].astype(np.int64), records["tile"]


def _checksum(code: int, tile: np.ndarray) -> int:
    return zlib.crc32(tile.tobytes(), int(code))
