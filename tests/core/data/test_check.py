"""``python -m core.data check``: its counts, the problems it finds, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from core.data.check import main
from core.paths import ROOT
from tests.helpers import fresh
from tests.helpers import published_layouts as made


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["check", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("name", made.LAYOUTS)
def test_a_whole_data_set(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = made.LAYOUTS[name](tmp_path / "data")
    sheet = tmp_path / "sheets" / "sheet.png"
    code, out, _ = check(capsys, name, "--root", root, "--sheet", sheet, "--limit", 4)
    assert code == 0 and "!" not in out, out
    assert "terms: " in out and "train: " in out
    with Image.open(sheet) as picture:
        colors = picture.convert("RGB").getcolors(1 << 20)
    assert picture.width > 250 and len(colors) > 50


def test_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = check(capsys, "ade20k", "--root", made.ade20k(tmp_path), "--split", "train")
    assert code == 0
    assert "train: 4 items (20,210 are published), 4 read" in out
    # One map is half wall, half flag; three are half unlabeled, half flag.
    assert (
        "maps: 4, 2 of 150 classes occur, 37.5% unlabeled; most frequent: flag 50.0%, wall 12.5%"
        in out
    )
    code, out, _ = check(capsys, "coco", "--root", made.coco(tmp_path / "c"), "--split", "val")
    assert "captions: 4, 2.0 per item" in out
    code, out, _ = check(capsys, "cub", "--root", made.cub(tmp_path / "b"), "--split", "train")
    assert code == 0 and "labels: 4 items of 2 classes" in out
    assert "boxes: 4, 20x10 pixels on average" in out
    assert "attributes: 2 names, 1.2 per item" in out
    (tmp_path / "b" / "attributes.txt").unlink()
    code, out, _ = check(capsys, "cub", "--root", tmp_path / "b", "--split", "train")
    assert code == 1 and "attributes.txt is missing; extract CUB_200_2011.tgz again." in out


def test_everything_wrong_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.ade20k(tmp_path)
    base = tmp_path / "ADEChallengeData2016"
    made.save(base / "annotations" / "training" / "ADE_train_00000000.png", made.halves(1, 200))
    (base / "images" / "training" / "ADE_train_00000001.jpg").write_bytes(b"")
    code, out, _ = check(capsys, "ade20k", "--root", tmp_path, "--split", "train")
    problems = [line for line in out.splitlines() if line.startswith("  ! ")]
    assert code == 1 and len(problems) == 2 and "4 items" in out and "2 read" in out
    assert "label value 200" in problems[0]
    assert "ADE_train_00000001.jpg is empty" in problems[1]


def test_uneven_captions_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = made.encoded(made.picture(0))
    made.tar(tmp_path / "a.tar", [("1.png", picture), ("1.txt", b"one"), ("2.png", picture)])
    code, out, _ = check(capsys, "shards", "--root", tmp_path)
    assert code == 1 and "1 items have no caption, but others do." in out


def test_missing_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f'{{"file": "{number}.png", "caption": "a"}}' for number in range(100)]
    made.write(tmp_path / "captions.jsonl", *lines)
    for number in range(99):
        made.save(tmp_path / f"{number}.png", made.picture(0, (2, 2)))
    code, out, _ = check(capsys, "captions", "--root", tmp_path, "--split", "train")
    assert code == 1 and "! 99.png is missing." in out


def test_scenes(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = check(capsys, "scenes", "--split", "val", "--limit", 3)
    assert code == 0 and "val: 5,000 items, 3 read" in out and "captions: 3" in out
    assert "maps of 24 classes" in out and "terms: Apache-2.0" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("ade20k", "--root", "{tmp}/gone"),
        ("ade20k", "--root", "{tmp}"),
        ("ade20k",),
        ("imagenet21k", "--root", "{tmp}"),
        ("scenes", "--limit", "0"),
        ("scenes", "--sheet", "{tmp}/sheet"),
    ],
)
def test_mistakes(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = check(capsys, *(text.format(tmp=tmp_path) for text in arguments))
    assert code == 2
    assert said.startswith("error: ") and said.count("\n") == 1


def test_the_command_itself(tmp_path: Path) -> None:
    words = ["-m", "core.data", "check", "camvid", "--root", tmp_path]
    done = fresh.run(words, ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
