"""core.images: every kind of picture is read correctly or refused in one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, ImageFile

from core.errors import PictureError
from core.images import list_pictures, open_picture, shrink, to_pictures, to_pixels, to_tensor
from tests.helpers.odd_pictures import (
    BLUE,
    CORNERS,
    GRAY,
    GREEN,
    ODD_PICTURES,
    RED,
    SCENE,
    SIZE,
    WHITE,
    OddPicture,
)

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # a correct warning of Pillow

READS = [odd for odd in ODD_PICTURES if odd.outcome == "reads"]
REFUSED = [odd for odd in ODD_PICTURES if odd.outcome == "refused"]


def by_name(name: str) -> OddPicture:
    return next(odd for odd in ODD_PICTURES if odd.name == name)


def named(odd: OddPicture) -> str:
    return odd.name


def colors_at_corners(picture: Image.Image) -> list[tuple[int, ...]]:
    return [picture.getpixel(corner) for corner in CORNERS]


class TestOddPictures:
    def test_there_are_enough_of_each_outcome_with_distinct_names(self):
        assert len(READS) >= 24 and len(REFUSED) >= 24
        assert len({odd.name for odd in ODD_PICTURES}) == len(ODD_PICTURES)

    @pytest.mark.parametrize("odd", READS, ids=named)
    def test_reads_from_path_bytes_and_stream(self, odd: OddPicture, tmp_path: Path):
        path = tmp_path / odd.name
        odd.write(path)
        from_path = open_picture(path)
        odd.check(from_path)
        data = path.read_bytes()
        assert open_picture(str(path)).tobytes() == from_path.tobytes()
        assert open_picture(data).tobytes() == from_path.tobytes()
        stream = io.BytesIO(data)
        stream.seek(0, io.SEEK_END)  # an earlier reader may have left the position at the end
        assert open_picture(stream).tobytes() == from_path.tobytes()
        assert not stream.closed

    @pytest.mark.parametrize("odd", READS, ids=named)
    def test_nothing_is_applied_twice(self, odd: OddPicture, tmp_path: Path):
        odd.write(tmp_path / odd.name)
        once = open_picture(tmp_path / odd.name)
        assert open_picture(once).tobytes() == once.tobytes()
        assert to_pixels(to_tensor(once)).tobytes() == once.tobytes()

    @pytest.mark.parametrize("odd", REFUSED, ids=named)
    def test_refuses_in_one_sentence(self, odd: OddPicture, tmp_path: Path):
        path = tmp_path / odd.name
        odd.write(path)
        with pytest.raises(PictureError) as caught:
            open_picture(path)
        odd.check_message(str(caught.value))
        if path.is_file():
            with pytest.raises(PictureError) as caught:
                open_picture(path.read_bytes(), name=odd.name)
            odd.check_message(str(caught.value))

    @pytest.mark.filterwarnings("ignore")
    def test_random_damage_raises_only_picture_errors(self, tmp_path: Path):
        rng = np.random.default_rng(0)
        outcomes = set()
        for odd in READS:
            odd.write(tmp_path / odd.name)
            data = (tmp_path / odd.name).read_bytes()
            for _ in range(8):
                damaged = bytearray(data)
                for _ in range(rng.integers(1, 6)):
                    reach = min(len(data), int(rng.choice([80, 500, len(data)])))
                    damaged[rng.integers(reach)] = rng.integers(256)
                try:
                    assert open_picture(bytes(damaged)).mode == "RGB"
                    outcomes.add("read")
                except PictureError as error:
                    assert str(error).endswith(".") and "\n" not in str(error)
                    outcomes.add("refused")
        assert outcomes == {"read", "refused"}


class TestSafety:
    def test_a_bomb_is_refused_before_it_is_decoded(self, tmp_path: Path, monkeypatch):
        path = tmp_path / "bomb-of-bits.png"
        by_name(path.name).write(path)

        def decode(self: ImageFile.ImageFile) -> None:
            raise AssertionError("decoded")

        monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
        with pytest.raises(PictureError, match="9000x6000"):
            open_picture(path)

    def test_max_pixels_counts_all_pixels(self):
        picture = Image.new("RGB", (10, 20))
        assert open_picture(picture, max_pixels=200).size == (10, 20)
        for source in (picture, np.zeros((20, 10), np.uint8)):
            with pytest.raises(PictureError, match=r"10x20 pixels"):
                open_picture(source, max_pixels=199)

    def test_pillow_globals_are_unchanged(self, tmp_path: Path):
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        for name in ("truncated.jpg", "bomb.png", "alpha.png"):
            by_name(name).write(tmp_path / name)
            with contextlib.suppress(PictureError):
                open_picture(tmp_path / name)
            assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)

    def test_a_bomb_is_refused_where_warnings_are_errors(self, tmp_path: Path):
        path = tmp_path / "large.png"
        Image.new("1", (10_000, 10_000)).save(path)  # Pillow itself would only warn
        with warnings.catch_warnings(), pytest.raises(PictureError, match="too large"):
            warnings.simplefilter("error")
            open_picture(path)

    def test_postscript_is_never_run(self, tmp_path: Path, monkeypatch):
        def run(*args: object, **kwargs: object) -> None:
            raise AssertionError("Ghostscript was started")

        monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
        Image.fromarray(SCENE).save(tmp_path / "x.jpg", format="EPS")
        with pytest.raises(PictureError, match="PostScript"):
            open_picture(tmp_path / "x.jpg")


class TestSources:
    def test_a_pil_picture_is_rotated_in_a_copy(self, tmp_path: Path):
        path = tmp_path / "exif-orientation-6.jpg"
        odd = by_name(path.name)
        odd.write(path)
        with Image.open(path) as source:
            odd.check(open_picture(source))
            assert source.size == SIZE[::-1] and source.getexif()[0x0112] == 6
            for unturned in (source, source.copy()):
                odd.check(to_pictures(to_tensor(unturned)[None])[0])

    def test_the_result_is_not_the_source(self):
        source = Image.fromarray(SCENE)
        open_picture(source).paste((0, 0, 0), (0, 0, *SIZE))
        assert np.array_equal(np.asarray(source), SCENE)

    @pytest.mark.parametrize("mode", ["RGBX", "HSV", "YCbCr", "CMYK", "RGBA", "RGBa"])
    def test_color_modes(self, mode: str):
        rgb = Image.fromarray(SCENE)
        source = rgb.convert("RGBA").convert(mode) if mode == "RGBa" else rgb.convert(mode)
        for got, want in zip(
            colors_at_corners(open_picture(source)), (RED, GREEN, BLUE, GRAY), strict=True
        ):
            assert np.allclose(got, want, atol=4)

    def test_premultiplied_and_paletted_alpha_lie_over_white(self):
        half = Image.new("RGBA", SIZE, (200, 100, 0, 128))
        for source in (half, half.convert("RGBa")):
            assert np.allclose(open_picture(source).getpixel((0, 0)), (227, 177, 127), atol=2)
        clear = Image.new("PA", SIZE)
        assert open_picture(clear).getpixel((0, 0)) == WHITE
        assert open_picture(Image.new("La", SIZE)).getpixel((0, 0)) == WHITE

    @pytest.mark.parametrize(
        ("array", "want"),
        [
            (np.full((4, 6), 77, np.uint8), (77, 77, 77)),
            (np.full((4, 6, 1), 77, np.uint8), (77, 77, 77)),
            (np.full((4, 6, 3), RED, np.uint8), RED),
            (np.full((4, 6, 4), (*RED, 255), np.uint8), RED),
            (np.full((4, 6, 4), (*RED, 0), np.uint8), WHITE),
            (np.full((4, 6), 77 * 257, np.uint16), (77, 77, 77)),
            (np.full((4, 6, 3), 65535, ">u2"), WHITE),
            (np.full((4, 6, 3), 0.5, np.float16), (128, 128, 128)),
            (np.full((4, 6, 3), 1.0, np.float64), WHITE),
            (np.full((4, 6, 4), 0.0, np.float32), WHITE),
            (np.full((6, 4, 3), BLUE, np.uint8).swapaxes(0, 1), BLUE),
        ],
    )
    def test_arrays(self, array: np.ndarray, want: tuple[int, int, int]):
        picture = open_picture(array)
        assert picture.mode == "RGB" and picture.size == (6, 4)
        assert picture.getpixel((5, 3)) == want
        assert to_tensor(array).shape == (3, 4, 6)

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((4, 6), np.int64), "int64"),
            (np.zeros((4, 6), bool), "bool"),
            (np.zeros((4, 6), object), "object"),
            (np.zeros((4, 6), np.complex64), "complex64"),
            (np.full((4, 6), 1.5), r"outside \[0, 1\]"),
            (np.full((4, 6), -0.1), r"outside \[0, 1\]"),
            (np.full((4, 6), np.nan), r"outside \[0, 1\]"),
            (np.zeros((4, 6, 2), np.uint8), r"shape \(4, 6, 2\)"),
            (np.zeros(4, np.uint8), r"shape \(4,\)"),
            (np.zeros((1, 4, 6, 3), np.uint8), r"shape \(1, 4, 6, 3\)"),
            (np.zeros((0, 6, 3), np.uint8), "6x0 pixels"),
            (np.zeros((4, 0), np.float32), "0x4 pixels"),
        ],
    )
    def test_other_arrays_are_refused(self, array: np.ndarray, words: str):
        with pytest.raises(PictureError, match=words):
            open_picture(array, name="drawing")
        with pytest.raises(PictureError, match=words):
            to_tensor(array)

    def test_an_empty_pil_picture_is_refused(self):
        for size in ((0, 5), (5, 0)):
            with pytest.raises(PictureError, match="at least 1x1"):
                open_picture(Image.new("RGB", size))
            with pytest.raises(PictureError, match="at least 1x1"):
                to_tensor(Image.new("RGB", size))

    def test_a_stream_that_cannot_seek(self, tmp_path: Path):
        read_end, write_end = os.pipe()
        with os.fdopen(write_end, "wb") as pipe:
            Image.fromarray(SCENE[:4, :4]).save(tmp_path / "x.png")
            pipe.write((tmp_path / "x.png").read_bytes())
        with os.fdopen(read_end, "rb") as pipe:
            assert open_picture(pipe).getpixel((3, 3)) == RED

    @pytest.mark.parametrize("source", [None, 3, ["x.png"], {"a": 1}])
    def test_other_things_are_refused(self, source: object):
        with pytest.raises(PictureError, match=type(source).__name__):
            open_picture(source)


class TestMessages:
    def test_wrong_paths(self, tmp_path: Path):
        (tmp_path / "x.png").write_bytes(b"x")
        os.mkfifo(tmp_path / "pipe.png")
        wrong = {
            "missing.png": "does not exist",
            "x.png/y.png": "cannot be opened",
            "nul\0.png": "cannot be opened",
            "a" * 5000 + ".png": "cannot be opened",
            "pipe.png": "not a regular file",
        }
        for name, words in wrong.items():
            with pytest.raises(PictureError, match=words) as caught:
                open_picture(tmp_path / name)
            message = str(caught.value)
            assert message.isprintable() and message.endswith(".") and len(message) < 400

    def test_messages_use_the_given_name(self, tmp_path: Path):
        (tmp_path / "upload-8f3a.tmp").write_bytes(b"")
        for path, words in (("upload-8f3a.tmp", "is empty"), ("gone.tmp", "does not exist")):
            with pytest.raises(PictureError) as caught:
                open_picture(tmp_path / path, name="my cat.jpg")
            assert str(caught.value).startswith(f"my cat.jpg {words}")
            assert str(tmp_path) not in str(caught.value)

    def test_names_cannot_break_the_line(self):
        for name in ("two\nlines.jpg", "bell\x07.jpg", "lone\udcff.jpg", "turn\u202egpj.exe"):
            with pytest.raises(PictureError) as caught:
                open_picture(b"", name=name)
            assert str(caught.value).isprintable()
            str(caught.value).encode()

    def test_a_stream_is_named_after_its_file(self, tmp_path: Path):
        (tmp_path / "notes.jpg").write_text("words")
        with (
            (tmp_path / "notes.jpg").open("rb") as stream,
            pytest.raises(PictureError, match=r"^notes\.jpg is"),
        ):
            open_picture(stream)


class TestTensors:
    def test_every_level_survives_the_round_trip(self):
        levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
        array = np.stack([levels, levels.T, levels[::-1]], axis=2)
        for source in (array, Image.fromarray(array), array[:, ::-1]):
            image = to_tensor(source)
            assert image.dtype == torch.float32 and image.shape == (3, 16, 16)
            assert image.is_contiguous()
            assert image.min() == -1.0 and image.max() == 1.0
            assert np.array_equal(to_pixels(image), np.asarray(source))

    def test_values_are_linear_in_the_levels(self):
        array = np.uint8([[[0, 51, 255], [102, 204, 1]]])
        want = array.astype(np.float64) / 255 * 2 - 1
        got = to_tensor(array).permute(1, 2, 0).numpy()
        assert np.abs(got - want).max() < 1e-6

    def test_the_tensor_has_its_own_memory(self):
        array = np.zeros((2, 2, 3), np.uint8)
        image = to_tensor(array)
        array[:] = 255
        assert (image == -1).all()

    def test_pixels_are_rounded_clamped_and_finite(self):
        values = [-2.0, 2.0, float("nan"), float("inf"), 0.0039, 0.0040, -1 + 1 / 128]
        want = [0, 255, 0, 255, 128, 128, 1]
        for dtype in (torch.float32, torch.float64):
            images = torch.tensor(values, dtype=dtype).expand(3, 1, -1)
            assert to_pixels(images)[0, :, 0].tolist() == want
        assert to_pixels(torch.full((3, 1, 1), 0.25, dtype=torch.bfloat16)).flatten()[0] == 159

    def test_leading_dimensions_are_kept(self):
        images = torch.rand(2, 4, 3, 5, 6, requires_grad=True) * 2 - 1
        pixels = to_pixels(images)
        assert pixels.shape == (2, 4, 5, 6, 3) and pixels.dtype == np.uint8
        assert np.array_equal(pixels[1, 2], to_pixels(images[1, 2]))

    @pytest.mark.parametrize(
        "images", [torch.zeros(4, 5), torch.zeros(1, 4, 5), torch.zeros(3, 4, 5, dtype=torch.uint8)]
    )
    def test_other_tensors_are_refused(self, images: torch.Tensor):
        with pytest.raises(ValueError, match=r"\(\.\.\., 3, H, W\)"):
            to_pixels(images)

    def test_pictures(self):
        pictures = to_pictures(torch.stack([to_tensor(SCENE), to_tensor(255 - SCENE)]))
        assert [picture.size for picture in pictures] == [SIZE, SIZE]
        assert np.array_equal(np.asarray(pictures[0]), SCENE)
        assert np.array_equal(np.asarray(pictures[1]), 255 - SCENE)


class TestShrink:
    def test_the_longer_side_and_the_aspect(self):
        assert shrink(Image.new("RGB", (300, 200)), 150).size == (150, 100)
        assert shrink(Image.new("RGB", (200, 300)), 150).size == (100, 150)
        assert shrink(Image.new("RGB", (5000, 1)), 100).size == (100, 1)

    def test_never_enlarges(self):
        picture = Image.fromarray(SCENE)
        assert shrink(picture, 48).tobytes() == picture.tobytes()
        assert shrink(picture, 1000).size == SIZE

    def test_averages_instead_of_picking(self):
        board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
        small = np.asarray(shrink(Image.fromarray(board).convert("RGB"), 32))
        assert np.abs(small[4:-4, 4:-4].astype(float) - 127.5).max() < 6

    def test_a_side_of_zero_is_refused(self):
        with pytest.raises(ValueError, match="at least 1"):
            shrink(Image.new("RGB", (5, 5)), 0)


class TestListPictures:
    def test_by_suffix_at_any_depth_in_order(self, tmp_path: Path):
        keep = ["B.JPG", "a/x.png", "a.png", "a/b/c.webp", "z.tiff"]
        drop = ["notes.txt", "a/._x.png", ".hidden.png", ".git/x.png", "__MACOSX/a.png", "jpg"]
        for name in keep + drop:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "folder.png").mkdir()
        found = [path.relative_to(tmp_path).as_posix() for path in list_pictures(tmp_path)]
        assert found == ["B.JPG", "a.png", "a/b/c.webp", "a/x.png", "z.tiff"]
        assert list_pictures(str(tmp_path)) == list_pictures(tmp_path)

    def test_links_are_followed_but_not_in_cycles(self, tmp_path: Path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "x.png").touch()
        root = tmp_path / "root"
        root.mkdir()
        (root / "linked").symlink_to(tmp_path / "elsewhere")
        (root / "up").symlink_to(root)
        assert list_pictures(root) == [root / "linked" / "x.png"]

    def test_wrong_roots(self, tmp_path: Path, monkeypatch):
        (tmp_path / "x.png").touch()
        with pytest.raises(PictureError, match=r"missing does not exist; give a folder"):
            list_pictures(tmp_path / "missing")
        with pytest.raises(PictureError, match=r"x\.png is a file, not a folder"):
            list_pictures(tmp_path / "x.png")
        assert [path.name for path in list_pictures(tmp_path)] == ["x.png"]

        def forbidden(folder: str) -> None:
            raise PermissionError(13, "Permission denied", folder)

        monkeypatch.setattr(os, "scandir", forbidden)  # chmod would not stop the superuser
        with pytest.raises(PictureError, match=r"cannot be read \(Permission denied\)"):
            list_pictures(tmp_path)
