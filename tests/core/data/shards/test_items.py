"""The items of tars: names with dots, fields, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data.contents import summary
from core.data.picture_dataset import PictureDataset
from core.data.shards import TarShards
from core.errors import DataError
from tests.helpers import published_layouts as made


def opened(root: Path, *names: str) -> PictureDataset:
    """Write a tar with these files; a text holds the name of its own file."""
    members = []
    for number, name in enumerate(names):
        picture = made.encoded(made.picture(number))
        members.append((name, name.encode() if name.endswith(".txt") else picture))
    made.tar(root / "a.tar", members)
    return TarShards(root)


@pytest.mark.parametrize(
    "stems",
    [
        ("IMG_1", "shot 10.41.02", "shot 10.42.55", "v1.2_b"),
        ("a/b.c/1", "a/b.c/1.5", "a/b.d/1"),
        ("2024.01.02", "2024.01.03", "2024.02.02"),
        ("1.2.3.4", "1.2.3.5"),
        ("fenêtre.été.1", "fenêtre.été.2"),
        ("..dots", "a..b"),
    ],
)
def test_dots_in_names(stems: tuple[str, ...], tmp_path: Path) -> None:
    data = opened(tmp_path, *(f"{stem}{end}" for stem in stems for end in (".png", ".txt")))
    shown = [stem for stem in stems if not stem.split("/")[-1].startswith(".")]
    assert [data[i].caption for i in range(len(data))] == [f"{stem}.txt" for stem in shown]


def test_fields_of_webdataset(tmp_path: Path) -> None:
    """`0.png` is the item, `0.mask.png` a further field of it."""
    data = opened(tmp_path, "0.png", "0.mask.png", "0.txt", "1.png", "1.mask.png")
    assert len(data) == 2 and data[0].caption == "0.txt"
    assert "2 files are further fields of items" in summary(data, "train")


def test_a_picture_alone_under_a_field(tmp_path: Path) -> None:
    data = opened(tmp_path, "0.image.png", "0.txt", "1.image.png", "1.txt")
    assert [data[i].caption for i in range(2)] == ["0.txt", "1.txt"]


def test_several_pictures_of_an_item_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"4 pictures are several of one item.*0\.input\.png"):
        opened(tmp_path, "0.input.png", "0.target.png", "1.input.png", "1.target.png")
    data = opened(tmp_path, "0.input.png", "0.target.png", "2.png")
    assert len(data) == 1 and "2 pictures are several of one item" in " ".join(data.skipped)


def test_capital_suffixes_and_second_pictures(tmp_path: Path) -> None:
    data = opened(tmp_path, "0.PNG", "0.txt", "1.png", "1.jpg", "2.jxl", "3.SEG.png", "3.png")
    assert len(data) == 3 and data[0].caption == "0.txt"
    said = summary(data, "train")
    assert (
        "1 pictures are further ones" in said
        and "1 .jxl file is not read (convert them to JPEG or PNG)" in said
    )
