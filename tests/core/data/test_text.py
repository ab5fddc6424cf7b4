"""Texts of data sets: encodings, lines, captions and labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.data import open_dataset
from core.data.text import MAX_LABEL, captions_in, clean_caption, decode, label_in, lines_of
from core.errors import DataError, PictureError
from tests.helpers import published_layouts as made

SEPARATORS = ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c", "\x1d", "\x1e", "\r"]
"""The signs that str.splitlines cuts at, beside "\\n"."""


def folder_of(root: Path, count: int = 3) -> Path:
    for number in range(count):
        made.save(root / f"{number}.png", made.picture(number))
    return root


def listed(root: Path, *lines: object) -> Path:
    """Write pictures and a list of them, one line of JSON, or of raw text, per picture."""
    folder_of(root, len(lines))
    made.write(
        root / "captions.jsonl",
        *(line if isinstance(line, str) else json.dumps(line) for line in lines),
    )
    return root


@pytest.mark.parametrize("sign", SEPARATORS)
def test_no_reader_cuts_a_line_at_other_signs(sign: str, tmp_path: Path) -> None:
    text, whole = f"first part{sign}second part", "first part second part"
    assert lines_of(f"{text}\nmore") == [(1, text), (2, "more")]
    if sign in SEPARATORS[:3]:  # the others are no signs of JSON texts
        root = listed(tmp_path / "jsonl", f'{{"file": "0.png", "caption": "{text}"}}')
        assert open_dataset("captions", root)[0].captions == (whole,)
    root = folder_of(tmp_path / "beside", 1)
    (root / "0.txt").write_bytes(f"{text}\nmore\n".encode())
    assert open_dataset("captions", root)[0].captions == (whole, "more")
    picture = made.encoded(made.picture(0))
    made.tar(tmp_path / "a.tar", [("0.png", picture), ("0.txt", f"{text}\nmore".encode())])
    assert open_dataset("shards", tmp_path / "a.tar")[0].captions == (whole, "more")
    facts = json.dumps({"caption": text}, ensure_ascii=False).encode()
    made.tar(tmp_path / "b.tar", [("0.png", picture), ("0.json", facts)])
    assert open_dataset("shards", tmp_path / "b.tar")[0].captions == (whole,)
    root = made.flickr8k(tmp_path / "flickr")
    file = root / "captions.txt"
    file.write_bytes(file.read_bytes().replace(b"A dog runs .", text.encode()))
    data = open_dataset("flickr8k", root)
    assert all(said[0] == whole and len(said) == 2 for said in map(data.captions, range(len(data))))
    root = made.cub(tmp_path / "cub")
    for file in root.rglob("text_c10/*/*.txt"):
        file.write_bytes(f"{text}\nmore\n".encode())
    assert open_dataset("cub", root)[0].captions == (whole, "more")
    root = made.coco(tmp_path / "coco")
    file = root / "annotations" / "captions_train2017.json"
    facts = json.loads(file.read_text())
    for each in facts["annotations"]:
        each["caption"] = text
    file.write_text(json.dumps(facts))
    assert set(open_dataset("coco", root)[0].captions) == {whole}


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    folder_of(tmp_path, 2)
    good = '{"file": "0.png", "caption": "a"}'
    (tmp_path / "captions.jsonl").write_text(f"\n{good}\r\n  \n{{broken\n")
    with pytest.raises(DataError, match=r"line 4, is not valid JSON"):
        open_dataset("captions", tmp_path)


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8", b""), ("utf-8-sig", b""), ("utf-16", b""), ("utf-32", b""),
     ("utf-16-be", b"\xfe\xff"), ("utf-32-be", b"\0\0\xfe\xff")],
)  # fmt: skip
def test_encodings_with_a_byte_order_mark_are_read(encoding: str, mark: bytes) -> None:
    assert decode(mark + "fenêtre 😀\n".encode(encoding), "a.txt") == "fenêtre 😀\n"


@pytest.mark.parametrize(
    "data",
    [
        "fenêtre".encode("latin-1"),
        "fenêtre".encode("utf-16-le"),
        "window".encode("utf-16-be"),
        "window".encode("utf-32-le"),
        "窓".encode("shift-jis"),
        "окно".encode("cp1251"),
        b"\xff\xfea",
        b"half \xf0\x9f\x98",
        b"\xed\xa0\xbd",  # a surrogate as UTF-8 (CESU-8)
    ],
)
def test_other_encodings_are_refused_by_name(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^a\.txt .*save it as UTF-8"):
        decode(data, "a.txt")
    folder_of(tmp_path, 1)
    (tmp_path / "0.txt").write_bytes(data)
    with pytest.raises(DataError, match=r"0\.txt .*save it as UTF-8"):
        open_dataset("captions", tmp_path)
    picture = made.encoded(made.picture(0))
    for suffix in (".txt", ".json", ".cls"):
        made.tar(tmp_path / "a.tar", [("0.png", picture), (f"0{suffix}", data)])
        with pytest.raises((DataError, PictureError), match=rf"0\{suffix} .*save it as UTF-8"):
            open_dataset("shards", tmp_path / "a.tar")[0]


def test_captions_are_one_clean_line() -> None:
    assert clean_caption("a cat \ud83d") == "a cat"
    assert clean_caption("\ude00 a cat \ud83d, a dog") == "a cat , a dog"
    assert (
        clean_caption("a \ud83d\ude00 cat 😀") == "a 😀 cat 😀"
    )  # two halves that belong together
    assert clean_caption("white\ufffd\ufffdbelly") == "white belly"
    assert clean_caption(" a\t\x00b \n\n c\x7f ") == "a b c"
    assert clean_caption("\ud83d") == clean_caption("\ufffd") == ""
    assert (
        captions_in(None) == captions_in([]) == captions_in([None, ""]) == captions_in("\n") == ()
    )
    assert captions_in(["a", None, "b"]) == ("a", "b")
    for wrong in (1, True, {"a": 1}, ["a", 1], [["a"]]):
        with pytest.raises(ValueError, match="not texts"):
            captions_in(wrong)


WRONG_LABELS = [-7, -1, True, False, 10**20, 2**31, 1.5, 1.0, "-3", "1.0", "x", "", [1], {}, "٣"]


@pytest.mark.parametrize("value", WRONG_LABELS)
def test_labels_that_are_no_numbers_from_0_are_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        label_in(value)
    root = listed(tmp_path / "l", {"file": "0.png", "caption": "a", "label": value})
    with pytest.raises(DataError, match=r"line 1, has no whole number as label, but .*from 0"):
        open_dataset("captions", root)
    members = [("0.png", made.encoded(made.picture(0)))]
    made.tar(tmp_path / "a.tar", [*members, ("0.json", json.dumps({"label": value}).encode())])
    with pytest.raises((DataError, PictureError), match=r"the label of .*0 is .*a number from 0"):
        open_dataset("shards", tmp_path / "a.tar")[0]
    if isinstance(value, int) and not isinstance(value, bool):
        made.tar(tmp_path / "b.tar", [*members, ("0.cls", str(value).encode())])
        with pytest.raises((DataError, PictureError), match="a number from 0"):
            open_dataset("shards", tmp_path / "b.tar")[0]


def test_labels_from_0_are_read() -> None:
    assert [label_in(value) for value in (None, 0, "7", " 12\n", MAX_LABEL)] == [
        -1, 0, 7, 12, MAX_LABEL,
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["caption", "captions", "text"])
def test_null_is_no_caption(key: str, tmp_path: Path) -> None:
    root = listed(tmp_path / "l", {"file": "0.png", key: None}, {"file": "1.png", key: "a"})
    data = open_dataset("captions", root)
    assert [data[i].captions for i in range(2)] == [(), ("a",)] and data[0].caption == ""
    picture = made.encoded(made.picture(0))
    made.tar(
        tmp_path / "a.tar",
        [("0.png", picture), ("0.json", json.dumps({key: None}).encode()),
         ("1.png", picture), ("1.json", json.dumps({key: "a"}).encode())],
    )  # fmt: skip
    data = open_dataset("shards", tmp_path / "a.tar")
    assert [data[i].captions for i in range(2)] == [(), ("a",)] and not data.broken


def test_a_caption_that_is_forgotten_is_a_mistake(tmp_path: Path) -> None:
    for number, line in enumerate([{"file": "0.png"}, {"file": "0.png", "caption": " "}]):
        with pytest.raises(DataError, match="line 1, has no caption"):
            open_dataset("captions", listed(tmp_path / str(number), line))


def test_cubs_captions_with_lost_signs(tmp_path: Path) -> None:
    """Reed et al.'s texts hold pairs of U+FFFD inside words; other loaders write a space."""
    root = made.cub(tmp_path)
    for file in root.rglob("text_c10/*/*.txt"):
        file.write_text("a white\ufffd\ufffdbelly\nsecond\u0085half\n", encoding="utf-8")
    assert open_dataset("cub", root)[0].captions == ("a white belly", "second half")
    for file in root.rglob("text_c10/*/*.txt"):
        file.write_bytes("fenêtre".encode("latin-1"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        open_dataset("cub", root)
