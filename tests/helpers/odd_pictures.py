"""Odd and broken pictures, each with its expected outcome: read correctly, or refused.

    for path, odd in write_all(folder):
        odd.check(open_picture(path))       # if odd.outcome == "reads"

The readable ones show `SCENE` (four plain quarters, so that every rotation and every exchange of
channels is visible) unless their entry has other colors.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, features

Color = tuple[int, int, int]
RED, GREEN, BLUE, GRAY = (220, 40, 30), (40, 200, 60), (30, 50, 210), (128, 128, 128)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SIZE = (48, 32)  # width, height
CORNERS = ((8, 6), (40, 6), (8, 26), (40, 26))  # x, y: well inside each quarter


@dataclass(frozen=True)
class OddPicture:
    """One file. `size` is (width, height) as read, None if the file is refused."""

    name: str
    write: Callable[[Path], object]
    size: tuple[int, int] | None = None
    colors: tuple[tuple[tuple[int, int], Color], ...] = ()  # ((x, y), RGB), ...
    tolerance: int = 0
    words: tuple[str, ...] = ()  # parts of the error message

    @property
    def outcome(self) -> str:
        return "refused" if self.size is None else "reads"

    def check(self, picture: Image.Image) -> None:
        """Assert that a readable picture was read correctly."""
        assert picture.mode == "RGB", (self.name, picture.mode)
        assert picture.size == self.size, (self.name, picture.size)
        for place, color in self.colors:
            got = picture.getpixel(place)
            off = max(abs(a - b) for a, b in zip(got, color, strict=True))
            assert off <= self.tolerance, (self.name, place, got, color)

    def check_message(self, message: str) -> None:
        """Assert that the refusal is one sentence with the file's name, the error and a remedy."""
        assert self.name in message, message
        assert message.endswith(".") and "\n" not in message and "; " in message, message
        for word in self.words:
            assert word in message, (word, message)


def write_all(folder: Path, outcome: str | None = None) -> list[tuple[Path, OddPicture]]:
    """Write all odd pictures, or those of one outcome ("reads", "refused"), into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [odd for odd in ODD_PICTURES if outcome in (None, odd.outcome)]
    for odd in chosen:
        odd.write(folder / odd.name)
    return [(folder / odd.name, odd) for odd in chosen]


# -- contents --------------------------------------------------------------------------------------


def quarters(*colors: Color | Sequence[int]) -> np.ndarray:
    """Return uint8 (H, W, C): upper left, upper right, lower left, lower right."""
    width, height = SIZE
    array = np.empty((height, width, len(colors[0])), np.uint8)
    halves = (slice(0, height // 2), slice(height // 2, None))
    sides = (slice(0, width // 2), slice(width // 2, None))
    for index, color in enumerate(colors):
        array[halves[index // 2], sides[index % 2]] = color
    return array


SCENE = quarters(RED, GREEN, BLUE, GRAY)
GRAYS = quarters((20,), (90,), (160,), (240,))[:, :, 0]


def _corners(*colors: Color) -> tuple[tuple[tuple[int, int], Color], ...]:
    return tuple(zip(CORNERS, colors, strict=True))


SCENE_COLORS = _corners(RED, GREEN, BLUE, GRAY)
GRAY_COLORS = _corners(*((level,) * 3 for level in (20, 90, 160, 240)))


# -- writers ---------------------------------------------------------------------------------------


def _save(array: np.ndarray | Image.Image, format: str, **options: Any) -> Callable[[Path], object]:
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    return lambda path: picture.save(path, format=format, **options)


def _encoded(array: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(
        buffer, format=format, **options
    )
    return buffer.getvalue()


def _bytes(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _cut(data: bytes, share: float = 0.5) -> Callable[[Path], object]:
    return _bytes(data[: int(len(data) * share)])


def _png(width: int, height: int, bits: int, kind: int, rows: bytes, *chunks: bytes) -> bytes:
    """Write a PNG (PNG specification, section 11) of kinds and depths that Pillow cannot write."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks)
    return data + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png16(array: np.ndarray, kind: int, *chunks: bytes) -> bytes:
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    return _png(width, height, 16, kind, rows, *chunks)


def _tiff(width: int, height: int, bits: int, data: bytes, photometric: int = 1) -> bytes:
    """Write an uncompressed little-endian gray TIFF (TIFF 6.0, section 4)."""
    tags = ((256, width), (257, height), (258, bits), (259, 1), (262, photometric))
    tags += ((273, 8 + 2 + 9 * 12 + 4), (277, 1), (278, height), (279, len(data)))
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + directory + b"\0" * 4 + data


def _gif(width: int, height: int) -> bytes:
    """Write a GIF with a screen of any size and one frame of 1x1 pixel."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return screen + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\x00;"


def _twelve_bits(array: np.ndarray) -> bytes:
    pairs = (array.astype(np.uint32) * 4095 // 255).reshape(-1, 2)
    packed = pairs[:, 0] << 12 | pairs[:, 1]
    return b"".join(int(value).to_bytes(3, "big") for value in packed)


def _turned(orientation: int) -> np.ndarray:
    """Return SCENE as a camera stores it (Exif 2.3 names the sides of row 0 and column 0)."""
    turned = SCENE.swapaxes(0, 1) if orientation >= 5 else SCENE
    from_end = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1)}
    rows, columns = from_end.get(orientation, (1, 1))
    return np.ascontiguousarray(turned[::rows, ::columns])


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()  # as bytes: Pillow's AVIF writer removes the orientation from an object


def _swapped_profile() -> bytes:
    """Return a valid RGB profile that exchanges red and blue.

    It is Pillow's sRGB profile with the names of the two tags exchanged and another description.
    """
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"....").replace(b"bXYZ", b"rXYZ").replace(b"....", b"bXYZ")
    return profile.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def _paletted(**options: Any) -> Image.Image:
    picture = Image.fromarray(SCENE).quantize(8)
    picture.info.update(options)
    return picture


def _one_transparent() -> Image.Image:
    """Return a paletted picture whose upper left quarter is transparent."""
    picture = _paletted()
    picture.info["transparency"] = picture.getpixel(CORNERS[0])
    return picture


def _animation() -> dict[str, Any]:
    later = [Image.new("RGB", SIZE, color) for color in ("black", "yellow")]
    return {"save_all": True, "append_images": later, "duration": 100}


# -- the pictures ----------------------------------------------------------------------------------

_HALF_RED = tuple(round(255 - 128 / 255 * (255 - level)) for level in RED)
_ALPHA = quarters((*RED, 0), (*GREEN, 255), (*BLUE, 255), (*RED, 128))
_GRAY_ALPHA = quarters((20, 0), (90, 255), (160, 255), (0, 128))
_GRAY16 = GRAYS.astype(np.uint16) * 257
_SCENE16 = SCENE.astype(np.uint16) * 257
_ALPHA_COLORS = _corners(WHITE, GREEN, BLUE, _HALF_RED)
_NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)

_READS = [
    *(
        OddPicture(
            f"exif-orientation-{turn}.jpg",
            _save(_turned(turn), "JPEG", quality=95, exif=_exif(turn)),
            SIZE,
            SCENE_COLORS,
            tolerance=8,
        )
        for turn in range(1, 9)
    ),
    OddPicture("exif-orientation.png", _save(_turned(6), "PNG", exif=_exif(6)), SIZE, SCENE_COLORS),
    OddPicture(
        "exif-orientation.tif", _save(_turned(6), "TIFF", exif=_exif(6)), SIZE, SCENE_COLORS
    ),
    OddPicture(
        "exif-orientation-lzw.tif",
        _save(_turned(8), "TIFF", exif=_exif(8), compression="tiff_lzw"),
        SIZE,
        SCENE_COLORS,
    ),
    OddPicture(
        "exif-garbage.jpg",
        _save(SCENE, "JPEG", quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage"),
        SIZE,
        SCENE_COLORS,
        tolerance=8,
    ),
    OddPicture("alpha.png", _save(_ALPHA, "PNG"), SIZE, _ALPHA_COLORS, tolerance=1),
    OddPicture("alpha.tif", _save(_ALPHA, "TIFF"), SIZE, _ALPHA_COLORS, tolerance=1),
    OddPicture(
        "gray-alpha.png",
        _save(Image.fromarray(_GRAY_ALPHA, "LA"), "PNG"),
        SIZE,
        _corners(WHITE, (90,) * 3, (160,) * 3, (127,) * 3),
        tolerance=1,
    ),
    OddPicture(
        "color-key.png",
        _save(SCENE, "PNG", transparency=RED),
        SIZE,
        _corners(WHITE, GREEN, BLUE, GRAY),
    ),
    OddPicture("palette.png", _save(_paletted(), "PNG"), SIZE, SCENE_COLORS, tolerance=4),
    OddPicture(
        "palette-one-transparent.png",
        _save(_one_transparent(), "PNG"),
        SIZE,
        _corners(WHITE, GREEN, BLUE, GRAY),
        tolerance=4,
    ),
    OddPicture(
        "palette-alpha.png",
        _save(Image.fromarray(_ALPHA).quantize(8, Image.Quantize.FASTOCTREE), "PNG"),
        SIZE,
        _ALPHA_COLORS,
        tolerance=12,
    ),
    OddPicture(
        "palette-transparent.gif",
        _save(_one_transparent(), "GIF"),
        SIZE,
        _corners(WHITE, GREEN, BLUE, GRAY),
        tolerance=4,
    ),
    OddPicture(
        "cmyk.jpg",
        _save(Image.fromarray(SCENE).convert("CMYK"), "JPEG", quality=95),
        SIZE,
        SCENE_COLORS,
        tolerance=10,
    ),
    OddPicture(
        "cmyk.tif",
        _save(Image.fromarray(SCENE).convert("CMYK"), "TIFF"),
        SIZE,
        SCENE_COLORS,
        tolerance=2,
    ),
    OddPicture("16-bit-gray.png", _bytes(_png16(_GRAY16, 0)), SIZE, GRAY_COLORS),
    OddPicture(
        "16-bit-gray-key.png",
        _bytes(_png16(_GRAY16, 0, _chunk(b"tRNS", struct.pack(">H", 20 * 257)))),
        SIZE,
        (*_corners(WHITE, *(c for _, c in GRAY_COLORS[1:])),),
    ),
    OddPicture("16-bit-color.png", _bytes(_png16(_SCENE16, 2)), SIZE, SCENE_COLORS, tolerance=1),
    OddPicture("16-bit-little.tif", _save(Image.fromarray(_GRAY16), "TIFF"), SIZE, GRAY_COLORS),
    OddPicture(
        "16-bit-big.tif",
        _save(Image.frombytes("I;16B", SIZE, _GRAY16.astype(">u2").tobytes()), "TIFF"),
        SIZE,
        GRAY_COLORS,
    ),
    OddPicture(
        "16-bit-white-is-zero.tif",
        _bytes(_tiff(*SIZE, 16, (65535 - _GRAY16).astype("<u2").tobytes(), photometric=0)),
        SIZE,
        GRAY_COLORS,
    ),
    OddPicture(
        "12-bit.tif", _bytes(_tiff(*SIZE, 12, _twelve_bits(GRAYS))), SIZE, GRAY_COLORS, tolerance=1
    ),
    OddPicture(
        "16-bit.pgm",
        _bytes(b"P5 48 32 65535\n" + _GRAY16.astype(">u2").tobytes()),
        SIZE,
        GRAY_COLORS,
    ),
    OddPicture("32-bit.tif", _save(_GRAY16.astype(np.int32), "TIFF"), SIZE, GRAY_COLORS),
    OddPicture("float-0-to-1.tif", _save(np.float32(GRAYS / 255), "TIFF"), SIZE, GRAY_COLORS),
    OddPicture("float-0-to-255.tif", _save(np.float32(GRAYS), "TIFF"), SIZE, GRAY_COLORS),
    OddPicture(
        "one-bit.png",
        _save(Image.fromarray(GRAYS > 100), "PNG"),
        SIZE,
        _corners(BLACK, BLACK, WHITE, WHITE),
    ),
    OddPicture("gray.jpg", _save(GRAYS, "JPEG", quality=95), SIZE, GRAY_COLORS, tolerance=3),
    OddPicture(
        "animated.gif", _save(SCENE, "GIF", **_animation()), SIZE, SCENE_COLORS, tolerance=4
    ),
    OddPicture("animated.png", _save(SCENE, "PNG", **_animation()), SIZE, SCENE_COLORS),
    OddPicture(
        "two-pictures.mpo",
        _save(SCENE, "MPO", quality=95, **_animation()),
        SIZE,
        SCENE_COLORS,
        tolerance=8,
    ),
    OddPicture(
        "profile-swaps-red-and-blue.png",
        _save(SCENE, "PNG", icc_profile=_swapped_profile()),
        SIZE,
        _corners(RED[::-1], GREEN[::-1], BLUE[::-1], GRAY),
        tolerance=2,
    ),
    OddPicture(
        "profile-of-another-space.jpg",
        _save(GRAYS, "JPEG", quality=95, icc_profile=_swapped_profile()),
        SIZE,
        GRAY_COLORS,
        tolerance=3,
    ),
    OddPicture(
        "profile-garbage.png",
        _save(SCENE, "PNG", icc_profile=b"no profile at all"),
        SIZE,
        SCENE_COLORS,
    ),
    OddPicture("png-called.jpg", _save(SCENE, "PNG"), SIZE, SCENE_COLORS),
    OddPicture("weiß und 夕焼け (1).png", _save(SCENE, "PNG"), SIZE, SCENE_COLORS),
    OddPicture("plain.bmp", _save(SCENE, "BMP"), SIZE, SCENE_COLORS),
    OddPicture("plain.ppm", _save(SCENE, "PPM"), SIZE, SCENE_COLORS),
    OddPicture("one-pixel.png", _save(np.uint8([[RED]]), "PNG"), (1, 1), (((0, 0), RED),)),
    OddPicture(
        "thin.png",
        _save(np.full((5000, 1, 3), BLUE, np.uint8), "PNG"),
        (1, 5000),
        (((0, 0), BLUE), ((0, 4999), BLUE)),
    ),
    OddPicture(
        "flat.png",
        _save(np.full((1, 5000, 3), BLUE, np.uint8), "PNG"),
        (5000, 1),
        (((0, 0), BLUE), ((4999, 0), BLUE)),
    ),
]
if features.check("webp"):
    _READS += [
        OddPicture(
            "alpha.webp", _save(_ALPHA, "WEBP", lossless=True), SIZE, _ALPHA_COLORS, tolerance=1
        ),
        OddPicture(
            "animated.webp", _save(SCENE, "WEBP", lossless=True, **_animation()), SIZE, SCENE_COLORS
        ),
    ]
if features.check("avif"):
    _READS += [
        OddPicture(
            "turned.avif",
            _save(_turned(6), "AVIF", quality=95, exif=_exif(6)),
            SIZE,
            SCENE_COLORS,
            tolerance=10,
        ),
    ]

_JPEG = _encoded(_NOISE, "JPEG", quality=95)
_PNG = _encoded(_NOISE, "PNG")


def _refused(name: str, data: bytes, *words: str) -> OddPicture:
    return OddPicture(name, _bytes(data), words=words)


_REFUSED = [
    _refused("empty.jpg", b"", "empty"),
    _refused("text.jpg", b"this is no picture\n" * 40, "not a picture that can be read", "JPEG"),
    _refused("random.png", _NOISE.tobytes()[:4000], "not a picture that can be read"),
    OddPicture("truncated.jpg", _cut(_JPEG), words=("truncated",)),
    OddPicture("truncated-late.jpg", _cut(_JPEG, 0.95), words=("truncated",)),
    OddPicture("truncated.png", _cut(_PNG), words=("truncated",)),
    OddPicture("truncated.gif", _cut(_encoded(_NOISE, "GIF")), words=("truncated",)),
    OddPicture("truncated.bmp", _cut(_encoded(_NOISE, "BMP")), words=("truncated",)),
    OddPicture("truncated.ppm", _cut(_encoded(_NOISE, "PPM")), words=("truncated",)),
    OddPicture(
        "truncated.tif",
        _cut(_encoded(_NOISE, "TIFF", compression="tiff_lzw")),
        words=("truncated",),
    ),
    OddPicture("header-only.jpg", _bytes(_JPEG[:300]), words=("truncated",)),
    OddPicture("header-only.png", _bytes(_PNG[:40]), words=("truncated",)),
    _refused("wrong-checksum.png", _PNG[:60] + b"\xff\xff\xff\xff" + _PNG[64:], "broken"),
    _refused("bomb.png", _png(60_000, 60_000, 8, 2, b"\0" * 1000), "too large"),
    _refused("bomb-of-bits.png", _png(9000, 6000, 1, 0, b"\0" * 1000), "9000x6000", "50 million"),
    _refused("bomb.gif", _gif(65535, 65535), "too large"),
    _refused("no-width.png", _png(0, 10, 8, 2, b"\0" * 10), "broken"),
    _refused(
        "drawing.png",
        b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "SVG",
        "save it as",
    ),
    _refused("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 200, "HEIC"),
    _refused("paper.jpg", b"%PDF-1.7\n" + b"0 " * 200, "PDF"),
    _refused("postscript.jpg", _encoded(SCENE, "EPS"), "PostScript"),
    _refused("error-page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    _refused("icon.png", _encoded(SCENE, "ICO"), "not a picture that can be read"),
    OddPicture(
        "nan.tif", _save(np.full((8, 8), np.nan, np.float32), "TIFF"), words=("non-finite",)
    ),
    OddPicture(
        "measurements.tif",
        _save(np.float32(GRAYS) * 1e6 - 5, "TIFF"),
        words=("which are not gray levels", "8 or 16 bits per channel"),
    ),
    OddPicture(
        "32-bit-negative.tif",
        _save(_GRAY16.astype(np.int32) - 9000, "TIFF"),
        words=("not gray levels",),
    ),
    OddPicture("lab.tif", _save(Image.new("LAB", SIZE), "TIFF"), words=("LAB", "RGB")),
    OddPicture("folder.jpg", lambda path: path.mkdir(), words=("folder",)),
    OddPicture(
        "dangling.jpg", lambda path: path.symlink_to("nowhere.jpg"), words=("does not exist",)
    ),
]

ODD_PICTURES: tuple[OddPicture, ...] = (*_READS, *_REFUSED)
