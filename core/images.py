"""Input and output of pictures: files, PIL and NumPy become RGB pictures and tensors.

Everything that reads a picture calls `open_picture`, so that training, the command line and the
explorer accept and refuse the same files with the same messages.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from .color import as_rgb, as_rgba, to_bytes
from .errors import PictureError, printable
from .formats import ARRAYS, SUFFIXES, UNREAD, formats, guess, suffix_of
from .orientation import load, orientation_of, turn, turn_back

if TYPE_CHECKING:  # a process that only reads pictures does not load torch
    from torch import Tensor

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "list_pictures",
    "open_as",
    "open_picture",
    "open_turned",
    "open_unturned",
    "open_with_alpha",
    "scan_folder",
    "shrink",
    "to_pictures",
    "to_pixels",
    "to_tensor",
]

MAX_PIXELS = 50_000_000

_NO_FOLDERS = ("__MACOSX", "lost+found")  # folders that systems create beside the pictures


def open_picture(
    source: str | Path | bytes | BinaryIO | Image.Image | np.ndarray,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Read any picture as an upright 8-bit RGB picture.

    Args:
        source: a path, a file's bytes, an open binary file, a PIL picture, or an array: uint8 or
            uint16 of full range, or float in [0, 1]; (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).
        name: the picture's name in messages; by default the file's name.
        max_pixels: pictures of more pixels are refused before anything is decoded.

    Returns:
        A loaded picture of mode "RGB": rotated according to its EXIF orientation, transparency
        laid over white, the first frame of an animation, 16 bits scaled to 8, converted to sRGB
        from an embedded color profile if it is valid.

    Raises:
        PictureError: the picture is missing, broken, truncated, empty, too large, or no picture.
    """
    return turn(*_open(source, name, max_pixels))


def open_as(
    source: str | Path | bytes | BinaryIO | Image.Image,
    convert: Callable[[Image.Image, str], Image.Image],
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Read a picture as `open_picture` does, but to the mode that ``convert(picture, name)``
    returns, instead of RGB. Raises PictureError."""
    return turn(*_open(source, name, max_pixels, convert))


def open_with_alpha(
    source: str | Path | bytes | BinaryIO | Image.Image | np.ndarray,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Read a picture as `open_picture` does, but as "RGBA": transparency is kept, not laid over
    white, and no color profile is applied. Raises PictureError."""
    return turn(*_open(source, name, max_pixels, as_rgba))


def open_turned(
    source: str | Path | bytes | BinaryIO | Image.Image,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Image.Image, int]:
    """Read a picture as `open_picture` does; return it, and the EXIF orientation it was turned by.

    1: it was not turned. `core.orientation.turn` applies the same operation to what lies on the
    stored pixels, such as a map. Raises PictureError.
    """
    stored, orientation = _open(source, name, max_pixels)
    return turn(stored, orientation), orientation


def open_unturned(
    source: str | Path | bytes | BinaryIO | Image.Image,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Image.Image, int]:
    """Read a picture as it is stored, otherwise as `open_picture`; return it and its orientation.

    The orientation is 1..8: `core.orientation.turn` makes the picture upright. Raises PictureError.
    """
    return _open(source, name, max_pixels)


def to_tensor(picture: Image.Image | np.ndarray) -> Tensor:
    """Convert a picture to float32 (3, H, W) in [-1, 1]; it takes what `open_picture` takes."""
    import torch

    if isinstance(picture, np.ndarray):
        size, plain = picture.shape, picture.dtype == np.uint8 and picture.shape[2:] == (3,)
    else:  # the file may not be read yet, and `info` may hold an orientation or a profile
        size, plain = picture.size, type(picture) is Image.Image and picture.mode == "RGB"
        plain = plain and not picture.info
    if not plain or 0 in size:
        picture = open_picture(picture)
    pixels_HW3 = np.array(picture)  # a copy: the tensor must not share memory with the picture
    return torch.from_numpy(pixels_HW3).permute(2, 0, 1).float().div(127.5).sub(1.0).contiguous()


def to_pixels(images: Tensor) -> np.ndarray:
    """Convert images (..., 3, H, W) in [-1, 1] to uint8 (..., H, W, 3).

    Values are rounded; those outside are clamped and NaN becomes black, so that the output of a
    diverged model can still be displayed. Raises ValueError for another shape or integer images.
    """
    import torch

    if images.ndim < 3 or images.shape[-3] != 3 or not images.is_floating_point():
        raise ValueError(
            f"images must be float (..., 3, H, W) in [-1, 1], got {images.dtype} "
            f"{tuple(images.shape)}."
        )
    images = images.detach().float().nan_to_num(nan=-1.0).clamp(-1.0, 1.0)
    return images.add(1.0).mul(127.5).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Convert images (B, 3, H, W) in [-1, 1] to B pictures of mode "RGB"."""
    return [Image.fromarray(pixels) for pixels in to_pixels(images)]


def shrink(picture: Image.Image, max_side: int) -> Image.Image:
    """Return the picture with a longer side of at most `max_side` pixels; it is never enlarged."""
    if max_side < 1:
        raise ValueError(f"max_side must be at least 1 pixel, got {max_side}.")
    longer = max(picture.size)
    if longer <= max_side:
        return picture
    width, height = (max(1, round(side * max_side / longer)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def list_pictures(root: str | Path) -> list[Path]:
    """Return all picture files under a folder, by suffix, in the order of their relative paths.

    Links to folders are followed; hidden files and folders are skipped (`._x.jpg` of macOS is
    not a picture). Raises PictureError if the folder is missing, a file, or cannot be read.
    """
    return scan_folder(root)[0]


def scan_folder(
    root: str | Path, suffixes: Collection[str] = SUFFIXES
) -> tuple[list[Path], Counter[str]]:
    """Return the files under a folder as `list_pictures`, but with these suffixes, and how many
    files have each suffix of an unread format. Raises PictureError as `list_pictures`."""
    root = Path(root)
    if not root.is_dir():
        wrong = "is a file, not a folder" if root.exists() else "does not exist"
        raise PictureError(f"{printable_name(str(root))} {wrong}; give a folder of pictures.")

    def refuse(error: OSError) -> None:
        folder = printable_name(str(error.filename))
        raise PictureError(
            f"the folder {folder} cannot be read ({error.strerror}); check its permissions."
        ) from error

    found, seen, unread = [], set(), Counter[str]()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a parent folder would otherwise be followed forever
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if f[0] != "." and f not in _NO_FOLDERS)
        for file in files:
            suffix = suffix_of(file)
            if file.startswith("."):
                continue
            if suffix in suffixes:
                found.append(Path(folder, file))
            elif suffix in UNREAD or suffix in ARRAYS:
                unread[suffix] += 1
    return sorted(found, key=lambda path: path.relative_to(root).as_posix()), unread


# -- opening ---------------------------------------------------------------------------------------


_Convert = Callable[[Image.Image, str], Image.Image]


def _open(
    source: object, name: str | None, max_pixels: int, convert: _Convert = as_rgb
) -> tuple[Image.Image, int]:
    """Return the stored pixels of a picture, converted, and its orientation."""
    if isinstance(source, (str, os.PathLike)):
        return _from_path(Path(source), name, max_pixels, convert)
    name = printable_name(name or name_of(source))
    if isinstance(source, np.ndarray):
        return _from_array(source, name, max_pixels, convert), 1
    if isinstance(source, Image.Image):
        return _decode(source, name, max_pixels, convert)
    stream: Any = source
    if isinstance(source, (bytes, bytearray, memoryview)):
        stream = io.BytesIO(source)
    elif not hasattr(source, "read"):
        raise PictureError(
            f"{name}: a {type(source).__name__} is not a picture; "
            "give a path, bytes, an open file, a PIL picture or an array."
        )
    return _from_stream(stream, name, max_pixels, convert)


def _from_path(
    path: Path, name: str | None, max_pixels: int, convert: _Convert
) -> tuple[Image.Image, int]:
    shown = printable_name(name or str(path))  # errors of the path itself show all of it
    try:
        if path.is_dir():
            raise PictureError(f"{shown} is a folder; give one picture file.")
        if path.exists() and not path.is_file():
            raise PictureError(f"{shown} is not a regular file; give one picture file.")
        with path.open("rb") as stream:
            return _from_stream(stream, printable_name(name or path.name), max_pixels, convert)
    except FileNotFoundError as error:
        raise PictureError(f"{shown} does not exist; check the path.") from error
    except PermissionError as error:
        raise PictureError(f"{shown} cannot be read; check its permissions.") from error
    except PictureError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long or has a NUL, a failing disk
        raise PictureError(f"{shown} cannot be opened ({_reason(error)}); check it.") from error


def _from_stream(
    stream: BinaryIO, name: str, max_pixels: int, convert: _Convert
) -> tuple[Image.Image, int]:
    head = b""
    try:
        if not getattr(stream, "seekable", lambda: True)():
            stream = io.BytesIO(stream.read())
        stream.seek(0)
        head = stream.read(512)
        if not head:
            raise PictureError(f"{name} is empty (0 bytes); copy or download it again.")
        picture = Image.open(stream, formats=formats())
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(f"{name} is {guess(head)}.") from error
    except Exception as error:  # broken headers raise almost anything, struct.error to KeyError
        raise PictureError(_explain(error, name, max_pixels)) from error
    return _decode(picture, name, max_pixels, convert)


def _decode(
    picture: Image.Image, name: str, max_pixels: int, convert: _Convert
) -> tuple[Image.Image, int]:
    """Return the stored pixels of a picture as RGB, and its orientation."""
    _check_size(picture.size, name, max_pixels)
    try:
        orientation = load(picture)
        _check_size(picture.size, name, max_pixels)  # a HEIC file may turn out larger
        rgb = convert(picture, name)
    except PictureError:
        raise
    except Exception as error:  # as above: decoders raise almost anything on broken data
        raise PictureError(_explain(error, name, max_pixels)) from error
    if orientation_of(picture) != orientation:
        rgb = turn_back(rgb, orientation)
    rgb.info = {}  # it has been applied and must not be applied again
    return rgb, orientation


def _from_array(array: np.ndarray, name: str, max_pixels: int, convert: _Convert) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise PictureError(
            f"{name} has shape {array.shape}; give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."
        )
    _check_size(array.shape[1::-1], name, max_pixels)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either byte order
        array = to_bytes(array, 65535)
    elif array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):  # false for NaN as well
            raise PictureError(
                f"{name} holds {array.dtype} values outside [0, 1]; scale them to [0, 1]."
            )
        array = to_bytes(array, 1)
    elif array.dtype != np.uint8:
        raise PictureError(
            f"{name} is an array of {array.dtype}; give uint8, uint16, or float in [0, 1]."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return convert(Image.fromarray(np.ascontiguousarray(array)), name)


# -- messages --------------------------------------------------------------------------------------


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise PictureError(f"{name} is {width}x{height} pixels; give one of at least 1x1.")
    if width * height > max_pixels:
        raise PictureError(_too_large(name, f" ({width}x{height} pixels)", max_pixels))


def _too_large(name: str, measured: str, max_pixels: int) -> str:
    return (
        f"{name} is too large{measured}; shrink it to at most {max_pixels / 1e6:g} million pixels."
    )


def _explain(error: Exception, name: str, max_pixels: int) -> str:
    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError)
    if isinstance(error, bombs):
        return _too_large(name, "", max_pixels)
    if "truncated" in str(error).lower():
        return f"{name} is truncated: its data ends too early; copy or download it again."
    return f"{name} is broken ({_reason(error)}); copy or download it again."


def name_of(source: object) -> str:
    """Return the name of an open file or picture, for a message."""
    path = getattr(source, "filename", None) or getattr(source, "name", None)
    return Path(path).name if isinstance(path, (str, os.PathLike)) and str(path) else "the picture"


def printable_name(name: str) -> str:
    """Return a file's name for a one-line message: printable, and not too long."""
    name = printable(name)
    return name if len(name) <= 200 else f"{name[:100]}...{name[-97:]}"


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(reason.splitlines()[0].rstrip("."))[:120]
