"""The formats of pictures: which files are read, by suffix, and what can be said about the others.

HEIC, the format of most phones, is read where the package pillow-heif is installed. Pillow itself
reads AVIF only in newer builds. A file that is left out must be counted and named, so the suffixes
of formats that are not read are here too, with the remedy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec

from PIL import Image, features

READABLE = "JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF or PPM"
LOSSLESS = ("PNG", "TIFF", "BMP", "DIB", "GIF", "PPM")
"""Formats without loss. A JPEG changes the ids of a map at every border."""

# Pillow would also open EPS (by running Ghostscript), PSD, FITS and thirty more: only formats in
# which people keep pictures are accepted.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "PPM", "HEIF")
_PLAIN = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"}
)
_HEIF = frozenset({".heic", ".heif", ".hif"})
_AVIF = frozenset({".avif"})
_OTHER = frozenset(
    {
        ".jp2",
        ".j2k",
        ".jpf",
        ".jpx",
        ".jpc",
        ".jxl",
        ".jxr",
        ".psd",
        ".psb",
        ".xcf",
        ".svg",
        ".svgz",
    }
    | {".tga", ".ico", ".icns", ".pcx", ".exr", ".hdr", ".dds", ".eps", ".ai", ".sgi", ".ras"}
    | {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2"}
    | {".raf", ".pef", ".srw", ".raw", ".3fr", ".fits", ".fit", ".dcm", ".qoi", ".webm", ".mp4"}
    | {".mov", ".heics", ".avifs", ".avci", ".pdf"}
)

HAS_HEIF = find_spec("pillow_heif") is not None
"""True if the optional package pillow-heif is installed."""
SUFFIXES = _PLAIN | (_HEIF if HAS_HEIF else set()) | (_AVIF if features.check("avif") else set())
"""The suffixes, in lower case, of the files that are read as pictures."""
UNREAD = (_HEIF | _AVIF | _OTHER) - SUFFIXES
"""The suffixes of formats of pictures (and films) that are not read."""

ARRAYS = frozenset({".npy"})
"""The suffixes of arrays, which are read as pictures where channels are counted."""

_MAGIC = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n",
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*"),
    "WebP": b"RIFF",
    "BMP": b"BM",
}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


@lru_cache(maxsize=1)
def formats() -> tuple[str, ...]:
    """Return the names of the formats that are read, as Pillow knows them."""
    if HAS_HEIF:
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]

        register_heif_opener()
    Image.init()  # Pillow may be built without AVIF or WebP, and refuses unknown names
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def guess(head: bytes) -> str:
    """Return a description of an unreadable file, from its first bytes, and the remedy."""
    for kind, magic in _MAGIC.items():
        if head.startswith(magic):
            return f"a broken or truncated {kind} file; copy or download it again"
    what, remedy = "not a picture that can be read", f"save it as {READABLE}"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        if HAS_HEIF:
            return "a broken or truncated HEIC file; copy or download it again"
        what = "a HEIC picture, which is not supported without pillow-heif"
        remedy = f"pip install pillow-heif, or {remedy}"
    elif head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        if ".avif" in SUFFIXES:
            return "a broken or truncated AVIF file; copy or download it again"
        what = "an AVIF picture, which this build of Pillow does not read"
        remedy = "pip install --upgrade pillow, or save it as JPEG or PNG"
    elif start.startswith((b"<svg", b"<?xml")) and b"<svg" in start:
        what = "an SVG drawing, which is not supported"
    elif start.startswith((b"<!doctype html", b"<html")):
        what = "a web page, not a picture"
    elif head.startswith(b"%PDF"):
        what = "a PDF, which is not supported"
    elif head.startswith(b"%!PS"):
        what = "PostScript, which is not supported"
    return f"{what}; {remedy}"


def unread_notes(suffixes: Counter[str]) -> list[str]:
    """Return a note for each format that was left out: "20 .heic files are not read (…)"."""
    notes = []
    for suffix, count in sorted(suffixes.items()):
        if suffix in _HEIF:
            remedy = "pip install pillow-heif"
        elif suffix in _AVIF:
            remedy = "pip install --upgrade pillow"
        elif suffix in ARRAYS:
            remedy = "in RGB, arrays are read only from a folder without other pictures"
        else:
            remedy = "convert them to JPEG or PNG"
        verb = "file is" if count == 1 else "files are"
        notes.append(f"{count:,} {suffix} {verb} not read ({remedy})")
    return notes


def count_unread(names: Iterable[str]) -> Counter[str]:
    """Return the number of names of each suffix of a format that is not read."""
    found: Counter[str] = Counter()
    for name in names:
        suffix = suffix_of(name)
        if suffix in UNREAD and not name.startswith("."):
            found[suffix] += 1
    return found


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name from its last dot, in lower case; "" if it has none."""
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""
