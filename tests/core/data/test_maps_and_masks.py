"""Maps and masks of any bit depth, palette and transparency, and pictures that EXIF turns."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data import open_dataset
from core.data.segmentation import read_map
from core.errors import DataError, PictureError
from core.masks import open_mask, open_opaque, open_part
from core.orientation import turn, turn_back, turned_box
from tests.helpers import published_layouts as made

ORIENTATIONS = range(1, 9)


def shape(size: tuple[int, int] = (48, 32)) -> np.ndarray:
    """Return an asymmetric bool (H, W), so that each of the eight turns differs."""
    marked = np.zeros(size[::-1], bool)
    marked[:12, :18] = marked[:28, :8] = True
    return marked


def depths(marked: np.ndarray) -> dict[str, Image.Image]:
    """Return pictures of a mask, white on black or 1 on 0, in any form that tools store."""
    gray = Image.fromarray(marked.astype(np.uint8) * 255)
    ones = Image.fromarray(marked.astype(np.uint8))
    palette = ones.copy()
    palette.putpalette([0, 0, 0, 255, 255, 255])
    swapped = Image.fromarray((~marked).astype(np.uint8))
    swapped.putpalette([255, 255, 255, 0, 0, 0])  # the index 0 is white
    clear = Image.new("RGBA", gray.size)
    clear.paste((255, 0, 0, 255), mask=gray)
    return {
        "8 bits": gray, "0 and 1": ones, "1 bit": gray.convert("1"),
        "16 bits": Image.fromarray(marked.astype(np.uint16) * 65535),
        "16 bits of 1": Image.fromarray(marked.astype(np.uint16)),
        "32 bits": Image.fromarray(marked.astype(np.int32) * 255),
        "RGB": gray.convert("RGB"), "LA": gray.convert("LA"), "RGBA": gray.convert("RGBA"),
        "palette": palette, "palette of colors": gray.convert("RGB").quantize(2),
        "swapped palette": swapped, "red on transparent": clear,
    }  # fmt: skip


@pytest.mark.parametrize("form", depths(shape()))
def test_a_part_is_not_0_in_any_form(form: str, tmp_path: Path) -> None:
    kind = "tiff" if form == "32 bits" else "png"
    depths(shape())[form].save(tmp_path / f"a.{kind}")
    assert (open_part(tmp_path / f"a.{kind}", name="a") == shape()).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits(bits: int, tmp_path: Path) -> None:
    """As optipng stores masks: Pillow writes fewer bits only with a palette."""
    top = (1 << bits) - 1
    (tmp_path / "a.png").write_bytes(gray_png(shape().astype(np.uint8) * top, bits))
    assert (open_part(tmp_path / "a.png", name="a") == shape()).all()
    found = read_map(tmp_path / "a.png", name="a")
    assert (found.values == shape() * top).all() and (found.other == shape() * 255).all()


def gray_png(samples_HW: np.ndarray, bits: int) -> bytes:
    """Return a gray PNG of 1, 2 or 4 bits, which Pillow does not write."""
    import struct
    import zlib

    height, width = samples_HW.shape
    places = np.unpackbits(samples_HW[..., None], axis=2)[:, :, 8 - bits :].reshape(height, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in places)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("form", ["1 bit", "0 and 1", "palette", "8 bits", "16 bits", "RGB"])
def test_parts_of_portraits_in_any_depth(form: str, tmp_path: Path) -> None:
    root = made.celebamask(tmp_path)
    before = open_dataset("celebamask", root)[0].segmentation
    assert len(before.unique()) > 1
    for file in root.rglob("CelebAMask-HQ-mask-anno/*/*.png"):
        with Image.open(file) as picture:
            marked = np.asarray(picture.convert("L")) > 0
        depths(marked)[form].save(file)
    after = open_dataset("celebamask", root)[0].segmentation
    assert (after == before).all()


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_turn_as_pictures_do(orientation: int) -> None:
    marked = np.zeros((16, 24), np.uint8)
    marked[3:8, 5:17] = 1
    upright = np.asarray(turn(Image.fromarray(marked), orientation))
    left, top, right, bottom = turned_box((5, 3, 17, 8), (24, 16), orientation)
    assert upright[top:bottom, left:right].all() and upright.sum() == (right - left) * (
        bottom - top
    )
    back = turn_back(turn(Image.fromarray(marked), orientation), orientation)
    assert (np.asarray(back) == marked).all()


def turned_jpeg(pixels: np.ndarray, orientation: int, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, quality=95, exif=exif)
    return stream.getvalue()


def painted(ids: np.ndarray) -> np.ndarray:
    """Return a picture that is red where the ids are 1 and blue elsewhere."""
    return np.where(ids[..., None] == 1, (250, 10, 10), (10, 10, 250)).astype(np.uint8)


def in_ade20k(root: Path, picture: bytes, ids: np.ndarray) -> tuple[str, Path, int]:
    base = root / "ADEChallengeData2016"
    for part in ("training", "validation"):
        made.save(base / "annotations" / part / "a.png", ids)
        file = base / "images" / part / "a.jpg"
        file.parent.mkdir(parents=True)
        file.write_bytes(picture)
    return "ade20k", root, 0


def in_shards(root: Path, picture: bytes, ids: np.ndarray) -> tuple[str, Path, int]:
    made.tar(root / "a.tar", [("a.jpg", picture), ("a.seg.png", made.encoded(ids))])
    return "shards", root, 1


def in_camvid(root: Path, picture: bytes, ids: np.ndarray) -> tuple[str, Path, int]:
    for part in ("train", "val", "test"):
        made.save(root / f"{part}annot" / "a.png", ids)
        (root / part).mkdir()
        (root / part / "a.png").write_bytes(picture)
    return "camvid", root, 1


def in_coco(root: Path, picture: bytes, ids: np.ndarray) -> tuple[str, Path, int]:
    made.coco(root)
    for file in root.glob("train2017/*.jpg"):
        file.write_bytes(picture)
        made.save(root / "stuffthingmaps" / "train2017" / f"{file.stem}.png", ids)
    return "coco", root, 1


@pytest.mark.parametrize("size", [(48, 48), (48, 32), (32, 48)])
@pytest.mark.parametrize("layout", [in_ade20k, in_shards, in_camvid, in_coco])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("upright", [False, True])
def test_maps_lie_on_their_pictures(
    upright: bool,
    orientation: int,
    layout: Callable[[Path, bytes, np.ndarray], tuple[str, Path, int]],
    size: tuple[int, int],
    tmp_path: Path,
) -> None:
    """A map is drawn on the stored pixels; a larger side of its own shows that it is upright."""
    ids = shape(size).astype(np.uint8)
    if upright and (size[0] == size[1] or orientation < 5):
        return  # its size does not tell
    picture = turned_jpeg(painted(ids), orientation)
    given = np.asarray(turn(Image.fromarray(ids), orientation)) if upright else ids
    name, root, red = layout(tmp_path, picture, given + (layout is in_ade20k))
    data = open_dataset(name, root, size=32, crop=(1.0, 1.0))
    red = int(np.unique(data[0].segmentation)[-1]) if name == "coco" else red
    red = 1 if layout is in_ade20k else red
    for sample in (data[0], data.draw(0), data.draw(1)):
        where = sample.segmentation == red
        channel = sample.image[0]
        assert channel[where].mean() > 0.5 and channel[~where].mean() < -0.3


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_lie_on_their_birds(orientation: int, tmp_path: Path) -> None:
    root = made.cub(tmp_path)
    plain = open_dataset("cub", root)[0].image
    file = open_dataset("cub", root).files[0]
    with Image.open(file) as picture:
        stored = np.asarray(turn_back(picture.convert("RGB"), 1))
    file.write_bytes(turned_jpeg(stored, orientation))
    found = open_dataset("cub", root)[0].image
    upright = turn(Image.fromarray((plain.permute(1, 2, 0).numpy() * 127 + 128).astype(np.uint8)),
                   orientation)  # fmt: skip
    wanted = np.asarray(upright).astype(float)
    assert found.shape[1:] == wanted.shape[:2]
    assert np.abs(found.permute(1, 2, 0).numpy() * 127 + 128 - wanted).mean() < 6


def test_a_map_of_another_size_is_refused(tmp_path: Path) -> None:
    in_shards(tmp_path, turned_jpeg(painted(shape()), 6), shape((40, 32)).astype(np.uint8))
    with pytest.raises((DataError, PictureError), match="but its map is"):
        open_dataset("shards", tmp_path)[0]


def layer(color: tuple[int, int, int, int], under: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """Return a transparent layer whose left half is painted."""
    picture = Image.new("RGBA", (64, 64), (*under, 0))
    picture.paste(color, (0, 0, 32, 64))
    return picture


def share(picture: Image.Image) -> tuple[float, float]:
    marked = np.asarray(picture.convert("L")) >= 128
    return float(marked[:, :32].mean()), float(marked[:, 32:].mean())


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (9, 130, 60)])
@pytest.mark.parametrize("alpha", [255, 200, 100, 40])
@pytest.mark.parametrize("under", [(0, 0, 0), (255, 255, 255)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_strokes_on_a_layer_mark(
    color: tuple[int, int, int], alpha: int, under: tuple[int, int, int], mode: str, tmp_path: Path
) -> None:
    picture = layer((*color, alpha), under)
    picture = picture.quantize(4) if mode == "P" else picture.convert(mode)
    picture.save(tmp_path / "mask.png")
    assert share(open_mask(str(tmp_path / "mask.png"))) == (1.0, 0.0)


def test_masks_without_transparency_are_pictures(tmp_path: Path) -> None:
    marked = np.zeros((64, 64), bool)
    marked[:, :32] = True
    for form in ("8 bits", "1 bit", "16 bits", "RGB", "LA", "RGBA", "palette", "swapped palette"):
        depths(marked)[form].save(tmp_path / "mask.png")
        assert share(open_mask(tmp_path / "mask.png")) == (1.0, 0.0), form
    faint = layer((255, 255, 255, 100))
    faint.paste((0, 0, 0, 100), (32, 0, 64, 64))  # the same transparency everywhere
    assert share(open_mask(faint)) == (1.0, 0.0)


def test_an_erased_photograph_marks_what_is_gone() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    noise[..., 3] = 255
    noise[:, :32, 3] = 0
    assert share(open_mask(Image.fromarray(noise))) == (1.0, 0.0)
    noise[:, :32, :3] = 0  # as a browser saves it
    assert share(open_mask(Image.fromarray(noise))) == (1.0, 0.0)


def test_unclear_transparency_is_refused_by_name() -> None:
    both = layer((0, 0, 0, 255))
    both.paste((255, 255, 255, 255), (0, 0, 16, 64))
    with pytest.raises(PictureError, match="dark and light strokes on a transparent layer"):
        open_mask(both, name="m.png")
    with pytest.raises(PictureError, match=r"m\.png is wholly transparent"):
        open_mask(Image.new("RGBA", (8, 8)), name="m.png")
    with pytest.raises(PictureError, match=r"m\.png is transparent in part, and may be strokes"):
        open_mask(layer((90, 120, 40, 255), (90, 120, 40)), name="m.png")


@pytest.mark.parametrize("form", ["RGBA", "LA", "palette", "key"])
def test_a_painted_map_with_transparency_is_refused(form: str, tmp_path: Path) -> None:
    picture = layer((255, 255, 255, 255))
    options = {}
    if form == "palette":
        picture = picture.quantize(4)
    elif form == "key":
        picture, options = picture.convert("RGB"), {"transparency": (0, 0, 0)}
    else:
        picture = picture.convert(form)
    picture.save(tmp_path / "map.png", **options)
    with pytest.raises(PictureError, match=r"map\.png is transparent in 50% of its pixels"):
        open_opaque(tmp_path / "map.png", name="map.png")
    assert open_opaque(layer((1, 2, 3, 255)).convert("RGB")).getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (Image.new("RGBA", (24, 16), (1, 1, 1, 0)), "mode RGBA, not a map"),
        (Image.new("LA", (24, 16)), "mode LA, not a map"),
        (Image.new("RGB", (24, 16)), "mode RGB, not a map"),
        (Image.fromarray(np.full((16, 24), 300, np.uint16)), "holds the value 300"),
    ],
)
def test_maps_of_several_channels_or_large_values(
    picture: Image.Image, said: str, tmp_path: Path
) -> None:
    picture.save(tmp_path / "a.seg.png")
    with pytest.raises(PictureError, match=said):
        read_map(tmp_path / "a.seg.png", name="a")


@pytest.mark.parametrize("form", ["8 bits", "16 bits", "palette"])
def test_class_ids_of_any_depth(form: str, tmp_path: Path) -> None:
    ids = np.where(shape(), 7, 2).astype(np.uint8)
    picture = {
        "8 bits": Image.fromarray(ids),
        "16 bits": Image.fromarray(ids.astype(np.uint16)),
        "palette": Image.fromarray(ids, "L"),
    }[form]
    if form == "palette":
        picture.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    picture.save(tmp_path / "a.png")
    assert (read_map(tmp_path / "a.png", name="a").values == ids).all()


@pytest.mark.parametrize(("grays", "ids"), [((100, 255), (0, 1)), ((3, 200), (0, 1))])
def test_a_palette_of_gray_levels(
    grays: tuple[int, int], ids: tuple[int, int], tmp_path: Path
) -> None:
    """Its indices are the ids where the gray levels are no classes."""
    root = with_palette(made.camvid(tmp_path), grays)
    assert set(open_dataset("camvid", root)[0].segmentation.unique().tolist()) == set(ids)


def test_a_palette_that_can_be_read_in_two_ways_is_refused(tmp_path: Path) -> None:
    """A tool that saved the ids 4 and 7 with a palette of two gray levels: indices are 0 and 1."""
    root = with_palette(made.camvid(tmp_path), (4, 7))
    with pytest.raises((DataError, PictureError), match=r"may hold the values 0, 1 or, as gray"):
        open_dataset("camvid", root)[0]


def with_palette(root: Path, grays: tuple[int, int]) -> Path:
    for file in root.rglob("*annot/*.png"):
        with Image.open(file) as picture:
            right = np.asarray(picture) == 11
        stored = Image.fromarray(right.astype(np.uint8))
        stored.putpalette([gray for gray in grays for _ in "RGB"])
        stored.save(file)
    return root
