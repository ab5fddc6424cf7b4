"""The line at the opening of a data set, names of files in any encoding, and files left out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from core.conditions import SemanticConfig, TextConfig
from core.conditions.from_samples import check_parts
from core.data import open_dataset
from core.data.contents import Parts, contents_of, identity_of, parts_of, summary
from core.data.datasets.flickr8k import Flickr8k
from core.data.picture_dataset import Entry, PictureDataset
from core.errors import DataError, PictureError, printable
from core.formats import HAS_HEIF
from core.paths import ROOT
from tests.helpers import published_layouts as made

LATIN1 = os.fsdecode(b"caf\xe9 \xff\n\xe2\x80\xa8.png")
"""The name of a file whose bytes are not UTF-8, with two line breaks."""


def test_the_line_counts_what_there_is(tmp_path: Path) -> None:
    lines = [
        {"file": "0.png", "caption": "a", "label": 3},
        {"file": "1.png", "caption": None},
        {"file": "2.png", "caption": "c"},
    ]
    for number in range(4):
        made.save(tmp_path / f"{number}.png", made.picture(number))
    made.write(tmp_path / "captions.jsonl", *map(json.dumps, lines))
    data = open_dataset("captions", tmp_path)
    assert summary(data, "train") == (
        f"captions, train: 3 items in {tmp_path}; captions of 2, no maps, labels of 1; the lines "
        "of captions.jsonl name no splits: all are in every split; 1 pictures beside those of "
        "captions.jsonl are not in it"
    )
    assert parts_of(data) == (True, False, True)
    scenes = summary(open_dataset("scenes"), "train")
    assert scenes == "scenes, train: 50,000 items; captions, maps, labels"


@pytest.mark.parametrize("name", made.LAYOUTS)
def test_every_layout_has_a_line(name: str, tmp_path: Path) -> None:
    data = open_dataset(name, made.LAYOUTS[name](tmp_path))
    line = summary(data, "train")
    assert line.startswith(f"{name}, train: {len(data)} items in ") and "\n" not in line
    parts = parts_of(data)
    for part, held in zip(("captions", "maps", "labels"), parts, strict=True):
        assert (f"no {part}" in line) is not held


@pytest.mark.skipif(HAS_HEIF, reason="pillow-heif reads HEIC")
def test_pictures_of_an_unread_format_are_counted(tmp_path: Path) -> None:
    for number in range(3):
        made.save(tmp_path / "a" / f"{number}.jpg", made.picture(number))
    for number in range(20):
        (tmp_path / "a" / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    note = "20 .heic files are not read (pip install pillow-heif)"
    data = open_dataset("folder", tmp_path)
    assert len(data) == 3 and note in summary(data, "train")
    for file in (tmp_path / "a").glob("*.jpg"):
        file.unlink()
    with pytest.raises(DataError, match=r"holds no pictures .*20 \.heic files are not read"):
        open_dataset("folder", tmp_path)
    for number in range(20):
        made.write(tmp_path / "a" / f"IMG_{number}.txt", "a picture")
    with pytest.raises(DataError, match=r"20 \.heic files are not read"):
        open_dataset("captions", tmp_path)
    rows = [json.dumps({"file": f"a/IMG_{n}.HEIC", "caption": "a"}) for n in range(20)]
    made.write(tmp_path / "captions.jsonl", *rows)
    with pytest.raises(DataError, match=r"20 \.heic files are not read"):
        open_dataset("captions", tmp_path)


def test_heic_is_read_with_pillow_heif(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(made.picture(0, (64, 48))).save(tmp_path / "a.HEIC", quality=95)
    data = open_dataset("folder", tmp_path)
    assert data[0].image.shape == (3, 48, 64) and not data.unread


@pytest.mark.parametrize(
    ("listed", "stored"),
    [
        ("img\\0.png", "img/0.png"),
        (".\\img\\0.png", "img/0.png"),
        ("./img/0.png", "img/0.png"),
        (unicodedata.normalize("NFC", "fenêtre.png"), unicodedata.normalize("NFD", "fenêtre.png")),
        (unicodedata.normalize("NFD", "é/ê.png"), unicodedata.normalize("NFC", "é/ê.png")),
    ],
)
def test_spellings_of_a_list_are_found(listed: str, stored: str, tmp_path: Path) -> None:
    made.save(tmp_path / stored, made.picture(0))
    made.write(tmp_path / "captions.jsonl", json.dumps({"file": listed, "caption": "a"}))
    data = open_dataset("captions", tmp_path)
    assert data.files == [tmp_path / stored] and data[0].caption == "a"


def test_a_list_names_what_is_wrong_with_its_paths(tmp_path: Path) -> None:
    made.save(tmp_path / "Img" / "0.png", made.picture(0))
    made.write(tmp_path / "captions.jsonl", json.dumps({"file": "Img/0.PNG", "caption": "a"}))
    with pytest.raises(DataError, match=r"the folder has 0\.png: the case of letters differs"):
        open_dataset("captions", tmp_path)
    made.write(tmp_path / "captions.jsonl", json.dumps({"file": "C:\\a\\0.png", "caption": "a"}))
    with pytest.raises(DataError, match="write paths relative to the list's folder, with /"):
        open_dataset("captions", tmp_path)


@pytest.mark.parametrize(
    ("row", "captions"),
    [
        ('"One , two ."', ("One , two .",)),
        ('"He said ""hi"" ."', ('He said "hi" .',)),
        ('He said "hi" .', ('He said "hi" .',)),
        ('A 3" hat', ('A 3" hat',)),
        ('"a caption of\ntwo lines"', ("a caption of two lines",)),
        ('"a caption of\r\n\r\ntwo lines"', ("a caption of two lines",)),
    ],
)
def test_quotes_of_flickr8k(row: str, captions: tuple[str, ...], tmp_path: Path) -> None:
    root = made.flickr8k(tmp_path)
    file = root / "captions.txt"
    before = file.read_text().replace("0003_ab.jpg,A dog runs .", f"0003_ab.jpg,{row}")
    file.write_bytes(before.encode())
    found = [
        data.captions(index)[:1]
        for data in (Flickr8k(root, split) for split in ("train", "val", "test"))
        for index, path in enumerate(data.files)
        if path.name == "0003_ab.jpg"
    ]
    assert found == [captions]
    assert sum(len(Flickr8k(root, split)) for split in ("train", "val", "test")) == 40


@pytest.mark.parametrize("at", ["0003", "0039"])
def test_an_open_quote_is_refused_with_its_line(at: str, tmp_path: Path) -> None:
    root = made.flickr8k(tmp_path)
    file = root / "captions.txt"
    file.write_text(file.read_text().replace(f"{at}_ab.jpg,A dog", f'{at}_ab.jpg,"A dog'))
    line = 2 + 2 * int(at)
    with pytest.raises(DataError, match=rf'line {line}, opens a caption with " and never closes'):
        open_dataset("flickr8k", root)


def test_messages_and_digests_take_names_of_any_bytes(tmp_path: Path) -> None:
    for number in range(110):
        made.save(tmp_path / f"{number}.png", made.picture(number, (8, 8)))
    (tmp_path / LATIN1).write_bytes(b"")
    data = open_dataset("folder", tmp_path)
    for index, path in enumerate(data.files):
        if path.name == LATIN1:
            with pytest.raises(PictureError, match=r"^caf\? \?\?\?\.png is empty"):
                data[index]
    assert identity_of(data).startswith("sha256:")
    assert printable("a\u2028b\udce9\x1b[0m😀") == "a?b??[0m😀"
    assert (
        "\n" not in str(DataError(f"{LATIN1} is wrong.")) and str(DataError(LATIN1)).isprintable()
    )


def test_a_strict_terminal_prints_every_name(tmp_path: Path) -> None:
    made.save(tmp_path / "fenêtre 😀" / "a.png", made.picture(0))
    (tmp_path / LATIN1).write_bytes(b"")
    command = [sys.executable, "-m", "core.data", "check", "folder", "--root", str(tmp_path)]
    strict = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=strict, timeout=120)
    assert done.returncode == 1 and b"Traceback" not in done.stderr
    assert b"caf?" in done.stdout


def test_identity_is_of_the_content(tmp_path: Path) -> None:
    first = made.captions(tmp_path / "a")
    before = identity_of(open_dataset("captions", first))
    (tmp_path / "a").rename(tmp_path / "b")
    moved = tmp_path / "b"
    assert identity_of(open_dataset("captions", moved)) == before
    file = moved / "captions.jsonl"
    file.write_text(file.read_text().replace("number 0", "number zero"))
    assert identity_of(open_dataset("captions", moved)) != before


class Rare(PictureDataset):
    """A data set of a user's own, of which one item has what its entries do not name."""

    def captions(self, index: int) -> tuple[str, ...]:
        return ("a",) if index == 200 else ()

    def label(self, index: int) -> int:
        return 3 if index == 201 else -1


def test_a_data_set_of_the_users_own_is_looked_at(tmp_path: Path) -> None:
    file = made.save(tmp_path / "a.png", made.picture(0, (8, 8)))
    data = Rare(tmp_path, [Entry(file)] * 300)
    assert parts_of(data) == (True, False, True)
    assert parts_of(data, Parts(True, False, False)).captions
    assert contents_of(data) is None
    check_parts([TextConfig(width=8, layers=1, heads=1)], data, "the pictures")
    with pytest.raises(DataError, match="semantic maps, but the pictures have no maps"):
        check_parts([SemanticConfig(classes=2, width=8)], data, "the pictures")
