"""Pictures of visitors: read in a process of their own, within limits."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.services import picture_reader, uploads
from app.services.picture_bounds import check_bounds
from core.errors import PictureError
from core.formats import formats
from core.images import open_picture
from core.paths import ROOT
from tests.helpers.odd_pictures import ODD_PICTURES
from tests.helpers.picture_bombs import BOMBS, frames, many_scans

WRITTEN = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
LIMIT = 10.0
"""Seconds for what must be refused at once; it takes a tenth of a second on an idle machine."""


def test_the_same_pictures_are_read_and_refused_as_in_this_process(tmp_path: Path) -> None:
    seen = {"reads": 0, "refused": 0}
    for index, odd in enumerate(ODD_PICTURES):
        path = tmp_path / f"{index}-{odd.name}"
        odd.write(path)
        try:
            wanted = open_picture(path, name=odd.name)
        except PictureError as error:
            with pytest.raises(PictureError) as refusal:
                picture_reader.read_picture(str(path), odd.name, 10_000)
            assert str(refusal.value) == str(error)
            seen["refused"] += 1
        else:
            picture, whole = picture_reader.read_picture(str(path), odd.name, 10_000)
            assert whole == wanted.size
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(wanted))
            seen["reads"] += 1
    assert min(seen.values()) > 20


class FrameworkString(str):
    """A string that a process can only receive by importing what made it, as Gradio's are."""

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise AssertionError("the process would import what made this string")


def test_a_process_is_sent_plain_strings(tmp_path: Path) -> None:
    path = tmp_path / "field.npy"
    np.save(path, np.zeros((4, 6, 5), np.uint8))
    named = FrameworkString(path), FrameworkString("field.npy")
    values, whole = picture_reader.read_channels(*named, 10)
    assert values.shape == (4, 6, 5)
    assert whole == (6, 4)


def test_what_reads_pictures_needs_no_framework() -> None:
    """Two processes read pictures, and each would have torch in memory."""
    program = """
import sys
from app.services import picture_reader
picture_reader.import_readers()
print(sorted({"torch", "gradio", "PIL.Image"} & set(sys.modules)))
"""
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.strip() == "['PIL.Image']", found.stderr


def begin_reader(folder: Path) -> None:
    """Let the process that reads pictures begin, which takes seconds on a busy machine."""
    Image.new("RGB", (8, 8)).save(folder / "first.png")
    picture_reader.read_picture(str(folder / "first.png"), "first.png", 100)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name: str, tmp_path: Path) -> None:
    make, words = BOMBS[name]
    path = tmp_path / name
    path.write_bytes(make())
    assert path.stat().st_size < 20 * 2**20
    begin_reader(tmp_path)
    begun = time.monotonic()
    if words:
        with pytest.raises(PictureError, match=words):
            uploads.open_picture(str(path))
    else:
        try:
            uploads.open_picture(str(path))
        except PictureError as error:
            assert name in str(error)
    assert time.monotonic() - begun < LIMIT
    begun = time.monotonic()
    for _ in range(20):  # a refusal is remembered
        try:
            uploads.open_picture(str(path))
        except PictureError:
            continue
    assert time.monotonic() - begun < LIMIT / 5


def test_a_picture_that_takes_too_long_ends_its_process_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, good = tmp_path / "slow.jpg", tmp_path / "good.png"
    slow.write_bytes(many_scans(40, 3500))  # within the bounds, a second or more
    Image.new("RGB", (40, 30), "red").save(good)
    picture_reader.read_picture(str(good), "good.png", 100)
    monkeypatch.setenv(picture_reader.VARIABLE, "0.05")
    with pytest.raises(
        PictureError, match=r"slow.jpg takes more than 0.05 s .* to decode; save it"
    ):
        picture_reader.read_picture(str(slow), "slow.jpg", 100)
    monkeypatch.delenv(picture_reader.VARIABLE)
    picture, whole = picture_reader.read_picture(str(good), "good.png", 20)
    assert picture.size == (20, 15) and whole == (40, 30)


def test_a_picture_that_took_too_long_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow.jpg"
    slow.write_bytes(many_scans(40, 3500))
    now = time.monotonic()
    monkeypatch.setattr(uploads, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setenv(picture_reader.VARIABLE, "0.05")
    with pytest.raises(PictureError, match=r"more than 0\.05 s"):
        uploads.open_picture(str(slow))
    monkeypatch.setenv(picture_reader.VARIABLE, "60")
    now += uploads.AGAIN - 1
    with pytest.raises(PictureError, match=r"more than 0\.05 s"):
        uploads.open_picture(str(slow))
    now += 2
    assert max(uploads.open_picture(str(slow)).uploaded) == 3500
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(slow.read_bytes()[:100])
    with pytest.raises(PictureError) as first:
        uploads.open_picture(str(broken))
    monkeypatch.setattr(uploads, "_read", None)  # a broken file stays refused
    now += 10 * uploads.AGAIN
    with pytest.raises(PictureError, match=re.escape(str(first.value))):
        uploads.open_picture(str(broken))


def test_a_process_that_ends_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path)
    picture_reader.read_picture(str(path), "a.png", 10)
    for worker in picture_reader._idle:
        os.kill(worker.process.pid, 9)
        worker.process.join()
    assert picture_reader.read_picture(str(path), "a.png", 10)[1] == (4, 4)


@pytest.mark.parametrize("kind", WRITTEN)
def test_damaged_files_of_every_format_get_a_sentence(kind: str, tmp_path: Path) -> None:
    if kind not in formats():
        pytest.skip(f"this Pillow does not read {kind}")
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    picture = Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8))
    picture.save(buffer, kind)
    data = np.frombuffer(buffer.getvalue(), np.uint8)
    refused = 0
    for trial in range(25):
        damaged = data.copy()
        places = rng.integers(0, len(data) if trial % 2 else min(200, len(data)), 1 + trial)
        damaged[places] = rng.integers(0, 256, len(places))
        path = tmp_path / f"{trial}.{kind.lower()}"
        path.write_bytes(
            damaged.tobytes()[: len(data) if trial % 3 else rng.integers(1, len(data))]
        )
        try:
            uploads.open_picture(str(path))
        except PictureError as error:
            refused += 1
            assert str(error).rstrip().endswith((".", "TIFF or PPM", "again")) and "\n" not in str(
                error
            )
    assert refused


def test_no_other_format_is_read() -> None:
    assert set(formats()) <= {*WRITTEN, "MPO", "DIB", "HEIF"}


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_only_the_first_frame_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(frames(kind, 300))
    begin_reader(tmp_path)
    begun = time.monotonic()
    assert np.asarray(uploads.open_picture(str(path)).image).mean() < 3
    assert time.monotonic() - begun < LIMIT


def test_common_pictures_are_within_the_bounds(photos: Path) -> None:
    for path in photos.iterdir():
        check_bounds(path.read_bytes(), path.name)
        for options in ({"progressive": True}, {"progressive": True, "quality": 95}):
            buffer = io.BytesIO()
            Image.open(path).convert("RGB").resize((1200, 900)).save(buffer, "JPEG", **options)
            check_bounds(buffer.getvalue(), path.name)


def test_a_broken_header_leaves_no_warning_in_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    mpo = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0xB001, 4, 1, 2**31) + bytes(4)
    mark = b"\xff\xe2" + struct.pack(">H", 6 + len(mpo)) + b"MPF\0" + mpo
    path = tmp_path / "odd.jpg"
    path.write_bytes(buffer.getvalue()[:2] + mark + buffer.getvalue()[2:])
    assert picture_reader.read_picture(str(path), path.name, 1024)[1] == (8, 8)
    assert capfd.readouterr().err == ""
