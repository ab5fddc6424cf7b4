"""Pictures that come from a page and go to it."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from abc import ABCMeta
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from ..guard.settings import MEGABYTE, limits
from ..guard.values import NOT_UPLOADED, lies_in
from ..services.encoding import PageFile
from ..services.errors import UserError

SALT = secrets.token_bytes(16)
"""The random number on which all addresses of pictures depend: it ends with the process."""


class NoStubFile(type(gr.Image)):  # type: ignore[misc]
    """Gradio's metaclass, without the .pyi file that it writes beside each subclass's source."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        return ABCMeta.__new__(cls, name, bases, body)


class PictureInput(gr.Image, metaclass=NoStubFile):
    """A picture input that passes on the uploaded file unread.

    ``gr.Image`` opens, rotates and converts a picture by its own rules, and fails without a
    sentence if it cannot; here ``core.images.open_picture`` is the only reader.
    """

    is_template = True  # the page draws it as a gr.Image

    def preprocess(self, payload: Any) -> str | None:
        """Return the path of the upload. Raises gr.Error unless it lies in the folder of uploads:
        Gradio checks only what is marked as a file."""
        path = payload.path if payload else None
        if path is not None and not lies_in(path, get_upload_folder()):
            raise gr.Error(NOT_UPLOADED, print_exception=False)
        return path

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
        """Keep a file; refuse an address, because the server fetches nothing for a visitor."""
        if url_or_file_path is not None and "://" in str(url_or_file_path):
            raise gr.Error("Pictures are uploaded, not fetched from an address.")
        return await super().async_move_resource_to_block_cache(url_or_file_path)


def largest_upload() -> str:
    """Return the size of the largest upload that the owner allows, in words."""
    return f"{limits().upload / MEGABYTE:g} MB"


def uploaded_file(path: Any) -> str:
    """Return the path of a visitor's upload that an event names. Raises UserError for any other."""
    if not isinstance(path, str) or not lies_in(path, get_upload_folder()):
        raise UserError(NOT_UPLOADED)
    return path


def page_file(data: bytes, name: str, kind: str = "png") -> dict[str, Any]:
    """Return a picture, PNG or of another ``kind``, as a file whose address Gradio fills in.

    Equal bytes get the same address, and another visitor may be loading it: an existing file is
    never written again, and a new one appears complete. Nobody can guess an address, even from the
    picture itself, because it depends on a random number of this process.
    """
    folder = Path(get_upload_folder()) / hashlib.sha256(SALT + data).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{kind}"
    try:
        os.utime(path)  # Gradio deletes files that have not been touched for an hour
    except FileNotFoundError:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    return gr.FileData(path=str(path.resolve()), mime_type=f"image/{kind}").model_dump()


def publish(view: Any) -> Any:
    """Return a view model with every PageFile in it as a file that the page can load."""
    if isinstance(view, PageFile):
        return page_file(view.data, view.name, view.kind)
    if isinstance(view, dict):
        return {name: publish(value) for name, value in view.items()}
    if isinstance(view, list):
        return [publish(value) for value in view]
    return view


def file_path(file: PageFile) -> str:
    """Return the path of a picture file, for an API endpoint's output."""
    return page_file(file.data, file.name, file.kind)["path"]


def gallery_paths(gallery: list[tuple[PageFile, str]]) -> list[tuple[str, str]]:
    """Return the paths and captions of pictures, for the gallery of an API endpoint."""
    return [(file_path(file), caption) for file, caption in gallery]
