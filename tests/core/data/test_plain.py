"""A plain folder of pictures in place of a named data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.data import fitting_name
from tests.helpers import published_layouts as made


@pytest.mark.parametrize("name", made.LAYOUTS)
def test_layouts_are_known(name: str, tmp_path: Path) -> None:
    """Complete or with any part missing, a layout is never taken for a plain folder."""
    root = made.LAYOUTS[name](tmp_path / "data")
    assert fitting_name(name, root) == name
    base = root / "ADEChallengeData2016" if name == "ade20k" else root
    parts = sorted(base.iterdir())
    if name in ("captions", "facades", "parquet"):
        return  # only one part identifies them; pictures without it are a plain folder
    for part in parts:
        aside = part.rename(tmp_path / "aside")
        made.save(root / "more" / "a.jpg", made.picture(0))
        assert fitting_name(name, root) == name, f"without {part.name}"
        aside.rename(part)


@pytest.mark.parametrize("name", made.LAYOUTS)
def test_plain_folders_are_recognized(name: str, tmp_path: Path) -> None:
    assert fitting_name(name, tmp_path) == name  # the root is empty: the loader raises the error
    made.save(tmp_path / "nature_pictures" / "deep" / "a.JPG", made.picture(0))
    assert fitting_name(name, tmp_path) == "folder"
    made.write(tmp_path / "README.md", "words")
    assert fitting_name(name, str(tmp_path)) == "folder"
    shutil.rmtree(tmp_path / "nature_pictures")
    assert fitting_name(name, tmp_path) == name


def test_other_roots_keep_the_name(tmp_path: Path) -> None:
    made.save(tmp_path / "a.png", made.picture(0))
    assert fitting_name("scenes", None) == "scenes"
    assert fitting_name("folder", tmp_path) == "folder"
    assert fitting_name("ade20k", None) == "ade20k"
    assert fitting_name("ade20k", tmp_path / "gone") == "ade20k"
    assert fitting_name("ade20k", tmp_path / "a.png") == "ade20k"
    assert fitting_name("shards", Path("https://host/train-{0..3}.tar")) == "shards"


@pytest.mark.parametrize(
    "trace",
    [
        ("imagenet", "train/n01440764.tar"), ("imagenet", "ILSVRC2012_img_train.tar"),
        ("ade20k", "ADEChallengeData2016.zip"), ("celebamask", "CelebAMask-HQ.zip"),
        ("cub", "CUB_200_2011.tgz"), ("coco", "train2017.zip"), ("flickr8k", "Flickr8k_text.zip"),
        ("shards", "a.tar.gz"),
    ],
)  # fmt: skip
def test_an_archive_beside_pictures_is_a_trace(trace: tuple[str, str], tmp_path: Path) -> None:
    name, file = trace
    made.save(tmp_path / "pictures" / "a.png", made.picture(0))
    made.write(tmp_path / file, "")
    assert fitting_name(name, tmp_path) == name
