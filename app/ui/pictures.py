"""Drawings: arrays of ``core.analysis`` as pictures for the page, and pictures as page files."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
import secrets
import tempfile
from abc import ABCMeta
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image

ERROR_TOP = 0.25
"""The error that is drawn brightest, on the range [0, 1] of a colour channel."""
FLOOR = 0.16
"""Where on the ramp a code used once is drawn: clear of the dark ground."""
_SALT = secrets.token_bytes(16)


class _Plain(type(gr.Image)):  # type: ignore[misc]
    """Gradio's metaclass writes a .pyi file beside the source of every subclass; not here."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        return ABCMeta.__new__(cls, name, bases, body)


class PictureInput(gr.Image, metaclass=_Plain):
    """A picture that is handed on as the file that was uploaded, unread.

    ``gr.Image`` opens, rotates and converts a picture by its own rules, and fails without a
    sentence where it cannot; here ``core.images.open_picture`` is the only reader.
    """

    is_template = True  # drawn by the page as a gr.Image

    def preprocess(self, payload: Any) -> str | None:
        """The path of the upload, which Gradio has checked to lie in its own cache."""
        return payload.path if payload else None

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
        """Keep a file; refuse an address: the server fetches nothing for a visitor."""
        if url_or_file_path is not None and "://" in str(url_or_file_path):
            raise gr.Error("Pictures are uploaded, not fetched from an address.")
        return await super().async_move_resource_to_block_cache(url_or_file_path)


def png(picture: Image.Image, effort: int = 2) -> bytes:
    """A picture as a PNG file; ``effort`` is zlib's level, 6 being what other programs use."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=effort)
    return buffer.getvalue()


def page_file(data: bytes, name: str, kind: str = "png") -> dict[str, Any]:
    """A picture, PNG or of another ``kind``, as a file that the page can load.

    Gradio fills in its address.

    Equal bytes get the same address, and another visitor may be loading it: so a file that is there
    is never written again, and a new one appears whole. Nobody can work an address out, not even
    from the picture itself: it hangs on a number that this process drew.
    """
    folder = Path(get_upload_folder()) / hashlib.sha256(_SALT + data).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{kind}"
    try:
        os.utime(path)  # Gradio deletes the files that have not been touched for an hour
    except FileNotFoundError:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    return gr.FileData(path=str(path.resolve()), mime_type=f"image/{kind}").model_dump()


def data_url(pixels: np.ndarray) -> str:
    """Small pixels uint8 (H, W, 3) as a PNG in a data: address."""
    return "data:image/png;base64," + base64.b64encode(png(Image.fromarray(pixels))).decode()


def packed(array: np.ndarray, kind: str) -> str:
    """An array as base64 of its values, of NumPy's ``kind``: the page handles long lists slowly."""
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode()


def over_picture(grid: np.ndarray, f: int, size: tuple[int, int]) -> np.ndarray:
    """A token grid (h, w, …) magnified f times without smoothing, cropped to (width, height)."""
    return grid.repeat(f, axis=0).repeat(f, axis=1)[: size[1], : size[0]]


def highlighted(picture: Image.Image, where: np.ndarray, f: int) -> Image.Image:
    """``picture`` dimmed; the tokens of ``where`` bool (h, w) at full light in a bright frame."""
    pixels = np.asarray(picture).astype(np.float32)
    grey = pixels.mean(axis=-1, keepdims=True)
    dimmed = 0.30 * (0.45 * pixels + 0.55 * grey) + 12
    lit = over_picture(where, f, picture.size)
    width = max(1, f // 8)
    rim = _grown(lit, width) & ~lit
    shown = np.where(lit[..., None], pixels, dimmed)
    shown[rim] = (255, 196, 92)
    return Image.fromarray(np.rint(shown).astype(np.uint8))


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    padded = np.pad(mask, by)
    height, width = mask.shape
    grown = np.zeros_like(mask)
    for down in range(2 * by + 1):
        for right in range(2 * by + 1):
            grown |= padded[down : down + height, right : right + width]
    return grown


def heat_levels(counts: np.ndarray) -> np.ndarray:
    """Counts (K,) on a log scale, float (K,) in [0, 1]: 0 for none, 1 for the most used code."""
    return np.log1p(counts) / max(math.log1p(float(counts.max(initial=0))), 1e-9)


def heat_picture(counts: np.ndarray, cell: int | None = None) -> Image.Image:
    """Counts (K,) as a square grid by code number, row by row; dead codes are crossed out."""
    from regvq.analysis.rendering import ramp

    side = math.ceil(math.sqrt(len(counts)))
    cell = cell or max(3, min(24, 1024 // side))
    tiles = np.full((side * side, cell, cell, 3), (20, 23, 28), np.uint8)
    tiles[: len(counts), : cell - 1, : cell - 1] = ramp(FLOOR + (1 - FLOOR) * heat_levels(counts))[
        :, None, None
    ]
    cross = np.eye(cell - 1, dtype=bool)
    cross |= cross[::-1]
    mark = np.where(cross[..., None], (96, 104, 116), (20, 23, 28)).astype(np.uint8)
    tiles[: len(counts)][counts == 0, : cell - 1, : cell - 1] = mark
    grid = tiles.reshape(side, side, cell, cell, 3).swapaxes(1, 2)
    return Image.fromarray(grid.reshape(side * cell, side * cell, 3))


def sprite(tiles: np.ndarray) -> Image.Image:
    """Tiles uint8 (K, f, f, 3) side by side in a square sheet, row by row."""
    count, f = tiles.shape[:2]
    side = math.ceil(math.sqrt(count))
    sheet = np.zeros((side * side, f, f, 3), np.uint8)
    sheet[:count] = tiles
    return Image.fromarray(
        sheet.reshape(side, side, f, f, 3).swapaxes(1, 2).reshape(side * f, side * f, 3)
    )
