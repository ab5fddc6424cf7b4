"""Pictures of any number of channels as arrays: values, types, and each bad file in a sentence."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.arrays import array_to_tensor, fitted_image, read_array, resized, tensor_to_array
from core.errors import PictureError
from core.images import to_tensor

DEEP = np.random.default_rng(0).integers(0, 65536, (20, 30, 5), dtype=np.uint16)
"""A picture of five channels in 16 bits."""


def tiff_of_pages(file: Path, array: np.ndarray, **options: object) -> Path:
    first, *rest = (Image.fromarray(array[:, :, channel]) for channel in range(array.shape[2]))
    first.save(file, save_all=True, append_images=rest, **options)
    return file


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float64", ">u2"])
def test_npy_files_are_read_as_they_were_written(tmp_path: Path, kind: str) -> None:
    array = (DEEP / 65535).astype(kind) if "f" in kind else DEEP.astype(kind)
    np.save(tmp_path / "a.npy", array)
    found = read_array(tmp_path / "a.npy")
    assert found.shape == (20, 30, 5)
    assert found.dtype == ("float32" if "f" in kind else kind.replace(">u2", "uint16"))
    np.testing.assert_array_equal(found, array.astype(found.dtype))
    np.save(tmp_path / "gray.npy", array[:, :, 0])
    assert read_array(tmp_path / "gray.npy").shape == (20, 30, 1)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_gray_of_16_bits_keeps_them(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(DEEP[:, :, 0]).save(file)
    np.testing.assert_array_equal(read_array(file), DEEP[:, :, :1])


def test_gray_pages_of_a_tiff_are_channels(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_array(tiff_of_pages(tmp_path / "a.tif", DEEP)), DEEP)
    turned = read_array(tiff_of_pages(tmp_path / "b.tif", DEEP, tiffinfo={274: 6}))
    np.testing.assert_array_equal(turned, np.rot90(DEEP, -1))  # EXIF: 6 is turned to the right
    small = Image.fromarray(DEEP[:4, :4, 0])
    Image.fromarray(DEEP[:, :, 0]).save(tmp_path / "c.tif", save_all=True, append_images=[small])
    assert read_array(tmp_path / "c.tif").shape == (20, 30, 1)  # the second page is a preview


def test_channels_of_other_pictures(tmp_path: Path) -> None:
    bytes_ = (DEEP >> 8).astype(np.uint8)
    Image.fromarray(bytes_[:, :, :3]).save(tmp_path / "rgb.png")
    Image.fromarray(bytes_[:, :, :4], "RGBA").save(tmp_path / "rgba.png")
    Image.fromarray(bytes_[:, :, 0]).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_array(tmp_path / "rgb.png"), bytes_[:, :, :3])
    np.testing.assert_array_equal(read_array(tmp_path / "rgba.png"), bytes_[:, :, :4])
    np.testing.assert_array_equal(read_array(tmp_path / "gray.png"), bytes_[:, :, :1])


def test_arrays_become_images_and_return() -> None:
    image = array_to_tensor(DEEP)
    assert image.shape == (5, 20, 30)
    assert image.dtype == torch.float32
    assert array_to_tensor(np.array([[0, 65535]], np.uint16)).flatten().tolist() == [-1, 1]
    assert array_to_tensor(np.array([[0.0, 0.5, 1.0]])).flatten().tolist() == [-1, 0, 1]
    np.testing.assert_array_equal(tensor_to_array(image, "uint16"), DEEP)
    rgb = (DEEP[:, :, :3] >> 8).astype(np.uint8)
    assert torch.equal(array_to_tensor(rgb), to_tensor(rgb))
    assert tensor_to_array(torch.tensor([[[float("nan"), 2.0]]]), "uint8").tolist() == [
        [[0], [255]]
    ]


def test_channels_are_resized_by_themselves() -> None:
    array = np.stack([np.full((20, 30), value, np.float32) for value in (0.25, 0.5)], axis=2)
    found = resized(array, 9, 7, Image.Resampling.LANCZOS)
    assert found.shape == (7, 9, 2)
    np.testing.assert_allclose(found, array[:7, :9], atol=1e-6)
    image = array_to_tensor(array)
    assert torch.allclose(fitted_image(image, 9, 7, Image.Resampling.LANCZOS), image[:, :7, :9])


def named(folder: Path, array: np.ndarray, **options: bool) -> Path:
    np.save(folder / "bad.npy", array, **options)
    return folder / "bad.npy"


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((4, 4), np.nan), "bad.npy holds NaN or infinite values; replace them."),
        (np.full((4, 4), np.inf), "bad.npy holds NaN or infinite values; replace them."),
        (np.full((4, 4), 2.0), "bad.npy holds float64 values from 2 to 2; scale them to [0, 1]."),
        (np.full((4, 4), -0.5), "values from -0.5 to -0.5; scale them to [0, 1]."),
        (np.zeros((4, 4), int), "is an array of int64; give uint8, uint16, or float in [0, 1]."),
        (np.zeros((4, 4), np.uint32), "is an array of uint32; give uint8, uint16, or float"),
        (np.zeros(4), "bad.npy has shape (4,); give (H, W) or (H, W, C)."),
        (np.zeros((0, 4)), "bad.npy has shape (0, 4); give (H, W) or (H, W, C)."),
        (np.zeros((8, 8, 17)), "(8, 8, 17), which is 17 channels; give (H, W, C) of at most 16."),
        (np.zeros((1, 8, 8, 3)), "has shape (1, 8, 8, 3); give (H, W) or (H, W, C)."),
        (np.zeros((4, 4), [("a", "u1")]), "give uint8, uint16, or float in [0, 1]."),
    ],
)
def test_an_array_that_is_no_picture_is_refused(
    tmp_path: Path, array: np.ndarray, words: str
) -> None:
    with pytest.raises(PictureError) as caught:
        read_array(named(tmp_path, array))
    assert words in str(caught.value)
    with pytest.raises(PictureError):
        read_array(array)


class Trap:
    """An object whose unpickling is noticed."""

    sprung = False

    def __reduce__(self) -> tuple:
        return (_spring, ())


def _spring() -> None:
    Trap.sprung = True


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    objects = np.empty((2, 2), object)
    objects[:] = Trap()
    with pytest.raises(PictureError, match=r"holds Python objects, which are never loaded"):
        read_array(named(tmp_path, objects, allow_pickle=True))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(PictureError, match=r"pickle.npy is no .npy file"):
        read_array(tmp_path / "pickle.npy")
    assert not Trap.sprung


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    whole = named(tmp_path, DEEP).read_bytes()
    for name, data, words in (
        ("cut", whole[:500], "cut.npy is broken"),
        ("head", whole[:20], "head.npy is broken"),
        ("empty", b"", "empty.npy is no .npy file"),
        ("text", b"hello", "text.npy is no .npy file; save it with numpy.save."),
        ("huge", whole.replace(b"(20, 30, 5)", b"(99999,9999)"), "huge.npy is too large"),
    ):
        (tmp_path / f"{name}.npy").write_bytes(data)
        with pytest.raises(PictureError, match=words):
            read_array(tmp_path / f"{name}.npy")
    with pytest.raises(PictureError, match=r"gone.npy does not exist"):
        read_array(tmp_path / "gone.npy")


def test_a_tiff_that_pillow_does_not_read_is_named(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="minisblack", planarconfig="contig")
    with pytest.raises(PictureError, match=r"a.tif has 5 channels in one TIFF page, which Pillow"):
        read_array(tmp_path / "a.tif")
    tiff_of_pages(tmp_path / "b.tif", np.repeat(DEEP, 4, axis=2))
    with pytest.raises(PictureError, match=r"b.tif has 20 pages; give at most 16"):
        read_array(tmp_path / "b.tif")
