"""The conversion of pictures of any PIL mode, bit depth, transparency and profile to 8-bit sRGB."""

from __future__ import annotations

import io
import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from .errors import PictureError

_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")


def as_rgb(picture: Image.Image, name: str) -> Image.Image:
    """Return a loaded picture of any mode as a new one of mode "RGB".

    Transparency is laid over white; 16-bit and float grays are scaled, not clipped; an embedded
    color profile is applied. `name` is the picture's name in the message of a PictureError.
    """
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _deep_gray(picture, name).convert("RGB")
    if picture.mode not in _MODES:
        raise PictureError(f"{name} has the color mode {picture.mode}; save it as RGB.")
    profile = picture.info.get("icc_profile")
    if picture.mode.lower().endswith("a") or "transparency" in picture.info:
        # Pillow cannot convert premultiplied gray directly.
        rgba = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(_to_srgb(rgba.convert("RGB"), profile), mask=rgba.getchannel("A"))
        return white
    return _to_srgb(picture if picture.mode == "CMYK" else picture.convert("RGB"), profile)


def as_rgba(picture: Image.Image, name: str) -> Image.Image:
    """Return a loaded picture of any mode as a new one of mode "RGBA", with its transparency.

    Its colors are those of `as_rgb`, but transparent ones are kept as they are stored, and color
    profiles are not applied. `name` is the picture's name in the message of a PictureError.
    """
    key = picture.info.get("transparency")
    if picture.mode.startswith("I") and isinstance(key, int):
        alpha = Image.fromarray(np.where(np.asarray(picture) == key, 0, 255).astype(np.uint8))
        rgba = as_rgb(picture, name).convert("RGBA")
        rgba.putalpha(alpha)
        return rgba
    if picture.mode.lower().endswith("a") or key is not None:
        return (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    return as_rgb(picture, name).convert("RGBA")


def as_gray(picture: Image.Image, name: str) -> Image.Image:
    """Return a loaded picture of any mode as gray: "L", or "F" in [0, 1] of more than 8 bits.

    Colors become their luma (ITU-R 601-2), as Pillow computes it; transparency is laid over white.
    `name` is the picture's name in the message of a PictureError.
    """
    if picture.mode == "F" or picture.mode.startswith("I"):
        levels, top = _gray_levels(picture, name)
        return Image.fromarray((levels.astype(np.float32) / np.float32(top)).clip(0, 1))
    return as_rgb(picture, name).convert("L")


def _deep_gray(picture: Image.Image, name: str) -> Image.Image:
    """Return gray of 16 or 32 bits or float as mode "L"; Pillow's own convert would clip at 255."""
    return Image.fromarray(to_bytes(*_gray_levels(picture, name)))


def _gray_levels(picture: Image.Image, name: str) -> tuple[np.ndarray, float]:
    """Return the levels of gray of 16 or 32 bits or float, and the level of white. 0 is black."""
    values = np.asarray(picture)
    low, high = float(values.min()), float(values.max())
    tags = getattr(picture, "tag_v2", {})  # of a TIFF
    if picture.mode.startswith("I;16"):
        top = 2.0 ** min(tags.get(258, (16,))) - 1  # 258: bits per sample, 12 in some cameras
    elif picture.mode == "I" and picture.format in ("PNG", "PPM"):
        top = 65535.0
    else:  # float and 32-bit files do not define white: infer it from the range
        ranges = (1.0, 255.0, 65535.0) if picture.mode == "F" else (255.0, 65535.0)
        top = next((top for top in ranges if high <= 1.01 * top), 65535.0)
    if not (low >= -0.01 * top and high <= 1.01 * top):  # false for NaN as well
        finite = math.isfinite(low) and math.isfinite(high)
        values_are = f"values from {low:g} to {high:g}, which are not" if finite else "non-finite"
        raise PictureError(
            f"{name} holds {values_are} gray levels; save it with 8 or 16 bits per channel."
        )
    levels = values
    if tags.get(262) == 0 and picture.mode.startswith("I;16"):  # 262: zero is white
        levels = int(top) - values.astype(np.int32)  # Pillow inverts 8 bits, but not 16
    if isinstance(picture.info.get("transparency"), int):  # PNG: one gray level is transparent
        levels = np.where(values == picture.info["transparency"], top, levels)
    return levels, top


def to_bytes(values: np.ndarray, top: float) -> np.ndarray:
    """Return values in [0, top] as uint8 in [0, 255], rounded; values outside are clamped."""
    scaled = values.astype(np.float32) * np.float32(255.0 / top)
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return RGB or CMYK as RGB, by the embedded profile; a broken profile is ignored."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                found = ImageCms.profileToProfile(picture, source, _srgb(), outputMode="RGB")
                if found is not None:  # it is None only for a conversion in place
                    return found
        except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError):
            pass  # a profile for another color space, or a broken one: use the plain numbers
    return picture.convert("RGB")


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
