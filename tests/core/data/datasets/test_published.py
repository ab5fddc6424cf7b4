"""Data sets in published layouts: how they are read, and which errors they raise."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.data import Sample
from core.data.datasets.cub import CUB
from core.data.picture_dataset import Entry, PictureDataset
from core.data.registry import NAMES, PUBLISHED, has_held_out, open_dataset
from core.errors import DataError, PictureError
from core.images import to_pixels, to_tensor
from tests.helpers import published_layouts as made

MAPPED = ("shards", "ade20k", "celebamask", "coco", "camvid", "facades")
CAPTIONED = ("captions", "shards", "cub", "coco", "flickr8k", "parquet")


def shows(sample: Sample, seed: int) -> bool:
    """Return True if an item shows the picture of that seed (JPEG changes it a little)."""
    want = to_tensor(made.picture(seed, sample.image.shape[:0:-1]))
    return bool((sample.image - want).abs().mean() < 0.03)


def refusal(name: str, root: Path, split: str = "train") -> str:
    """Return the message with which a data set, or one of its items or draws, is refused."""
    with pytest.raises(DataError) as caught:
        data = open_dataset(name, root, split=split, size=8)
        for k in range(len(data)):
            data.draw(k)
    message = str(caught.value)
    assert "\n" not in message and message.endswith("."), message
    return message


class TestAll:
    def test_names(self) -> None:
        assert set(PUBLISHED) | {"scenes", "folder"} == set(NAMES)
        assert set(made.LAYOUTS) == set(PUBLISHED)
        for name, kind in PUBLISHED.items():
            assert kind.name == name
            assert kind.about.what and kind.about.where and kind.about.terms

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_items_and_draws(self, name: str, tmp_path: Path) -> None:
        root = made.LAYOUTS[name](tmp_path)
        train = open_dataset(name, root, size=8, seed=1)
        test = open_dataset(name, root, size=8, split="test")
        assert not set(train.files) & set(test.files) and has_held_out(name, root)
        assert len(open_dataset(name, root, split="val")) and train.missing == ()
        order = [int(i) for i in train._order(0)]
        assert sorted(order) == list(range(len(train)))
        copied = pickle.loads(pickle.dumps(train))
        for k in (0, 1, len(train)):
            sample, again = train.draw(k), copied.draw(k)
            assert sample.image.shape == (3, 8, 8)
            assert torch.equal(sample.image, again.image) and sample.caption == again.caption
            assert (sample.segmentation is not None) == (name in MAPPED)
            assert bool(sample.caption) == (name in CAPTIONED)
        whole = train[0]
        if name in MAPPED:
            assert whole.segmentation.shape == whole.image.shape[1:]
            assert whole.segmentation.dtype == torch.int64
        if train.classes:
            assert train.palette.shape == (len(train.classes), 3)
            assert train.palette.dtype == np.uint8
            assert len(np.unique(train.palette, axis=0)) == len(set(train.classes))

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_wrong_roots(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        made.save(tmp_path / "other" / "a.txt.png", made.picture(0))
        for root in (tmp_path / "gone", tmp_path / "other"):
            assert str(root) in refusal(name, root)
        with pytest.raises(DataError, match="needs a root"):
            open_dataset(name)


class TestTogether:
    """Picture and map are cropped, resized and mirrored together."""

    def test_the_map_follows_the_picture(self, tmp_path: Path) -> None:
        """Colors encode the position, ids the cell of a grid: both must agree in every draw."""
        rows, columns = np.mgrid[:256, :256].astype(np.uint8)
        made.save(tmp_path / "picture.png", np.stack([columns, rows, 0 * rows], axis=2))
        made.save(tmp_path / "map.png", columns // 32 + rows // 32 * 8)
        data = Classes(tmp_path, [Entry(tmp_path / "picture.png", tmp_path / "map.png")], size=32)
        wrong = []
        for k in range(60):
            sample = data.draw(k)
            red, green, _ = to_pixels(sample.image).transpose(2, 0, 1)
            wrong.append((red // 32 + green // 32 * 8 != sample.segmentation.numpy()).mean())
        assert max(wrong) < 0.15 and np.mean(wrong) < 0.05  # cell borders may differ

    def test_the_map_is_stretched_with_the_picture(self, tmp_path: Path) -> None:
        rows, columns = np.mgrid[:128, :256].astype(np.uint8)
        made.save(tmp_path / "picture.png", np.stack([columns, rows, 0 * rows], axis=2))
        made.save(tmp_path / "map.png", columns // 64 + rows // 64 * 8)
        data = Classes(tmp_path, [Entry(tmp_path / "picture.png", tmp_path / "map.png")], size=64)
        data.stretch = True
        for sample in (data[0], data.draw(0), data.draw(1)):
            red, green, _ = to_pixels(sample.image).transpose(2, 0, 1)
            ids = sample.segmentation.numpy()
            assert ids.shape == red.shape and (red // 64 + green // 64 * 8 != ids).mean() < 0.06

    def test_mirrored_classes_are_exchanged(self, tmp_path: Path) -> None:
        made.save(tmp_path / "map.png", made.halves(1, 2))
        made.save(tmp_path / "picture.png", made.picture(0))
        entry = Entry(tmp_path / "picture.png", tmp_path / "map.png")
        data = Classes(tmp_path, [entry], size=18, crop_scale=(1.0, 1.0))
        data.mirrored = ((1, 2),)
        left = [int(data.draw(k).segmentation[9, 0]) for k in range(40)]
        assert set(left) == {1}  # left of the picture stays "left" in its mirror image
        data.mirrored = ()
        left = [int(data.draw(k).segmentation[9, 0]) for k in range(40)]
        assert set(left) == {1, 2}

    def test_large_items_are_shrunk_together(self, tmp_path: Path) -> None:
        made.save(tmp_path / "picture.png", Image.new("RGB", (1500, 1200)))
        made.save(tmp_path / "map.png", made.halves(3, 7, (1500, 1200)))
        entry = Entry(tmp_path / "picture.png", tmp_path / "map.png")
        data = Classes(tmp_path, [entry], size=16, crop_scale=(1.0, 1.0))
        assert set(data.draw(0).segmentation.unique().tolist()) <= {3, 7}
        pixels, ids = data._cache[0]
        assert pixels.shape[:2] == ids.shape == (1024, 1280)
        assert data[0].segmentation.shape == (1200, 1500)

    def test_a_map_of_another_size_breaks_the_item(self, tmp_path: Path) -> None:
        made.save(tmp_path / "picture.png", made.picture(0))
        made.save(tmp_path / "map.png", made.halves(0, 1, (10, 10)))
        data = Classes(tmp_path, [Entry(tmp_path / "picture.png", tmp_path / "map.png")] * 200)
        with pytest.raises(PictureError, match=r"picture\.png is 24x18 pixels but its map is 10x"):
            data[0]

    def test_captions_are_drawn_and_never_name_the_wrong_side(self, tmp_path: Path) -> None:
        made.save(tmp_path / "a.png", made.picture(0, (32, 32)))
        other = made.CAPTIONS[0].replace("left", "right")
        for said, turned in (
            (made.CAPTIONS, made.CAPTIONS[1:]),
            (made.CAPTIONS[:1], (other,)),
        ):
            flipped = 0
            data = PictureDataset(
                tmp_path, [Entry(tmp_path / "a.png", captions=said)], size=32, crop_scale=(1.0, 1.0)
            )
            drawn = [data.draw(k) for k in range(80)]
            assert {sample.caption for sample in drawn} == {*said, *turned}
            for sample in drawn:
                mirrored = bool(sample.image[..., 0].mean() > sample.image[..., -1].mean())
                flipped += mirrored
                assert sample.caption in sample.captions
                assert sample.captions == (turned if mirrored else said)
            assert flipped > 20


class Classes(PictureDataset):
    classes = tuple(map(str, range(64)))


class TestImageNet:
    def test_sorted(self, tmp_path: Path) -> None:
        made.imagenet(tmp_path)
        train, val = (open_dataset("imagenet", tmp_path, split=s) for s in ("train", "val"))
        assert [train.label(i) for i in range(6)] == [0, 0, 1, 1, 2, 2]
        assert shows(train[3], 11) and train.labels == made.WNIDS
        assert {path.name[-6:-5]: val.label(i) for i, path in enumerate(val.files)} == {
            "1": 1,
            "2": 2,
            "3": 0,
        }

    @pytest.mark.parametrize("source", ["map_clsloc.txt", "meta.mat", "LOC_val_solution.csv"])
    def test_flat(self, source: str, tmp_path: Path) -> None:
        made.imagenet(tmp_path, flat=True)
        if source == "LOC_val_solution.csv":
            rows = (f"ILSVRC2012_val_{n:08d},{w} 1 2 3 4" for n, w in made.DEVKIT_ORDER.items())
            made.write(tmp_path / source, "ImageId,PredictionString", *rows)
        else:
            data = made.devkit(tmp_path)
            if source == "meta.mat":
                (data / "map_clsloc.txt").unlink()
                write_meta(data / source)
        val = open_dataset("imagenet", tmp_path, split="val")
        assert [val.label(i) for i in range(3)] == [1, 2, 0] and shows(val[2], 103)

    def test_flat_without_lists_has_no_labels(self, tmp_path: Path) -> None:
        val = open_dataset("imagenet", made.imagenet(tmp_path, flat=True), split="val")
        assert [val[i].label for i in range(3)] == [-1, -1, -1]

    def test_names(self, tmp_path: Path) -> None:
        made.imagenet(tmp_path)
        rows = (f"{wnid} name {wnid[-1]}, other" for wnid in reversed(made.WNIDS))
        made.write(tmp_path / "LOC_synset_mapping.txt", *rows)
        assert open_dataset("imagenet", tmp_path).labels == ("name 4", "name 9", "name 9")

    def test_half_extracted(self, tmp_path: Path) -> None:
        made.imagenet(tmp_path)
        whole = tmp_path / "train" / made.WNIDS[0]
        made.write(tmp_path / "train" / f"{made.WNIDS[0]}.tar", "")  # extracted, and kept
        assert len(open_dataset("imagenet", tmp_path)) == 6
        made.write(tmp_path / "train" / "n09999999.tar", "")
        message = refusal("imagenet", tmp_path)
        assert "1 class archives that were not extracted, beginning with n09999999" in message
        for file in (tmp_path / "train").glob("*.tar"):
            file.unlink()
        for file in whole.iterdir():
            file.unlink()
        message = refusal("imagenet", tmp_path)
        assert f"1 of the 3 classes have no pictures in {tmp_path / 'train'}" in message
        shutil.rmtree(whole)
        assert f"beginning with train/{made.WNIDS[0]}" in refusal("imagenet", tmp_path)
        shutil.rmtree(tmp_path / "val" / made.WNIDS[0])
        assert len(open_dataset("imagenet", tmp_path)) == 4  # then it is a data set of two classes
        made.write(tmp_path / "LOC_synset_mapping.txt", *(f"{wnid} name" for wnid in made.WNIDS))
        assert f"beginning with train/{made.WNIDS[0]}" in refusal("imagenet", tmp_path)
        made.write(tmp_path / "LOC_synset_mapping.txt", f"{made.WNIDS[0]} name")
        assert "a class that is not in LOC_synset_mapping.txt" in refusal("imagenet", tmp_path)

    def test_half_extracted_validation(self, tmp_path: Path) -> None:
        made.devkit(made.imagenet(tmp_path, flat=True))
        (tmp_path / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
        message = refusal("imagenet", tmp_path, "val")
        assert "1 of the 3 pictures" in message and "00000002.JPEG" in message

    def test_lists_that_do_not_fit(self, tmp_path: Path) -> None:
        made.imagenet(tmp_path, flat=True)
        data = made.devkit(tmp_path)
        truth = made.write(data / "ILSVRC2012_validation_ground_truth.txt", "1", "2")
        assert "ILSVRC2012_val_00000003.JPEG" in refusal("imagenet", tmp_path, "val")
        made.write(truth, "1", "2", "77")
        assert "77" in refusal("imagenet", tmp_path, "val")
        made.write(truth, "1", "2", "three")
        assert "'three'" in refusal("imagenet", tmp_path, "val")
        (data / "map_clsloc.txt").unlink()
        (data / "meta.mat").write_bytes(b"MATLAB 5.0 and then nothing")
        made.write(truth, "1", "2", "3")
        assert "meta.mat cannot be read" in refusal("imagenet", tmp_path, "val")


def write_meta(file: Path) -> None:
    from scipy.io import savemat

    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    rows = [(n, wnid, 0) for n, wnid in made.DEVKIT_ORDER.items()] + [(1001, "n00001740", 4)]
    savemat(file, {"synsets": np.array(rows, dtype=fields)})


class TestADE20K:
    def test_ids(self, tmp_path: Path) -> None:
        data = open_dataset("ade20k", made.ade20k(tmp_path))
        assert len(data) == 4 and len(data.classes) == 150
        assert data.classes[0] == "wall" and data.classes[149] == "flag"
        first, second = data[0].segmentation, data[1].segmentation
        assert set(first.unique().tolist()) == {0, 149}
        assert set(second.unique().tolist()) == {149, 255}
        assert (second[:, :12] == 255).all() and shows(data[1], 1)

    def test_label_outside_the_classes(self, tmp_path: Path) -> None:
        made.ade20k(tmp_path)
        base = tmp_path / "ADEChallengeData2016" / "annotations" / "training"
        made.save(base / "ADE_train_00000000.png", made.halves(1, 151))
        message = refusal("ade20k", tmp_path)
        assert "label value 151" in message and "0..150" in message
        assert "ADE_train_00000000" in message

    def test_half_extracted(self, tmp_path: Path) -> None:
        made.ade20k(tmp_path)
        base = tmp_path / "ADEChallengeData2016" / "annotations"
        (base / "training" / "ADE_train_00000002.png").unlink()
        message = refusal("ade20k", tmp_path)
        assert "1 of the 4" in message and "ADE_train_00000002.png" in message
        shutil.rmtree(base / "training")
        assert "annotations" in refusal("ade20k", tmp_path)

    def test_a_color_picture_is_no_map(self, tmp_path: Path) -> None:
        made.ade20k(tmp_path)
        base = tmp_path / "ADEChallengeData2016" / "annotations" / "training"
        made.save(base / "ADE_train_00000003.png", made.picture(0))
        assert "mode RGB, not a map" in refusal("ade20k", tmp_path)

    def test_real_ones(self, shared_data: Path | None, tmp_path: Path) -> None:
        made.ade20k(tmp_path)
        base = tmp_path / "ADEChallengeData2016"
        if shared_data is not None:
            source = shared_data / "ade20k_sample"
            for mine, theirs in (("images", "images"), ("annotations", "labels")):
                shutil.rmtree(base / mine / "validation")
                (base / mine / "validation").symlink_to(source / theirs)
        data = open_dataset("ade20k", tmp_path, split="val", size=32)
        for k in range(min(len(data), 6)):
            ids = data.draw(k).segmentation
            assert ids[ids != 255].max() < 150
        assert not data.broken


class TestCelebAMask:
    def test_parts_cover_each_other_in_order(self, tmp_path: Path) -> None:
        data = open_dataset("celebamask", made.celebamask(tmp_path))
        ids = data[0].segmentation[::2, ::2]  # back to the parts' 512x512
        name = data.classes.index
        assert ids.shape == (512, 512)
        assert ids[0, 0] == name("background") and ids[300, 300] == name("skin")
        assert ids[160, 260] == name("l_eye") and ids[160, 160] == name("r_eye")
        assert ids[120, 200] == name("hair")  # over the skin, since it comes later
        assert data.classes[:3] == ("background", "skin", "nose") and len(data.classes) == 19
        assert data.mirrored == ((4, 5), (6, 7), (8, 9))

    def test_official_split(self, tmp_path: Path) -> None:
        made.celebamask(tmp_path)
        for split, want in {"train": ["0", "1"], "val": ["2"], "test": ["2000"]}.items():
            data = open_dataset("celebamask", tmp_path, split=split)
            assert [path.stem for path in data.files] == want
        names = ("119614", "000006", "162772", "200000")
        rows = (f"{name}.jpg {part}" for name, part in zip(names, (2, 0, 0, 1), strict=True))
        made.write(tmp_path / "list_eval_partition.txt", *rows)
        test = open_dataset("celebamask", tmp_path, split="test")
        assert [path.stem for path in test.files] == ["0"]

    def test_what_is_missing(self, tmp_path: Path) -> None:
        made.celebamask(tmp_path)
        (tmp_path / "CelebAMask-HQ-mask-anno" / "0" / "00001_skin.png").unlink()
        assert "00001_skin.png" in refusal("celebamask", tmp_path)
        (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").unlink()
        assert "CelebA-HQ-to-CelebA-mapping.txt is missing" in refusal("celebamask", tmp_path)


class TestCUB:
    def test_lists(self, tmp_path: Path) -> None:
        made.cub(tmp_path)
        train, test = (open_dataset("cub", tmp_path, split=s) for s in ("train", "test"))
        assert [train.label(i) for i in range(4)] == [0, 0, 1, 1] and len(test) == 2
        assert train.labels == ("Black footed Albatross", "Laysan Albatross")
        assert train.captions(0) == made.CAPTIONS and train[1].caption == made.CAPTIONS[0]
        assert train.attributes()[:2] == [
            ("has_bill_shape::dagger",),
            ("has_bill_shape::dagger", "has_wing_color::brown"),
        ]

    def test_boxes(self, tmp_path: Path) -> None:
        made.cub(tmp_path)
        data = open_dataset("cub", tmp_path)
        assert data.box(0) == (20, 10, 20, 10)
        # Center (30, 15), side 1.5 * 20: columns 15..45, rows 0..30 of 60x40.
        whole = CUB(tmp_path, boxed=False)
        assert torch.equal(data[0].image, whole[0].image[:, 0:30, 15:45])
        assert whole[0].image.shape == (3, 40, 60) and shows(whole[2], 3)

    def test_attributes(self, tmp_path: Path) -> None:
        base = made.cub(tmp_path) / "CUB_200_2011"
        data = open_dataset("cub", tmp_path)
        assert data.attribute_names() == ("has_bill_shape::dagger", "has_wing_color::brown")
        assert data.notes() == [
            "boxes: 4, 20x10 pixels on average",
            "attributes: 2 names, 1.2 per item",
        ]
        labels = base / "attributes" / "image_attribute_labels.txt"
        made.write(labels, "1 3 1 4 2.0")
        with pytest.raises(DataError, match=r"image_attribute_labels\.txt, line 1, is '1 3 1 4 2"):
            data.attributes()
        labels.unlink()
        with pytest.raises(DataError, match=r"image_attribute_labels\.txt is missing"):
            data.attributes()
        (tmp_path / "attributes.txt").unlink()
        with pytest.raises(DataError, match=r"attributes\.txt is missing"):
            data.attribute_names()

    def test_classes_outside_the_list(self, tmp_path: Path) -> None:
        base = made.cub(tmp_path) / "CUB_200_2011"
        lines = (base / "image_class_labels.txt").read_text().splitlines()
        made.write(base / "image_class_labels.txt", *lines[:-1], "6 3")
        assert "names the class 3, outside the 2 of classes.txt" in refusal("cub", tmp_path)

    def test_without_captions(self, tmp_path: Path) -> None:
        assert open_dataset("cub", made.cub(tmp_path, captions=False))[0].caption == ""

    def test_cut_off_lists(self, tmp_path: Path) -> None:
        base = made.cub(tmp_path) / "CUB_200_2011"
        boxes = (base / "bounding_boxes.txt").read_text()
        made.write(base / "bounding_boxes.txt", *boxes.splitlines()[:-1])
        assert "bounding_boxes.txt has no line for 002" in refusal("cub", tmp_path)
        made.write(base / "bounding_boxes.txt", boxes)
        text = next(tmp_path.glob("text_c10/*/*0000.txt"))
        made.write(text, "")
        assert "0000.txt is empty" in refusal("cub", tmp_path)
        made.write(text, "a bird")
        next(tmp_path.glob("text_c10/*/*0001.txt")).unlink()
        assert "0001.txt is missing" in refusal("cub", tmp_path)
        text = (base / "train_test_split.txt").read_text()
        (base / "train_test_split.txt").write_text(text[:-4])
        assert "train_test_split.txt has no line for 002" in refusal("cub", tmp_path)
        (base / "train_test_split.txt").write_text(text[:-2])
        assert "line 6, has 1 of 2 fields" in refusal("cub", tmp_path)


class TestCOCO:
    def test_captions_and_maps(self, tmp_path: Path) -> None:
        data = open_dataset("coco", made.coco(tmp_path))
        assert len(data) == 3 and len(data.classes) == 182
        assert data.classes[0] == "person" and data.classes[181] == "wood"
        assert (data.classes[90], data.classes[91]) == ("hair brush", "banner")
        sample = data[0]
        assert sample.captions == ("0 0", "0 1") and sample.caption == "0 0"
        assert (sample.segmentation[:, :12] == 0).all()
        assert (sample.segmentation[:, 12:] == 181).all()
        assert (data[1].segmentation[:, 12:] == 255).all()

    def test_without_maps(self, tmp_path: Path) -> None:
        data = open_dataset("coco", made.coco(tmp_path, maps=False), split="val")
        assert len(data) == 2 and data[0].segmentation is None and not data.has_map(0)

    def test_caption_files(self, tmp_path: Path) -> None:
        made.coco(tmp_path)
        file = tmp_path / "annotations" / "captions_train2017.json"
        text = file.read_text()
        file.write_text(text[:-30])
        assert "captions_train2017.json is not valid JSON" in refusal("coco", tmp_path)
        file.write_text(json.dumps({"images": [{"id": 3}], "annotations": []}))
        assert "not a caption file of COCO" in refusal("coco", tmp_path)
        images = [{"id": 1, "file_name": "000000000001.jpg"}]
        file.write_text(json.dumps({"images": images, "annotations": []}))
        assert "captions_train2017.json holds no captions" in refusal("coco", tmp_path)
        file.unlink()
        assert "annotations_trainval2017.zip" in refusal("coco", tmp_path)

    def test_label_outside_the_classes(self, tmp_path: Path) -> None:
        made.coco(tmp_path)
        maps = tmp_path / "stuffthingmaps" / "train2017"
        made.save(maps / "000000000001.png", made.halves(0, 182))
        message = refusal("coco", tmp_path)
        assert "label value 182, outside 0..181 and 255" in message
        assert "stuffthingmaps/train2017/000000000001.png" in message
        (maps / "000000000001.png").unlink()
        assert "1 of the 3 items" in refusal("coco", tmp_path)

    def test_captions_without_pictures(self, tmp_path: Path) -> None:
        made.coco(tmp_path)
        (tmp_path / "train2017" / "000000000002.jpg").unlink()
        message = refusal("coco", tmp_path)
        assert "1 of the 3 items" in message and "000000000002.jpg" in message

    def test_a_hundredth_may_be_missing(self, tmp_path: Path) -> None:
        names = [f"{number:012d}" for number in range(100)]
        for name in names[1:]:
            made.save(tmp_path / "train2017" / f"{name}.jpg", made.picture(0, (4, 4)))
        images = [{"id": i, "file_name": f"{name}.jpg"} for i, name in enumerate(names)]
        said = {"id": 7, "image_id": 3, "caption": "A picture ."}
        file = tmp_path / "annotations" / "captions_train2017.json"
        made.write(file, json.dumps({"images": images, "annotations": [said]}))
        data = open_dataset("coco", tmp_path)
        assert len(data) == 99 and data.missing == ("train2017/000000000000.jpg",)

    def test_real_ones(self, shared_data: Path | None, tmp_path: Path) -> None:
        made.coco(tmp_path)
        if shared_data is not None:
            shutil.rmtree(tmp_path)
            real_coco(shared_data / "coco_small", tmp_path, 12)
        data = open_dataset("coco", tmp_path, size=32)
        for k in range(min(len(data), 12)):
            sample = data.draw(k)
            ids = sample.segmentation
            assert sample.caption and ids[ids != 255].max() < 182
        assert not data.broken


def real_coco(source: Path, root: Path, count: int) -> None:
    """Copy the first real items into the published layout.

    Their maps hold category ids, 0 = none.
    """
    images, said = [], []
    lines = [json.loads(line) for line in (source / "index.jsonl").read_text().splitlines()]
    chosen = [line for line in lines if line["label"] and line["captions"]][:count]
    for number, line in enumerate(chosen):
        name = Path(line["file"])
        (root / "train2017").mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, root / "train2017" / name.name)
        ids = np.asarray(Image.open(source / line["label"]))
        maps = root / "stuffthingmaps" / "train2017"
        made.save(maps / f"{name.stem}.png", ids - np.uint8(1))
        images.append({"id": number, "file_name": name.name})
        for i, caption in enumerate(line["captions"]):
            said.append({"id": i, "image_id": number, "caption": caption})
    file = root / "annotations" / "captions_train2017.json"
    made.write(file, json.dumps({"images": images, "annotations": said}))


class TestCamVid:
    def test_ids(self, tmp_path: Path) -> None:
        data = open_dataset("camvid", made.camvid(tmp_path))
        assert len(data) == 2 and len(data.classes) == 11
        ids = data[1].segmentation
        assert (ids[:, :12] == 10).all() and (ids[:, 12:] == 255).all() and shows(data[1], 1)
        test = open_dataset("camvid", tmp_path, split="test")
        assert [path.name for path in test.files] == ["test_00000.png"]
        made.save(tmp_path / "trainannot" / "train_00001.png", made.halves(10, 12))
        assert "label value 12, outside 0..11;" in refusal("camvid", tmp_path)

    def test_images_and_labels(self, shared_data: Path | None, tmp_path: Path) -> None:
        root = tmp_path
        if shared_data is not None:
            root = shared_data / "camvid"
        else:
            for part in ("train", "val"):
                made.save(tmp_path / part / "images" / "a.jpg", made.picture(0))
                made.save(tmp_path / part / "labels" / "a.png", made.halves(3, 11))
        data = open_dataset("camvid", root, split="test", size=32)
        assert data.files[0].parent == root / "val" / "images"
        for k in range(4):
            ids = data.draw(k).segmentation
            assert ids.shape == (32, 32) and set(ids.unique().tolist()) <= {*range(11), 255}


class TestFacades:
    def test_published(self, tmp_path: Path) -> None:
        made.facades(tmp_path)
        parts = [open_dataset("facades", tmp_path, split=s) for s in ("train", "val", "test")]
        assert sum(map(len, parts)) == 40 and len(parts[0]) > 25
        assert len({path for part in parts for path in part.files}) == 40
        sample = parts[0][0]
        assert set(sample.segmentation.unique().tolist()) == {0, 11}
        assert parts[0].classes[0] == "background" and parts[0].classes[11] == "shop"
        made.save(tmp_path / "base" / "cmp_b0000.png", made.halves(13, 0))
        assert any(
            "label value 13" in refusal("facades", tmp_path, split)
            for split, part in zip(("train", "val", "test"), parts, strict=True)
            if any(path.stem == "cmp_b0000" for path in part.files)
        )

    def test_side_by_side(self, tmp_path: Path) -> None:
        from core.data.datasets.facades import _PIX2PIX

        ids = np.kron(np.arange(12).reshape(3, 4), np.ones((16, 12))).astype(np.uint8)
        ids = np.asarray(Image.fromarray(ids).resize((48, 48), Image.Resampling.NEAREST))
        both = np.zeros((48, 96, 3), np.uint8)
        both[:, :48] = np.asarray(made.picture(7, (48, 48)))
        both[:, 48:] = _PIX2PIX[ids]
        for part in ("train", "test"):
            made.save(tmp_path / part / "1.jpg", both)
        sample = open_dataset("facades", tmp_path, split="val")[0]
        assert shows(sample, 7)
        assert (sample.segmentation.numpy() == ids).mean() > 0.85  # JPEG bleeds at borders
        centers = sample.segmentation.numpy()[8::16, 6::12]
        assert (centers == np.arange(12).reshape(3, 4)).all()
        made.save(tmp_path / "train" / "1.jpg", made.picture(0))
        assert "24x18 pixels" in refusal("facades", tmp_path)

    def test_images_and_labels(self, shared_data: Path | None, tmp_path: Path) -> None:
        root = tmp_path
        if shared_data is not None:
            root = shared_data / "facades"
        else:
            made.save(tmp_path / "train" / "images" / "a.jpg", made.picture(0))
            made.save(tmp_path / "train" / "labels" / "a.png", made.halves(0, 11))
        data = open_dataset("facades", root, size=32)
        for k in range(4):
            assert set(data.draw(k).segmentation.unique().tolist()) <= set(range(12))


class TestFlickr8k:
    def test_comma_separated(self, tmp_path: Path) -> None:
        made.flickr8k(tmp_path)
        parts = [open_dataset("flickr8k", tmp_path, split=s) for s in ("train", "val", "test")]
        assert sum(map(len, parts)) == 40 and len({p for d in parts for p in d.files}) == 40
        number = int(parts[0].files[0].name[:4])
        assert parts[0].captions(0) == ("A dog runs .", f"One , two {number} .")
        assert shows(parts[0][0], number)

    def test_original(self, tmp_path: Path) -> None:
        names = ("a_1.jpg", "b_2.jpg", "c_3.jpg")
        for seed, name in enumerate(names):
            made.save(tmp_path / "Flicker8k_Dataset" / name, made.picture(seed))
        rows = (f"{name}#{n}\tA caption {n} ." for name in names for n in range(2))
        made.write(tmp_path / "Flickr8k_text" / "Flickr8k.token.txt", *rows)
        for part, name in zip(("train", "dev", "test"), names, strict=True):
            made.write(tmp_path / "Flickr8k_text" / f"Flickr_8k.{part}Images.txt", name)
        val = open_dataset("flickr8k", tmp_path, split="val")
        assert [path.name for path in val.files] == ["b_2.jpg"]
        assert val.captions(0) == ("A caption 0 .", "A caption 1 .")

    def test_bad_lists(self, tmp_path: Path) -> None:
        made.flickr8k(tmp_path)
        file = tmp_path / "captions.txt"
        file.write_text(file.read_text() + "no comma\n")
        assert "line 82, is not 'image,caption'" in refusal("flickr8k", tmp_path)
        made.write(file, "image,caption", "gone.jpg,A caption")
        assert "1 of the 1 items" in refusal("flickr8k", tmp_path)
        made.write(file, "image,caption")
        assert "captions.txt names no items" in refusal("flickr8k", tmp_path)


class TestCaptions:
    def test_list(self, tmp_path: Path) -> None:
        made.captions(tmp_path)
        train, val = (open_dataset("captions", tmp_path, split=s) for s in ("train", "val"))
        assert (len(train), len(val)) == (4, 2) and val.label(1) == 5
        assert val[0].captions == ("number 4", "a picture") and shows(val[0], 4)

    def test_without_splits_all_items_are_one_split(self, tmp_path: Path) -> None:
        made.save(tmp_path / "a.png", made.picture(0))
        made.write(tmp_path / "metadata.jsonl", '{"file_name": "a.png", "text": "one"}')
        assert open_dataset("captions", tmp_path, split="test")[0].captions == ("one",)
        assert not has_held_out("captions", tmp_path)

    def test_texts_beside(self, tmp_path: Path) -> None:
        for part in ("train", "test"):
            made.save(tmp_path / part / "a.png", made.picture(0))
            made.write(tmp_path / part / "a.txt", f"first {part}", "", "second")
        assert open_dataset("captions", tmp_path)[0].captions == ("first train", "second")
        assert open_dataset("captions", tmp_path, split="val")[0].caption == "first test"
        assert has_held_out("captions", tmp_path)
        made.write(tmp_path / "train" / "a.txt", "", " ")
        message = refusal("captions", tmp_path)
        assert "1 of the 1 pictures" in message and "the caption in train/a.txt" in message
        (tmp_path / "train" / "a.txt").unlink()
        assert "a.txt" in refusal("captions", tmp_path)

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("{", "line 2, is not valid JSON"),
            ("[1]", "line 2, is not a JSON object"),
            ('{"captions": ["a"]}', "line 2, has no file"),
            ('{"file": "pictures/0.png"}', "line 2, has no caption"),
            ('{"file": "pictures/0.png", "captions": [3]}', "line 2, has no caption"),
            ('{"file": "pictures/0.png", "captions": [" "]}', "line 2, has no caption"),
            ('{"file": "pictures/0.png", "caption": "a", "label": "x"}', "no whole number"),
            ('{"file": "pictures/9.png", "caption": "a"}', "1 of the 2 items"),
        ],
    )
    def test_bad_lines(self, line: str, words: str, tmp_path: Path) -> None:
        made.captions(tmp_path)
        good = '{"file": "pictures/1.png", "caption": "good"}'
        made.write(tmp_path / "captions.jsonl", good, line)
        assert words in refusal("captions", tmp_path)

    def test_empty(self, tmp_path: Path) -> None:
        made.write(tmp_path / "captions.jsonl", "")
        assert "captions.jsonl is empty" in refusal("captions", tmp_path)

    def test_real_ones(self, shared_data: Path | None, tmp_path: Path) -> None:
        root = shared_data / "birds" if shared_data is not None else made.captions(tmp_path)
        data = open_dataset("captions", root, size=32)
        for k in range(6):
            assert data.draw(k).caption in data.draw(k).captions
