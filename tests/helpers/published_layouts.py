"""Tiny data sets in the published layouts of the real ones, written by tests.

Every builder writes `train` and `val` (or `test`) items into a folder and returns that folder.
Pictures are smooth, and each has its own colors, so that an exchange of files is detected.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 24, 18
WNIDS = ("n01440764", "n02119789", "n03584829")
DEVKIT_ORDER = {1: WNIDS[1], 2: WNIDS[2], 3: WNIDS[0]}  # ILSVRC2012_ID -> class
CAPTIONS = ("a red thing on the left", "a thing", "one more thing")


def picture(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Return a picture whose mean color identifies `seed`."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    base = np.random.default_rng(seed).uniform(60, 190, 3)
    ramp = 40 * columns / size[0] - 20 * rows / size[1]
    return Image.fromarray((base + ramp[..., None]).clip(0, 255).astype(np.uint8))


def save(path: Path, image: Image.Image | np.ndarray) -> Path:
    """Write a picture or a map of ids, with its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, quality=95)
    return path


def write(path: Path, *lines: str) -> Path:
    """Write lines of text, with the parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def halves(left: int, right: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """Return a map of two ids."""
    ids = np.full(size[::-1], left, np.uint8)
    ids[:, size[0] // 2 :] = right
    return ids


def imagenet(root: Path, flat: bool = False) -> Path:
    """Write three classes of two training pictures each, and three validation pictures."""
    for seed, wnid in enumerate(WNIDS):
        for number in range(2):
            save(root / "train" / wnid / f"{wnid}_{number}.JPEG", picture(10 * seed + number))
    for number in (1, 2, 3):
        folder = root / "val" if flat else root / "val" / DEVKIT_ORDER[number]
        save(folder / f"ILSVRC2012_val_{number:08d}.JPEG", picture(100 + number))
    return root


def devkit(root: Path) -> Path:
    """Write the development kit's ground truth and its list of classes."""
    data = root / "ILSVRC2012_devkit_t12" / "data"
    write(data / "ILSVRC2012_validation_ground_truth.txt", "1", "2", "3")
    write(data / "map_clsloc.txt", *(f"{wnid} {n} name" for n, wnid in DEVKIT_ORDER.items()))
    return data


def ade20k(root: Path) -> Path:
    """Write four training and two validation pictures."""
    base = root / "ADEChallengeData2016"
    for part, count in (("training", 4), ("validation", 2)):
        for number in range(count):
            name = f"ADE_{part[:-3]}_{number:08d}"
            save(base / "images" / part / f"{name}.jpg", picture(number))
            save(base / "annotations" / part / f"{name}.png", halves(0 if number else 1, 150))
    return root


def celebamask(root: Path) -> Path:
    """Write portraits 0, 1 (train), 2 (val) and 2000 (test, in the folder 1 of the masks)."""
    rows = ["idx      orig_idx   orig_file"]
    originals = ((0, 119613), (1, 5), (2, 162771), (2000, 199999))
    for number, original in originals:
        rows.append(f"{number}  {original}  {original + 1:06d}.jpg")
        save(root / "CelebA-HQ-img" / f"{number}.jpg", picture(number, (1024, 1024)))
        masks = root / "CelebAMask-HQ-mask-anno" / str(number // 2000)
        for part, box in (
            ("skin", (100, 400, 100, 400)),
            ("l_eye", (150, 180, 250, 300)),
            ("r_eye", (150, 180, 150, 200)),
            ("hair", (60, 140, 100, 400)),
        ):
            mask = np.zeros((512, 512), np.uint8)
            mask[box[0] : box[1], box[2] : box[3]] = 255
            colored = np.repeat(mask[..., None], 3, axis=2)
            save(masks / f"{number:05d}_{part}.png", colored if part == "hair" else mask)
    write(root / "CelebA-HQ-to-CelebA-mapping.txt", *rows)
    return root


def cub(root: Path, captions: bool = True) -> Path:
    """Write two species of three pictures each; the third of each is a test picture."""
    base = root / "CUB_200_2011"
    species = ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    names = [f"{kind}/{kind[4:]}_{n:04d}.jpg" for kind in species for n in range(3)]
    for seed, name in enumerate(names):
        save(base / "images" / name, picture(seed, (60, 40)))
        if captions:
            write((root / "text_c10" / name).with_suffix(".txt"), *CAPTIONS)
    numbered = list(enumerate(names, start=1))
    write(base / "images.txt", *(f"{n} {name}" for n, name in numbered))
    write(base / "classes.txt", *(f"{n} {kind}" for n, kind in enumerate(species, start=1)))
    write(base / "image_class_labels.txt", *(f"{n} {int(name[:3])}" for n, name in numbered))
    write(base / "train_test_split.txt", *(f"{n} {int(n % 3 != 0)}" for n, _ in numbered))
    write(base / "bounding_boxes.txt", *(f"{n} 20.0 10.0 20.0 10.0" for n, _ in numbered))
    write(root / "attributes.txt", "1 has_bill_shape::dagger", "2 has_wing_color::brown")
    write(
        base / "attributes" / "image_attribute_labels.txt",
        *(f"{n} {a} {int(a == 1 or n == 2)} 3 1.0" for n, _ in numbered for a in (1, 2)),
    )
    return root


def coco(root: Path, maps: bool = True) -> Path:
    """Write three training pictures and two of val2017, with two captions each."""
    for part, count in (("train2017", 3), ("val2017", 2)):
        images, said = [], []
        for number in range(count):
            name = f"{number + 1:012d}"
            save(root / part / f"{name}.jpg", picture(number))
            if maps:
                ids = halves(0, 255 if number else 181)
                save(root / "stuffthingmaps" / part / f"{name}.png", ids)
            images.append({"id": number + 1, "file_name": f"{name}.jpg"})
            for turn in (1, 0):
                caption = {"image_id": number + 1, "caption": f"{number} {turn}\n"}
                said.append(caption | {"id": 10 * number + turn})
        file = root / "annotations" / f"captions_{part}.json"
        write(file, json.dumps({"images": images, "annotations": said}))
    return root


def camvid(root: Path) -> Path:
    """Write SegNet's layout: two training frames, one validation frame, one test frame."""
    for part, count in (("train", 2), ("val", 1), ("test", 1)):
        for number in range(count):
            save(root / part / f"{part}_{number:05d}.png", picture(number))
            save(root / f"{part}annot" / f"{part}_{number:05d}.png", halves(10, 11))
    return root


def facades(root: Path, count: int = 40) -> Path:
    """Write CMP's layout: base/ with paletted maps of 1..12."""
    for number in range(count):
        save(root / "base" / f"cmp_b{number:04d}.jpg", picture(number))
        ids = Image.fromarray(halves(1, 12))
        ids.putpalette(list(range(256)) * 3)
        save(root / "base" / f"cmp_b{number:04d}.png", ids)
    return root


def flickr8k(root: Path) -> Path:
    """Write Images/ and captions.txt, 40 pictures of two captions each, one with commas."""
    lines = ["image,caption"]
    for number in range(40):
        save(root / "Images" / f"{number:04d}_ab.jpg", picture(number))
        name = f"{number:04d}_ab.jpg"
        lines += [f"{name},A dog runs .", f'{name},"One , two {number} ."']
    write(root / "captions.txt", *lines)
    return root


def captions(root: Path) -> Path:
    """Write captions.jsonl with splits: four training and two validation pictures."""
    lines = []
    for number in range(6):
        save(root / "pictures" / f"{number}.png", picture(number))
        line = {"file": f"pictures/{number}.png", "captions": [f"number {number}", "a picture"]}
        line |= {"split": "train" if number < 4 else "val", "label": number}
        lines.append(json.dumps(line))
    write(root / "captions.jsonl", *lines)
    return root


def tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """Write a tar file of the members in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG") -> bytes:
    """Return a picture or map as a file's bytes."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    stream = io.BytesIO()
    image.save(stream, kind, quality=95)
    return stream.getvalue()


def shards(root: Path) -> Path:
    """Write two training shards of five items each, and one validation shard of two."""
    for name, first, count in (("train-000", 0, 5), ("train-001", 5, 5), ("val-000", 10, 2)):
        members: list[tuple[str, bytes]] = []
        for number in range(first, first + count):
            members += [
                (f"{number:04d}.png", encoded(picture(number))),
                (f"{number:04d}.txt", f"number {number}\n".encode()),
                (f"{number:04d}.cls", str(number).encode()),
                (f"{number:04d}.seg.png", encoded(halves(number, 255))),
            ]
        tar(root / f"{name}.tar", members)
    return root


def table(
    file: Path, seeds: Sequence[int], group: int = 3, features: object = None, **columns: list
) -> Path:
    """Write a parquet file of pictures, labels and captions in row groups of three; columns may be
    replaced by others, and with None left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = {
        "image": [{"bytes": encoded(picture(seed)), "path": f"{seed}.png"} for seed in seeds],
        "label": list(seeds),
        "text": [f"number {seed}" for seed in seeds],
    }
    found = {name: x for name, x in (found | columns).items() if x is not None}
    file.parent.mkdir(parents=True, exist_ok=True)
    schema = getattr(features, "arrow_schema", None)
    pq.write_table(pa.table(found, schema=schema), file, row_group_size=group)
    return file


def parquet(root: Path) -> Path:
    """Write parquet files as the Hub has them: ten training rows in two files, two held-out."""
    table(root / "data" / "train-00000-of-00002.parquet", range(5))
    table(root / "data" / "train-00001-of-00002.parquet", range(5, 10))
    table(root / "data" / "validation-00000-of-00001.parquet", range(10, 12))
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "captions": captions, "shards": shards, "imagenet": imagenet, "ade20k": ade20k,
    "celebamask": celebamask, "cub": cub, "coco": coco, "camvid": camvid, "facades": facades,
    "flickr8k": flickr8k, "parquet": parquet,
}  # fmt: skip
