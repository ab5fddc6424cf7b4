"""Splits under any word: of folders, of the lines of lists, and of shards."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.data import has_held_out, open_dataset
from core.data.contents import summary
from core.data.splits import WORDS, split_of_name, split_of_word
from core.errors import DataError
from tests.helpers import published_layouts as made

HELD = [(split, word) for split in ("val", "test") for word in WORDS[split]]


def styles(word: str) -> set[str]:
    return {word, word.upper(), word.capitalize()}


def lines(root: Path, words: Sequence[str | None]) -> Path:
    """Write a list of one picture per word; the word is its split."""
    for number in range(len(words)):
        made.save(root / f"{number}.png", made.picture(number))
    facts = [{"file": f"{n}.png", "caption": f"{n}"} for n in range(len(words))]
    for each, word in zip(facts, words, strict=True):
        each |= {} if word is None else {"split": word}
    made.write(root / "captions.jsonl", *map(json.dumps, facts))
    return root


def names(data_set: str, root: Path, split: str) -> set[str]:
    data = open_dataset(data_set, root, split=split)
    return {path.relative_to(root).as_posix() for path in data.files}


@pytest.mark.parametrize(("split", "word"), HELD)
@pytest.mark.parametrize("train", WORDS["train"])
def test_every_word_separates(split: str, word: str, train: str, tmp_path: Path) -> None:
    root = lines(tmp_path / "list", [train.title(), train, train.upper(), word, word.upper()])
    assert names("captions", root, "train") == {"0.png", "1.png", "2.png"}
    for each in ("val", "test"):
        assert names("captions", root, each) == {"3.png", "4.png"}
    assert has_held_out("captions", root)
    root = tmp_path / "folders"
    made.save(root / train.title() / "a.png", made.picture(0))
    made.save(root / word.upper() / "b.png", made.picture(1))
    assert names("folder", root, "train") == {f"{train.title()}/a.png"}
    assert (
        names("folder", root, "test") == names("folder", root, "val") == {f"{word.upper()}/b.png"}
    )
    root = tmp_path / "shards"
    picture = made.encoded(made.picture(0))
    made.tar(root / f"{train.title()}-000.tar", [("a.png", picture)])
    made.tar(root / f"my_{word}-000.tar", [("b.png", picture)])
    assert names("shards", root, "train") == {f"{train.title()}-000.tar/a.png"}
    assert names("shards", root, "test") == {f"my_{word}-000.tar/b.png"}


@pytest.mark.parametrize("word", ["validatoin", "fold1", "", " ", "train/val", 3, True, ["val"]])
def test_an_unknown_word_is_refused_with_its_line(word: object, tmp_path: Path) -> None:
    root = lines(tmp_path, ["train", "train", word])  # type: ignore[list-item]
    for split in ("train", "val", "test"):
        with pytest.raises(DataError, match=r"captions.jsonl, line 3, names the split .*unknown"):
            open_dataset("captions", root, split=split)


def test_lines_without_a_split_are_reported(tmp_path: Path) -> None:
    root = lines(tmp_path, ["train", None, "val", None])
    data = open_dataset("captions", root)
    assert len(data) == 1 and len(data.skipped) == 2
    assert "line 2 of captions.jsonl names no split" in data.skipped[0]
    assert "line 4 of captions.jsonl names no split" in summary(data, "train")


@pytest.mark.parametrize("other", ["0.png", "./0.png", "a/../0.png"])
def test_one_picture_in_two_splits_is_refused(tmp_path: Path, other: str) -> None:
    root = lines(tmp_path, ["train", "val"])
    file = root / "captions.jsonl"
    file.write_text(file.read_text().replace("1.png", other))
    with pytest.raises(
        DataError, match=rf"puts {re.escape(other)} into train \(line 1\) and into val \(line 2"
    ):
        open_dataset("captions", root)


def test_a_list_in_each_folder_of_a_split(tmp_path: Path) -> None:
    """The layout of an `imagefolder`: metadata.jsonl in train/ and test/."""
    for number, part in enumerate(("train", "test")):
        made.save(tmp_path / part / "0.png", made.picture(number))
        line = {"file_name": "0.png", "text": part}
        made.write(tmp_path / part / "metadata.jsonl", json.dumps(line))
    assert open_dataset("captions", tmp_path)[0].caption == "train"
    assert open_dataset("captions", tmp_path, split="test")[0].caption == "test"


def test_files_of_a_list_in_split_folders(tmp_path: Path) -> None:
    """A list in the root whose lines name no splits, with files in folders that do."""
    rows = []
    for number, part in enumerate(("train", "train", "dev")):
        made.save(tmp_path / part / f"{number}.png", made.picture(number))
        rows.append(json.dumps({"file": f"{part}\\{number}.png", "caption": "a"}))
    made.write(tmp_path / "captions.jsonl", *rows)
    assert names("captions", tmp_path, "train") == {"train/0.png", "train/1.png"}
    assert names("captions", tmp_path, "val") == {"dev/2.png"}


def test_names_of_folders() -> None:
    for name, split in {
        "Train": "train", "TRAINING": "train", "train2017": "train", "trainSet": "train",
        "train_images": "train", "my photos": None, "train station": None, "test": "test",
        "held-out": "test", "Hold_Out": "test", "val_split": "val", "devset": "val",
        "evaluation images": "val", "train_val": None, "trains": None, "latest": None,
    }.items():  # fmt: skip
        assert split_of_name(name) == split, name
    assert [split_of_word(w) for w in ("Held-out", " val ", None, 3)] == ["test", "val", None, None]


def test_no_splits_are_said(tmp_path: Path) -> None:
    made.save(tmp_path / "train" / "a.png", made.picture(0))
    made.save(tmp_path / "b.png", made.picture(0))
    data = open_dataset("folder", tmp_path)
    assert len(data) == 2 and not has_held_out("folder", tmp_path)
    assert "train/ alone makes no splits" in summary(data, "train")
    made.save(tmp_path / "val" / "c.png", made.picture(0))
    made.save(tmp_path / "more" / "d.png", made.picture(0))
    said = summary(open_dataset("folder", tmp_path), "train")
    assert "only the folders of the splits are read, not more/, 1 pictures beside them" in said


def test_two_folders_of_one_split_are_refused(tmp_path: Path) -> None:
    for part in ("Train", "training", "val"):
        made.save(tmp_path / part / "a.png", made.picture(0))
    with pytest.raises(DataError, match="several folders of the split 'train', Train and training"):
        open_dataset("folder", tmp_path)


def test_shards_of_no_split_beside_others_are_reported(tmp_path: Path) -> None:
    for name in ("train-0", "dev-0", "extra-0"):
        made.tar(tmp_path / f"{name}.tar", [(f"{name}.png", made.encoded(made.picture(0)))])
    data = open_dataset("shards", tmp_path)
    assert len(data) == 1 and "extra-0.tar" in " ".join(data.skipped)
