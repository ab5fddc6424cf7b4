"""Pictures of any number of channels: arrays (.npy), and gray, RGB, RGBA and TIFF files.

`core.images` reads any picture as 8-bit RGB; here channels and bits stay as the file has them.
Values lie between the limits of their type: 0 to 255 (uint8), 0 to 65,535 (uint16), 0 to 1 (float).
The images of a tokenizer have them in [-1, 1].
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from PIL import Image, ImageSequence, TiffImagePlugin

from .channels import MOST, count_words
from .color import as_gray, as_rgb
from .errors import PictureError
from .formats import ARRAYS, suffix_of
from .images import MAX_PIXELS, open_as, printable_name, to_pictures, to_tensor

if TYPE_CHECKING:  # a process that only reads pictures does not load torch
    from torch import Tensor

__all__ = [
    "array_to_tensor",
    "fitted_image",
    "range_words",
    "read_array",
    "resized",
    "tensor_to_array",
]

_MAGIC = b"\x93NUMPY"
_RAW = ("RGBA", "RGBX")
"""The modes of four channels, the fourth of which is read as the others."""


def read_array(
    source: str | Path | bytes | np.ndarray,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read a picture as an array (H, W, C) of 1 to 16 channels: uint8, uint16 or float32.

    Args:
        source: a file, the bytes of a .npy file, or an array. A .npy file and an array are (H, W)
            or (H, W, C) of uint8, uint16 or float in [0, 1]. Other files are those of
            `core.images.open_picture`: gray is 1 channel (integers of more than 8 bits become
            uint16, floats stay), RGBA 4, other color 3. A TIFF of several gray pages of one size
            has a channel per page.
        name: the picture's name in messages; by default the file's name.
        max_pixels: pictures of more pixels are refused before anything is decoded.

    Raises:
        PictureError: the picture is missing, broken, too large, or no such array. Pickled objects
            are never loaded.
    """
    if isinstance(source, np.ndarray):
        return _checked(source, name or "the array", max_pixels)
    if isinstance(source, bytes):
        return _of_npy(io.BytesIO(source), printable_name(name or "the array"), max_pixels)
    path = Path(source)
    if suffix_of(path.name) not in ARRAYS:
        return _of_picture(path, name, max_pixels)
    shown = printable_name(name or path.name)
    try:
        with path.open("rb") as stream:
            return _of_npy(stream, shown, max_pixels)
    except FileNotFoundError:
        raise PictureError(f"{shown} does not exist; check the path.") from None
    except OSError as error:
        raise PictureError(f"{shown} cannot be read ({error.strerror}); check it.") from None


def array_to_tensor(array: np.ndarray) -> Tensor:
    """Convert an array (H, W) or (H, W, C), as `read_array` takes it, to the image of a tokenizer:
    float32 (C, H, W) in [-1, 1]. Raises PictureError."""
    import torch

    array = _checked(array, "the array", MAX_PIXELS)
    image = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)).astype(np.float32))
    return image.div_(_top(array) / 2).sub_(1.0)


def tensor_to_array(
    image: Tensor, kind: Literal["uint8", "uint16", "float32"] = "float32"
) -> np.ndarray:
    """Convert an image (C, H, W) in [-1, 1] to an array (H, W, C) of a type, between its limits.

    Values outside are clamped, and NaN becomes the lowest one.
    """
    unit = (image.detach().float().nan_to_num(nan=-1.0).clamp(-1, 1) + 1) / 2
    values = unit.movedim(-3, -1).cpu().numpy()
    if kind == "float32":
        return values
    # In float64: float32 has no whole number of levels beyond 16 bits to spare for rounding.
    return np.rint(values.astype(np.float64) * np.iinfo(kind).max).astype(kind)


def resized(array: np.ndarray, width: int, height: int, filter: Image.Resampling) -> np.ndarray:
    """Return an array (H, W, C) of `read_array` at another size: float32 (height, width, C) in
    [0, 1]. Each channel is resized by itself, and values outside the limits are clamped."""
    values = array.astype(np.float32) / np.float32(_top(array))
    size = (width, height)
    channels = [
        np.asarray(Image.fromarray(channel).resize(size, filter, reducing_gap=3.0))
        for channel in np.ascontiguousarray(values.transpose(2, 0, 1))
    ]
    return np.stack(channels, axis=2).clip(0, 1)


def fitted_image(
    image: Tensor,
    width: int,
    height: int,
    filter: Image.Resampling,
    reducing_gap: float | None = None,
) -> Tensor:
    """Return an image (C, H, W) in [-1, 1] at another size; RGB is rounded to 8 bits before and
    after, as a picture file holds it, and other channels are not."""
    if len(image) == 3:
        picture = to_pictures(image[None])[0]
        return to_tensor(picture.resize((width, height), filter, reducing_gap=reducing_gap))
    return array_to_tensor(resized(tensor_to_array(image), width, height, filter))


def range_words(array: np.ndarray) -> str:
    """Return the type of an array and the limits of its values in words."""
    return f"{array.dtype} from 0 to {_top(array):,g}"


def _top(array: np.ndarray) -> float:
    return 1.0 if array.dtype.kind == "f" else float(np.iinfo(array.dtype).max)


def _of_npy(stream: BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    """Return the array of an open .npy file."""
    try:
        _check_header(stream, name, max_pixels)
        stream.seek(0)
        array = np.load(stream, allow_pickle=False)
    except (PictureError, OSError):
        raise
    except Exception as error:  # broken headers raise almost anything
        reason = printable_name(" ".join(str(error).split()).rstrip("."))
        raise PictureError(f"{name} is broken ({reason}); write or copy it again.") from None
    return _checked(array, name, max_pixels)


def _of_picture(path: Path, name: str | None, max_pixels: int) -> np.ndarray:
    """Return the channels of a picture file that is no array."""
    pages: list[np.ndarray] = []

    def convert(picture: Image.Image, shown: str) -> Image.Image:
        if picture.mode in _RAW:  # the fourth channel is data here, not transparency
            return Image.frombytes("RGBA", picture.size, picture.tobytes("raw", picture.mode))
        if not _is_gray(picture):
            return as_rgb(picture, shown)
        whole.append(picture.mode.startswith("I"))
        first = as_gray(picture, shown)
        pages.extend(_gray_pages(picture, shown))
        return first

    whole: list[bool] = []
    try:
        upright = open_as(path, convert, name=name, max_pixels=max_pixels)
    except PictureError:
        if (samples := _samples(path)) > 4:
            raise PictureError(
                f"{printable_name(name or path.name)} has {samples} channels in one TIFF page, "
                "which Pillow does not read; save it as .npy (H, W, C), or a gray page per channel."
            ) from None
        raise
    if len(pages) > 1:  # Pillow has made every page upright
        return np.concatenate(pages, axis=2)
    return _levels(upright, whole=any(whole))


def _levels(picture: Image.Image, whole: bool) -> np.ndarray:
    """Return a picture's pixels (H, W, C); ``whole``: gray of more than 8 bits is in integers."""
    array = np.asarray(picture)
    if whole:
        array = np.rint(array * 65535.0).astype(np.uint16)
    return array[:, :, None] if array.ndim == 2 else array


def _samples(path: Path) -> int:
    """Return the samples per pixel that a TIFF's header states; 0 if it states none."""
    try:
        with path.open("rb") as stream:
            tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
            stream.seek(tags.next)
            tags.load(stream)
            return int(tags.get(277, 0))
    except Exception:  # no TIFF, or a broken one
        return 0


def _is_gray(picture: Image.Image) -> bool:
    return picture.mode in ("1", "L", "LA", "La", "F") or picture.mode.startswith("I")


def _gray_pages(picture: Image.Image, name: str) -> list[np.ndarray]:
    """Return the pages of a TIFF, in gray; none if it has one page, or pages that are no channels:
    previews are smaller, and pages of color are pictures of their own."""
    frames = getattr(picture, "n_frames", 1)
    if picture.format != "TIFF" or frames == 1:
        return []
    if frames > MOST:
        raise PictureError(f"{name} has {frames} pages; give at most {MOST}, one per channel.")
    size, pages = picture.size, []
    for page in ImageSequence.Iterator(picture):
        page.load()
        if page.size != size or not _is_gray(page):
            return []
        pages.append(_levels(as_gray(page, name), whole=page.mode.startswith("I")))
    return pages if len({page.dtype for page in pages}) == 1 else []


def _check_header(stream: BinaryIO, name: str, max_pixels: int) -> None:
    """Raise PictureError unless a .npy file's header describes a picture; nothing else is read."""
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise PictureError(f"{name} is no .npy file; save it with numpy.save.")
    stream.seek(0)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise PictureError(f"{name} is not a plain array; give uint8, uint16, or float in [0, 1].")
    if version == (1, 0):
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, _, kind = np.lib.format.read_array_header_2_0(stream)
    _check_kind(shape, kind, name, max_pixels)


def _check_kind(shape: tuple[int, ...], kind: np.dtype[Any], name: str, max_pixels: int) -> None:
    if kind.hasobject:
        raise PictureError(
            f"{name} holds Python objects, which are never loaded; save an array of numbers."
        )
    if kind.kind not in "uf" or (kind.kind == "u" and kind.itemsize > 2):
        raise PictureError(f"{name} is an array of {kind}; give uint8, uint16, or float in [0, 1].")
    if len(shape) not in (2, 3) or 0 in shape:
        raise PictureError(f"{name} has shape {shape}; give (H, W) or (H, W, C).")
    if len(shape) == 3 and shape[2] > MOST:
        raise PictureError(
            f"{name} has shape {shape}, which is {count_words(shape[2])}; give (H, W, C) of at "
            f"most {MOST}."
        )
    if shape[0] * shape[1] > max_pixels:
        raise PictureError(
            f"{name} is too large ({shape[1]}x{shape[0]} pixels); shrink it to at most "
            f"{max_pixels / 1e6:g} million pixels."
        )


def _checked(array: np.ndarray, name: str, max_pixels: int) -> np.ndarray:
    """Return an array as (H, W, C) in the machine's byte order. Raises PictureError."""
    _check_kind(array.shape, array.dtype, name, max_pixels)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise PictureError(f"{name} holds NaN or infinite values; replace them.")
        if array.min() < 0 or array.max() > 1:
            raise PictureError(
                f"{name} holds {array.dtype} values from {array.min():g} to {array.max():g}; scale "
                "them to [0, 1]."
            )
        array = array.astype(np.float32)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return array[:, :, None] if array.ndim == 2 else array
