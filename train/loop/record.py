"""The record of a run: ``log.jsonl``, TensorBoard's file and the sample pictures.

A run that is resumed has the record of an undisturbed one. A row that only a stop has brought about
is marked ``"stopped": true`` in the log; it is dropped when the run resumes, as is everything after
the saved step.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from regvq.bundles.replacement import NEW, append_bytes, beside, remove, sync, write_bytes

STOPPED = "stopped"
"""The entry of a log row that an undisturbed run would not have."""
SAMPLES = 40
"""Sample pictures that are kept beside the latest one, spread evenly over the run."""

Row = dict[str, Any]


Validations = dict[int, dict[str, float]]
"""Figures of held-out pictures by step."""


class RunRecord:
    """The rows and pictures of a run in the folder ``out``, of which ``step`` steps are saved.

    Everything later is removed. ``saved``: the description of the log that ``sync`` returned when
    the state was saved. ``board``: write TensorBoard's file, too. Raises OSError, which names the
    file.
    """

    def __init__(
        self,
        out: Path,
        step: int,
        save_every: int,
        saved: Mapping[str, Any] | None = None,
        warn: Callable[[str], object] = print,
        board: bool = True,
    ) -> None:
        self.out, self.save_every = out, save_every
        self._log = out / "log.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        before = self._log.read_bytes() if self._log.exists() else b""
        size = 0 if saved is None else int(saved["size"])
        if saved is not None and _digest(before[:size]) != saved["sha256"]:
            warn(f"WARNING: {self._log} is damaged or was edited: its rows are not those saved.")
        rows = _rows_of(before)
        kept = [row for row in rows if row["step"] <= step and STOPPED not in row]
        text = "".join(map(_line, kept)).encode()
        if text != before:
            write_bytes(self._log, text)
        self.last = max((row["step"] for row in rows), default=0)
        """The last step in the log as it was found."""
        self._board = _Board(out / "tensorboard", kept) if board else None
        for number, file in self._samples():
            if number > step or (number == step and number % save_every):
                remove(file)

    def write(self, step: int, figures: Mapping[str, float], stopped: bool = False) -> None:
        """Add a row to the log and to TensorBoard; after an error, nothing of it remains."""
        row = {"step": step, **figures, **({STOPPED: True} if stopped else {})}
        append_bytes(self._log, _line(row).encode())
        if self._board is not None:
            self._board.write(row, time.time())

    def rows(self) -> list[Row]:
        """Return the rows of the log."""
        return _rows_of(self._log.read_bytes()) if self._log.exists() else []

    def sync(self) -> dict[str, Any]:
        """Write the rows to the disk; return the log's ``size`` and ``sha256``.

        A state is only saved after the rows before it.
        """
        files = [self._log] if self._board is None else [self._log, self._board.file]
        for file in files:
            if file.exists():
                sync(file)
        sync(self.out)
        text = self._log.read_bytes() if self._log.exists() else b""
        return {"size": len(text), "sha256": _digest(text)}

    def thin_samples(self, step: int) -> None:
        """Remove sample pictures so that at most ``SAMPLES`` and the one of ``step`` remain.

        The ones that remain depend only on ``step``, so that a resumed run keeps the same.
        """
        stride = self.save_every
        while step // stride > SAMPLES:
            stride *= 2
        if stride == self.save_every:
            return
        for number, file in self._samples():
            if number < step and number % stride:
                remove(file)

    def _samples(self) -> Iterator[tuple[int, Path]]:
        folder = self.out / "samples"
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if found := re.fullmatch(r"(\d{7,})\.png(\.new)?", file.name):
                if found[2]:
                    remove(file)
                else:
                    yield int(found[1]), file


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def validations_of(rows: list[Row], is_validated: Callable[[int], bool]) -> Validations:
    """Return the figures of held-out pictures in the rows of the steps that are validated."""
    found: Validations = {}
    for row in rows:
        figures = {k: v for k, v in row.items() if k.startswith(("validation_", "held_out_"))}
        if figures and is_validated(row["step"]):
            found.setdefault(row["step"], {}).update(figures)
    return found


def best_of(
    validations: Validations, score: Callable[[Mapping[str, Any]], float | None]
) -> int | None:
    """Return the first step with the largest score; None if no row has one."""
    scores = {step: score(row) for step, row in validations.items()}
    known = {step: value for step, value in scores.items() if value is not None}
    return max(known, key=lambda step: (known[step], -step)) if known else None


def _rows_of(text: bytes) -> list[Row]:
    """Return the rows of a log; a line that is none, such as half a row, is left out."""
    rows = []
    for line in text.split(b"\n"):
        try:
            row = json.loads(line)
            whole = type(row["step"]) is int
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if whole:
            rows.append(row)
    return rows


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"


class _Board:
    """TensorBoard's file of a run: the rows of its log as scalars.

    It is written anew when a run resumes, so that a folder holds one file without rows twice. It
    is written row by row, by this process: ``SummaryWriter`` has a thread, which an error leaves
    with a stack trace.
    """

    def __init__(self, folder: Path, rows: list[Row]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        folder.mkdir(parents=True, exist_ok=True)
        before = sorted(file for file in folder.iterdir() if "tfevents" in file.name)
        times = {key: when for file in before for key, when in _times(file)}
        now = time.time()
        events = [_record(Event(wall_time=now, file_version="brain.Event:2"))]
        events += [_record_of(row, times, now) for row in rows]
        number = max((_number(file) for file in before), default=0)
        self.file = folder / f"events.out.tfevents.{max(int(now), number + 1):010d}.regvq"
        fresh = beside(folder / "events", NEW)  # without the name that TensorBoard looks for
        write_bytes(fresh, b"".join(events))
        try:
            os.replace(fresh, self.file)
        except OSError:
            remove(fresh)
            raise
        for file in before:
            remove(file)

    def write(self, row: Row, when: float) -> None:
        append_bytes(self.file, _record_of(row, {}, when))


def _number(file: Path) -> int:
    found = re.search(r"tfevents\.(\d+)", file.name)
    return int(found[1]) if found else 0


def _record_of(row: Row, times: Mapping[tuple[str, int], float], now: float) -> bytes:
    """Return a row's scalars as a record of TensorBoard, with the row's time if it is known."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    step = row["step"]
    scalars = [
        Summary.Value(tag=name, simple_value=value)
        for name, value in row.items()
        if name not in ("step", STOPPED) and isinstance(value, (int, float))
    ]
    when = next((times[key] for x in scalars if (key := (x.tag, step)) in times), now)
    return _record(Event(wall_time=when, step=step, summary=Summary(value=scalars)))


def _record(event: Any) -> bytes:
    """Return an event in the frame of a TFRecord: length, its checksum, bytes, their checksum."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    class Kept:
        data = b""

        def write(self, data: bytes) -> None:
            self.data += data

    kept = Kept()
    RecordWriter(kept).write(event.SerializeToString())
    return kept.data


def _times(file: Path) -> Iterator[tuple[tuple[str, int], float]]:
    """Yield tag, step and time of the scalars in a file, as far as it can be read."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    data, place = file.read_bytes(), 0
    while place + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        if place + 16 + length > len(data):
            return
        try:
            event = Event.FromString(data[place + 12 : place + 12 + length])
        except DecodeError:
            return
        place += 16 + length
        if math.isfinite(event.wall_time):
            for value in event.summary.value:
                yield (value.tag, event.step), event.wall_time
