"""core.data.datasets.folder: draws that depend on (seed, k) alone, and broken files."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.data import Sample, open_dataset, picture_dataset
from core.data.datasets.folder import PictureFolder, split_folder
from core.errors import DataError, PictureError
from core.images import open_picture, to_pixels, to_tensor
from tests.helpers.odd_pictures import write_all

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # a correct warning of Pillow


def write_plain(root: Path, count: int, size: tuple[int, int] = (20, 16)) -> None:
    """Write pictures of one gray level each, so that any crop identifies its file."""
    root.mkdir(exist_ok=True)
    for index in range(count):
        Image.new("RGB", size, (index,) * 3).save(root / f"{index:03d}.png")


def write_broken(root: Path, *indices: int) -> None:
    for index in indices:
        (root / f"{index:03d}.png").write_bytes(b"broken")


def write_ramp(root: Path, width: int, height: int) -> None:
    """Write a picture whose red is the column and whose green is the row, as parts of 255."""
    root.mkdir(exist_ok=True)
    rows, columns = np.mgrid[:height, :width]
    red, green = (columns + 0.5) / width * 255, (rows + 0.5) / height * 255
    array = np.stack([red, green, 0 * red], axis=2)
    Image.fromarray(np.rint(array).astype(np.uint8)).save(root / "ramp.png")


def boxes(dataset: PictureFolder, width: int, height: int, draws: int) -> np.ndarray:
    """Return (draws, 5): left, top, width and height of each crop in ramp pixels, and flipped."""
    found = []
    for k in range(draws):
        image = (dataset.draw(k).image.double().numpy() + 1) / 2
        inner = slice(4, -4)  # away from the filter's edges
        red, green = image[0].mean(0)[inner] * width, image[1].mean(1)[inner] * height
        step_x, step_y = np.diff(red).mean(), np.diff(green).mean()
        crop_width, crop_height = abs(step_x) * dataset.size, step_y * dataset.size
        center_x, center_y = image[0].mean() * width, image[1].mean() * height
        found.append(
            (
                center_x - crop_width / 2,
                center_y - crop_height / 2,
                crop_width,
                crop_height,
                step_x < 0,
            )
        )
    return np.array(found)


def level(sample: Sample) -> int:
    levels = np.unique(to_pixels(sample.image))
    assert len(levels) == 1
    return int(levels[0])


class TestDraw:
    def test_shape_and_range(self, photos: Path):
        dataset = PictureFolder(photos, size=48)
        sample = dataset.draw(5)
        assert isinstance(sample, Sample) and dataset.name == "folder" and len(dataset) == 12
        assert sample.image.shape == (3, 48, 48) and sample.image.dtype == torch.float32
        assert -1 <= sample.image.min() < sample.image.max() <= 1
        assert (sample.caption, sample.segmentation, sample.label) == ("", None, -1)

    def test_is_a_function_of_seed_and_k(self, photos: Path):
        first = PictureFolder(photos, size=32, seed=3)
        draws = [first.draw(k).image for k in range(30)]
        uncached = PictureFolder(photos, size=32, seed=3, cache_mb=0)
        copied = pickle.loads(pickle.dumps(first))
        for k in reversed(range(30)):
            for dataset in (first, uncached, copied):
                assert torch.equal(dataset.draw(k).image, draws[k])
        other = PictureFolder(photos, size=32, seed=4)
        assert not any(torch.equal(other.draw(k).image, draws[k]) for k in range(30))

    def test_threads_get_the_same_draws(self, photos: Path):
        want = [PictureFolder(photos, size=24).draw(k).image for k in range(40)]
        shared = PictureFolder(photos, size=24)
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda k: shared.draw(k).image, range(40)))
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))

    def test_an_epoch_is_a_permutation(self, tmp_path: Path):
        write_plain(tmp_path, 30)
        dataset = PictureFolder(tmp_path, size=8, seed=1)
        epochs = [[level(dataset.draw(30 * e + i)) for i in range(30)] for e in range(3)]
        assert all(sorted(epoch) == list(range(30)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 3

    def test_crops_lie_inside_and_are_never_enlarged(self, tmp_path: Path):
        write_ramp(tmp_path, 256, 192)
        found = boxes(PictureFolder(tmp_path, size=32, seed=2), 256, 192, 400)
        left, top, width, height, _ = found.T
        assert left.min() > -2 and (left + width).max() < 258
        assert top.min() > -2 and (top + height).max() < 194
        assert min(width.min(), height.min()) > 32 - 1
        aspect = (width / height)[width > 80]  # the ramp is too coarse for smaller crops
        assert 0.73 < aspect.min() < 0.8 and 1.25 < aspect.max() < 1.37
        # The side is log-uniform in [32, 192]: its median is their geometric mean.
        side = np.sqrt(width * height)
        assert side.min() < 36 and side.max() > 180
        assert abs(np.log(np.median(side)) - np.log(np.sqrt(32 * 192))) < 0.15
        # Positions reach all borders.
        assert left.min() < 4 and top.min() < 4
        assert (left + width).max() > 252 and (top + height).max() > 188

    def test_crop_scale_is_a_share_of_the_short_side(self, tmp_path: Path):
        write_ramp(tmp_path, 240, 160)
        found = boxes(PictureFolder(tmp_path, size=24, crop_scale=(0.5, 0.75)), 240, 160, 100)
        side = np.sqrt(found[:, 2] * found[:, 3])
        assert 77 < side.min() < 86 and 114 < side.max() < 123

    def test_whole_squares_are_not_stretched(self, tmp_path: Path):
        write_ramp(tmp_path, 240, 160)
        data = PictureFolder(tmp_path, size=32, crop_scale=(1.0, 1.0))
        found = boxes(data, 240, 160, 60)
        assert np.abs(found[:, 2:4] - 160).max() < 4
        assert found[:, 0].min() < 8 and (found[:, 0] + found[:, 2]).max() > 232

    @pytest.mark.parametrize("aspect", [1.0, 2.0])
    def test_the_aspect_is_a_setting(self, tmp_path: Path, aspect: float):
        write_ramp(tmp_path, 256, 256)
        data = open_dataset("folder", tmp_path, size=32, crop=(0.5, 0.6), aspect=aspect)
        found = boxes(data, 256, 256, 100)
        ratio = found[:, 2] / found[:, 3]
        assert 0.9 < ratio.max() / aspect < 1.1 and 0.9 < ratio.min() * aspect < 1.1

    @pytest.mark.parametrize("size", [(240, 160), (160, 240)])
    def test_stretched_pictures_are_seen_whole(self, tmp_path: Path, size: tuple[int, int]):
        write_ramp(tmp_path, *size)
        data = open_dataset("folder", tmp_path, size=32, crop=(1, 1), stretch=True)
        assert data[0].image.shape == (3, 160, 160)
        whole = open_dataset("folder", tmp_path)[0].image
        for image in (data[0].image, *(data.draw(k).image for k in range(8))):
            for of in (torch.amin, torch.amax):
                assert (of(image, (1, 2)) - of(whole, (1, 2))).abs().max() < 0.1

    def test_half_are_flipped_by_default(self, tmp_path: Path):
        write_ramp(tmp_path, 64, 64)
        flipped = boxes(PictureFolder(tmp_path, size=16), 64, 64, 300)[:, 4]
        assert 0.4 < flipped.mean() < 0.6
        straight = boxes(PictureFolder(tmp_path, size=16, flip=False), 64, 64, 100)[:, 4]
        assert not straight.any()

    def test_shrinking_averages(self, tmp_path: Path):
        board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
        Image.fromarray(board).save(tmp_path / "board.png")
        image = PictureFolder(tmp_path, size=32, crop_scale=(1.0, 1.0)).draw(0).image
        assert image[:, 4:-4, 4:-4].abs().max() < 0.08  # gray; picking single pixels would give +-1

    @pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (63, 65), (64, 64), (30, 200)])
    def test_small_and_thin_pictures_are_filled(self, tmp_path: Path, size: tuple[int, int]):
        Image.new("RGB", size, (9, 99, 199)).save(tmp_path / "small.png")
        dataset = PictureFolder(tmp_path, size=64)
        for k in range(20):
            assert (to_pixels(dataset.draw(k).image) == (9, 99, 199)).all()

    def test_no_negative_draw(self, tmp_path: Path):
        write_plain(tmp_path, 1)
        with pytest.raises(IndexError, match="-1"):
            PictureFolder(tmp_path).draw(-1)


class TestItems:
    def test_the_whole_picture(self, tmp_path: Path):
        write_all(tmp_path, "reads")
        dataset = PictureFolder(tmp_path)
        samples = list(dataset)
        assert len(samples) == len(dataset) == len(dataset.files)
        for path, sample in zip(dataset.files, samples, strict=True):
            assert torch.equal(sample.image, to_tensor(open_picture(path))), path

    def test_items_are_not_shrunk_by_the_cache(self, tmp_path: Path):
        Image.new("RGB", (2200, 1100)).save(tmp_path / "large.png")
        dataset = PictureFolder(tmp_path, size=16)
        dataset.draw(0)
        assert dataset[0].image.shape == (3, 1100, 2200)
        assert dataset._cache[0][0].shape == (1024, 2048, 3)

    def test_indices_count_from_either_end(self, tmp_path: Path):
        write_plain(tmp_path, 3)
        dataset = PictureFolder(tmp_path)
        assert level(dataset[-1]) == 2
        with pytest.raises(IndexError):
            dataset[3]


class TestCache:
    @pytest.fixture
    def opened(self, monkeypatch) -> list[Path]:
        opened: list[Path] = []

        def counting(path: Path, **options: object) -> Image.Image:
            opened.append(path)
            return open_picture(path, **options)

        monkeypatch.setattr(picture_dataset, "open_picture", counting)
        return opened

    def test_each_file_is_decoded_once(self, tmp_path: Path, opened: list[Path]):
        write_plain(tmp_path, 10)
        dataset = PictureFolder(tmp_path, size=8)
        for k in range(50):
            dataset.draw(k)
        assert sorted(opened) == dataset.files

    def test_a_broken_file_is_tried_once(self, tmp_path: Path, opened: list[Path]):
        write_plain(tmp_path, 100)
        write_broken(tmp_path, 3)
        dataset = PictureFolder(tmp_path, size=8)
        for k in range(300):
            dataset.draw(k)
        assert opened.count(tmp_path / "003.png") == 1

    def test_without_room_each_draw_decodes(self, tmp_path: Path, opened: list[Path]):
        write_plain(tmp_path, 10)
        dataset = PictureFolder(tmp_path, size=8, cache_mb=0)
        for k in range(50):
            dataset.draw(k)
        assert len(opened) == 50

    def test_the_cache_keeps_the_first_items_that_fit(self, tmp_path: Path, opened: list[Path]):
        write_plain(tmp_path, 10, size=(256, 256))  # 192 KiB each
        dataset = PictureFolder(tmp_path, size=8, cache_mb=1)
        for k in range(30):
            dataset.draw(k)
        kept = [path for path in dataset.files if opened.count(path) == 1]
        assert kept == sorted(opened[:5]) and len(opened) == 5 + 3 * 5

    def test_a_pickled_copy_has_no_cache(self, tmp_path: Path):
        write_plain(tmp_path, 4, size=(256, 256))
        dataset = PictureFolder(tmp_path, size=8)
        for k in range(4):
            dataset.draw(k)
        assert len(pickle.dumps(dataset)) < 10_000


class TestBroken:
    def test_up_to_one_percent_is_skipped_counted_and_replaced(self, tmp_path: Path):
        write_plain(tmp_path, 200)
        write_broken(tmp_path, 50, 150)
        dataset = PictureFolder(tmp_path, size=8)
        levels = [level(dataset.draw(k)) for k in range(400)]
        assert set(levels) == set(range(200)) - {50, 150}
        assert {path.name for path in dataset.broken} == {"050.png", "150.png"}
        for path, message in dataset.broken.items():
            assert path in dataset.files
            assert message.startswith(path.name) and message.endswith(".")
        again = PictureFolder(tmp_path, size=8)
        assert [level(again.draw(k)) for k in reversed(range(400))] == levels[::-1]

    @pytest.mark.parametrize(("count", "broken"), [(200, (1, 2, 3)), (20, (7,)), (99, (98,))])
    def test_more_than_one_percent_stops(self, tmp_path: Path, count: int, broken: tuple[int, ...]):
        write_plain(tmp_path, count)
        write_broken(tmp_path, *broken)
        dataset = PictureFolder(tmp_path, size=8)
        with pytest.raises(DataError) as caught:
            for k in range(count):
                dataset.draw(k)
        message = str(caught.value)
        assert f"{len(broken)} of the {count} files" in message and "1%" in message
        assert all(f"{index:03d}.png" in message for index in broken)
        assert "repair or remove" in message and str(tmp_path) in message
        assert message.endswith(".") and "\n" not in message
        assert len(dataset.broken) == len(broken)

    def test_broken_files_of_workers_are_counted_together(self, tmp_path: Path):
        write_plain(tmp_path, 100)
        write_broken(tmp_path, 10, 20)
        dataset = PictureFolder(tmp_path, size=8)
        first, second = (pickle.loads(pickle.dumps(dataset)) for _ in range(2))
        for worker, index in ((first, 10), (second, 20)):
            with pytest.raises(PictureError):
                worker[index]
        for path, message in first.broken.items():
            dataset.note_broken(path, message)
        assert dataset.broken == first.broken
        with pytest.raises(DataError, match=r"2 of the 100 files.*010\.png, 020\.png"):
            dataset.note_broken(*next(iter(second.broken.items())))

    def test_all_broken_stops(self, tmp_path: Path):
        write_all(tmp_path, "refused")
        with pytest.raises(DataError, match="1 of the"):
            PictureFolder(tmp_path).draw(0)

    def test_every_kind_of_odd_picture(self, tmp_path: Path, monkeypatch):
        """Each one is drawn, or noted while another takes its place, as its entry says."""
        odd = write_all(tmp_path)
        refused = {
            path: entry for path, entry in odd if entry.outcome == "refused" and not path.is_dir()
        }
        monkeypatch.setattr(picture_dataset, "MAX_BROKEN", 0.9)
        dataset = PictureFolder(tmp_path, size=8)
        for k in range(len(dataset)):
            assert dataset.draw(k).image.shape == (3, 8, 8)
        assert dataset.broken.keys() == refused.keys()
        for path, entry in refused.items():
            entry.check_message(dataset.broken[path])

    def test_whole_pictures_are_refused_by_name_or_left_out(self, tmp_path: Path):
        write_plain(tmp_path, 100)
        write_broken(tmp_path, 4)
        dataset = PictureFolder(tmp_path)
        with pytest.raises(PictureError, match=r"^004\.png is"):
            dataset[4]
        assert list(dataset.broken) == [tmp_path / "004.png"]
        assert [level(sample) for sample in dataset] == [i for i in range(100) if i != 4]
        write_broken(tmp_path, 5)
        with pytest.raises(DataError, match="2 of the 100 files"):
            list(dataset)

    def test_a_file_that_vanishes_is_broken_too(self, tmp_path: Path):
        write_plain(tmp_path, 100)
        dataset = PictureFolder(tmp_path, size=8)
        (tmp_path / "042.png").unlink()
        assert 42 not in {level(dataset.draw(k)) for k in range(100)}
        assert "does not exist" in dataset.broken[tmp_path / "042.png"]


class TestOpening:
    def test_wrong_roots(self, tmp_path: Path):
        (tmp_path / "notes.txt").write_text("no pictures here")
        wrong = {
            tmp_path: "holds no pictures",
            tmp_path / "missing": "does not exist",
            tmp_path / "notes.txt": "is a file, not a folder",
            None: "needs a root",
        }
        for root, words in wrong.items():
            with pytest.raises(DataError, match=words) as caught:
                open_dataset("folder", root)
            assert "\n" not in str(caught.value) and str(caught.value).endswith(".")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"size": 0}, "size"),
            ({"seed": -1}, "seed"),
            ({"cache_mb": -1}, "cache_mb"),
            ({"crop_scale": (0.5, 0.2)}, "crop_scale"),
            ({"crop_scale": (0.0, 1.2)}, "crop_scale"),
            ({"crop_scale": (0.0, 0.0)}, "crop_scale"),
        ],
    )
    def test_wrong_options(self, photos: Path, options: dict, words: str):
        with pytest.raises(DataError, match=words):
            PictureFolder(photos, **options)

    def test_by_name(self, photos: Path):
        dataset = open_dataset("folder", photos, size=40, seed=9)
        assert isinstance(dataset, PictureFolder) and dataset.root == photos
        assert dataset.files == sorted(photos.iterdir())
        same = PictureFolder(photos, size=40, seed=9)
        assert torch.equal(dataset.draw(3).image, same.draw(3).image)

    def test_crop_is_passed_on(self, photos: Path):
        dataset = open_dataset("folder", photos, size=16, crop=(0.5, 0.5))
        assert torch.equal(
            dataset.draw(2).image,
            PictureFolder(photos, size=16, crop_scale=(0.5, 0.5)).draw(2).image,
        )
        with pytest.raises(DataError, match="crop"):
            open_dataset("folder", photos, crop=(0.5, 0.2))

    def test_unknown_names(self, photos: Path):
        with pytest.raises(DataError, match=r"unknown data set 'photos'.*scenes, folder"):
            open_dataset("photos", photos)
        with pytest.raises(DataError, match=r"unknown split 'tset'.*train, val, test"):
            open_dataset("folder", photos, split="tset")
        with pytest.raises(DataError, match="size"):
            open_dataset("folder", photos, size=0)
        with pytest.raises(DataError, match=r"aspect must be at least 1, got 0\.5"):
            open_dataset("folder", photos, aspect=0.5)
        with pytest.raises(DataError, match="'scenes' does not crop pictures"):
            open_dataset("scenes", aspect=2.0)
        with pytest.raises(DataError, match="does not crop pictures: leave out the stretch"):
            open_dataset("scenes", stretch=True)
        with pytest.raises(DataError, match="seed"):
            open_dataset("folder", photos, seed=-1)

    def test_splits(self, tmp_path: Path):
        assert split_folder(tmp_path, "test") == tmp_path
        (tmp_path / "train").mkdir()
        assert split_folder(tmp_path, "train") == tmp_path  # it may be the class of trains
        (tmp_path / "validation").mkdir()
        assert split_folder(tmp_path, "train") == tmp_path / "train"
        assert split_folder(tmp_path, "val") == tmp_path / "validation"
        assert split_folder(tmp_path, "test") == tmp_path / "validation"
        (tmp_path / "test").mkdir()
        assert split_folder(tmp_path, "val") == tmp_path / "validation"
        assert split_folder(tmp_path, "test") == tmp_path / "test"

    def test_open_dataset_takes_the_split(self, tmp_path: Path):
        write_plain(tmp_path / "train", 3)
        write_plain(tmp_path / "test", 2)
        assert [len(open_dataset("folder", tmp_path, split=s)) for s in ("train", "test")] == [3, 2]


class TestScenesByName:
    def test_splits_do_not_overlap(self):
        images = {
            split: [open_dataset("scenes", size=16, split=split)[i].image for i in range(6)]
            for split in ("train", "val", "test")
        }
        everything = [image.numpy().tobytes() for group in images.values() for image in group]
        assert len(set(everything)) == 18
        assert images["train"][0].shape == (3, 16, 16)

    def test_scenes_take_no_root(self, photos: Path):
        with pytest.raises(DataError, match="leave out the root"):
            open_dataset("scenes", photos)
