"""A folder of pictures of any number of channels: what it says, draws and refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.arrays import array_to_tensor
from core.data import center, open_dataset
from core.data.check import main as check
from core.data.contents import summary
from core.errors import DataError, PictureError


def arrays(root: Path, channels: int, count: int = 4, side: int = 40) -> Path:
    root.mkdir(exist_ok=True)
    draw = np.random.default_rng(0)
    for index in range(count):
        shape = (side, side + 8, channels)
        np.save(root / f"{index}.npy", draw.integers(0, 65536, shape, dtype=np.uint16))
    return root


def test_items_and_draws_have_the_channels_of_the_files(tmp_path: Path) -> None:
    data = open_dataset("folder", arrays(tmp_path / "a", 4), size=16, channels=4)
    assert (data.channels, data.value_range) == (4, "uint16 from 0 to 65,535")
    whole = np.load(tmp_path / "a/0.npy")
    assert torch.equal(data[0].image, array_to_tensor(whole))
    assert "of 4 channels (uint16 from 0 to 65,535)" in summary(data, "train")
    for k in range(8):
        image = data.draw(k).image
        assert image.shape == (4, 16, 16)
        assert -1 <= image.min() < image.max() <= 1
        again = open_dataset("folder", tmp_path / "a", size=16, channels=4)
        assert torch.equal(again.draw(k).image, image)
    square = center(data[0], 20).image
    assert square.shape == (4, 20, 20)
    exact = center(data[0], 40).image  # a crop alone: 16 bits are kept
    assert torch.allclose(exact, data[0].image[:, :, 4:44], atol=1e-6)


def test_crops_and_flips_are_those_of_rgb(tmp_path: Path) -> None:
    """The same pixels as a picture and as a channel of an array give the same draws."""
    for name in ("rgb", "deep"):
        (tmp_path / name).mkdir()
    for index in range(3):
        # smooth: Pillow clamps RGB of 8 bits between the two axes, too
        waves = np.sin(np.arange(40 * 50 * 3).reshape(40, 50, 3) / (150 + 40 * index))
        pixels = np.rint(waves * 100 + 128).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "rgb" / f"{index}.png")
        np.save(tmp_path / "deep" / f"{index}.npy", np.concatenate([pixels, pixels], axis=2))
    color = open_dataset("folder", tmp_path / "rgb", size=24, seed=5)
    deep = open_dataset("folder", tmp_path / "deep", size=24, seed=5, channels=6)
    for k in range(6):
        a, b = color.draw(k).image, deep.draw(k).image
        assert torch.equal(b[:3], b[3:])
        assert float((a - b[:3]).abs().max()) < 2 / 127.5  # Pillow rounds RGB to 8 bits


def test_gray_pictures_are_one_channel_where_one_is_asked_for(tmp_path: Path) -> None:
    for index, kind in enumerate((np.uint8, np.uint16)):
        pixels = np.full((20, 20), np.iinfo(kind).max, kind)
        Image.fromarray(pixels).save(tmp_path / f"{index}.{'png' if index else 'tif'}")
    gray = open_dataset("folder", tmp_path, size=16, channels=1)
    assert gray.draw(0).image.shape == (1, 16, 16)
    assert gray.value_range == "uint16 from 0 to 65,535, uint8 from 0 to 255"
    assert float(gray.draw(1).image.min()) == 1
    color = open_dataset("folder", tmp_path, size=16)
    assert color.draw(0).image.shape == (3, 16, 16)


def test_large_pictures_are_kept_smaller(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1100, 1300, 2), np.uint8))
    data = open_dataset("folder", tmp_path, size=8, channels=2)
    data.draw(0)
    assert [pixels.shape for pixels, _ in data._cache.values()] == [(1024, 1210, 2)]


def test_arrays_of_three_channels_are_read_if_there_are_no_other_pictures(tmp_path: Path) -> None:
    data = open_dataset("folder", arrays(tmp_path / "a", 3), size=16)
    assert data.draw(0).image.shape == (3, 16, 16)
    Image.new("RGB", (20, 20)).save(tmp_path / "a/picture.png")
    beside = open_dataset("folder", tmp_path / "a", size=16)
    assert len(beside) == 1
    assert "4 .npy files are not read" in summary(beside, "train")


def test_other_channels_than_asked_for_are_refused_at_once(tmp_path: Path) -> None:
    root = arrays(tmp_path / "a", 4)
    words = r"a/0.npy has 4 channels, but {} expected; set channels to 4 \(--tokenizer.channels 4 "
    with pytest.raises(DataError, match=words.format("3 are")):
        open_dataset("folder", root)
    with pytest.raises(DataError, match=words.format("1 is")):
        open_dataset("folder", root, channels=1)
    (tmp_path / "b").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "b/photo.png")
    with pytest.raises(DataError, match=r"photo.png has 3 channels, but 1 is expected"):
        open_dataset("folder", tmp_path / "b", channels=1)


def test_a_mixed_folder_is_refused(tmp_path: Path) -> None:
    root = arrays(tmp_path / "a", 4)
    Image.new("L", (40, 40)).save(root / "gray.png")
    words = r"a mixes pictures of 1 channel \(gray.png\) and of 4 \(0.npy\); keep those of one"
    with pytest.raises(DataError, match=words):
        open_dataset("folder", root, channels=4)


def test_a_picture_of_other_channels_among_many_is_skipped_and_named(tmp_path: Path) -> None:
    root = arrays(tmp_path / "a", 2, count=120, side=8)
    np.save(root / "100.npy", np.zeros((8, 8, 5), np.uint8))
    data = open_dataset("folder", root, size=8, channels=2)
    index = [file.name for file in data.files].index("100.npy")
    with pytest.raises(PictureError, match=r"100.npy has 5 channels, but 2 are expected"):
        data[index]
    assert all(data.draw(k).image.shape == (2, 8, 8) for k in range(120))
    np.save(root / "101.npy", np.full((8, 8, 2), np.nan))
    with pytest.raises(DataError, match=r"2 of the 120 files .* at most 1% may be skipped"):
        data[[file.name for file in data.files].index("101.npy")]


@pytest.mark.parametrize("channels", [0, 17])
def test_channels_outside_1_to_16_are_refused(tmp_path: Path, channels: int) -> None:
    with pytest.raises(DataError, match=f"channels must be a whole .* 1 to 16, got {channels}"):
        open_dataset("folder", tmp_path, channels=channels)


def test_data_sets_of_color_refuse_other_channels() -> None:
    with pytest.raises(DataError, match=r"'scenes' have 3 channels and not 4; set channels to 3"):
        open_dataset("scenes", channels=4)


def test_check_reads_channels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, sheet = arrays(tmp_path / "a", 2), tmp_path / "sheet.png"
    flags = ["check", "folder", "--root", str(root), "--split", "train", "--sheet", str(sheet)]
    assert check([*flags, "--channels", "2"]) == 0
    assert "of 2 channels (uint16 from 0 to 65,535)" in capsys.readouterr().out
    assert sheet.exists()
    assert check(flags) == 2
    assert "0.npy has 2 channels, but 3 are expected" in capsys.readouterr().err
