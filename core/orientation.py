"""EXIF orientation: pictures that cameras store turned, and what lies on their stored pixels."""

from __future__ import annotations

from PIL import Image

_UPRIGHT = {  # EXIF tag 0x0112 (Exif 2.3, table 4): the operation that makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_UNDONE = {6: 8, 8: 6}
"""The orientation that undoes another; every other one undoes itself."""


def turn(picture: Image.Image, orientation: int) -> Image.Image:
    """Return a picture as it is stored made upright, by its EXIF orientation 1..8."""
    operation = _UPRIGHT.get(orientation)
    return picture if operation is None else picture.transpose(operation)


def turn_back(picture: Image.Image, orientation: int) -> Image.Image:
    """Return an upright picture as it was stored, by the EXIF orientation it was turned by."""
    return turn(picture, _UNDONE.get(orientation, orientation))


def stored_size(upright: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the stored (width, height) of a picture, from its upright one."""
    width, height = upright
    return (height, width) if orientation >= 5 else (width, height)


def turned_box(
    box: tuple[int, int, int, int], size: tuple[int, int], orientation: int
) -> tuple[int, int, int, int]:
    """Return a box (left, top, right, bottom) on stored pixels as one on the upright picture.

    `size` is the stored (width, height).
    """
    left, top, right, bottom = box
    width, height = size
    if orientation in (2, 3, 7, 8):  # columns counted from the other side
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):  # rows counted from the other side
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if orientation >= 5 else (left, top, right, bottom)


def load(picture: Image.Image) -> int:
    """Decode a picture and return the EXIF orientation of its stored pixels, 1..8.

    Pillow itself makes TIFFs upright while it decodes them, and removes their orientation;
    afterwards `orientation_of` then differs from the result.
    """
    before = orientation_of(picture) if picture.format == "TIFF" else 1
    picture.load()
    after = orientation_of(picture)  # a PNG's may follow its pixels
    return after if after != 1 else before


def orientation_of(picture: Image.Image) -> int:
    """Return the EXIF orientation of a picture, 1..8; 1 if it has none, or one that is no such."""
    try:
        orientation = int(picture.getexif().get(0x0112, 1))
    except Exception:  # a picture that decodes must not be lost to broken EXIF
        return 1
    return orientation if orientation in _UPRIGHT else 1
