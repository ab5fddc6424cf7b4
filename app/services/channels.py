"""Pictures for tokenizers of other than three channels, and the channels of them that are shown."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from regvq.channels import Projection, count_words, project, projection
from regvq.errors import PictureError

from . import array_preview
from .checkpoints import open_tokenizer
from .errors import UserError
from .examples import examples
from .uploads import Picture, open_array, open_picture, with_array

if TYPE_CHECKING:
    from torch import Tensor

    from .checkpoints import TokenizerHandle


class OtherChannels(PictureError):
    """A picture without the channels of the tokenizer."""

    def __init__(self, handle: TokenizerHandle, name: str, found: int) -> None:
        channels = handle.channels
        more = " or a TIFF with a gray page per channel" if channels > 1 else " or a gray TIFF"
        super().__init__(
            f"{handle.name} takes pictures of {count_words(channels)}, and {name} has {found}: "
            f"upload a .npy array (H, W, {channels}){more}, or choose an example."
        )


def picture_for(handle: TokenizerHandle, path: Any) -> Picture:
    """Return the picture at ``path`` with the channels of the tokenizer.

    Arrays (.npy) and TIFFs keep their channels and bits. For one channel, any picture becomes gray;
    for others, the colors of an example are repeated. Raises UserError or PictureError.
    """
    channels = handle.channels
    if channels == 3 or not isinstance(path, str) or not Path(path).is_file():
        return suited(handle, open_picture(path))
    found = open_array(path)
    number = found.array.shape[2] if found.array is not None else 3
    if number == channels:
        return suited(handle, found)
    if channels == 1 and number in (3, 4) and Path(path).suffix.lower() != ".npy":
        return suited(handle, open_picture(path))
    if _is_example(path):
        return suited(handle, open_picture(path))
    raise OtherChannels(handle, Path(path).name, number)


def picture_or_example(handle: TokenizerHandle, path: Any) -> Picture:
    """Return the picture at ``path``, or the first example without one, as ``picture_for``."""
    return picture_for(handle, path or examples()[0].path)


def picture_or_stand_in(handle: TokenizerHandle, path: Any) -> Picture:
    """Return the same, or the first example where the picture has other channels."""
    try:
        return picture_or_example(handle, path)
    except OtherChannels:
        return picture_for(handle, examples()[0].path)


@lru_cache(maxsize=12)
def suited(handle: TokenizerHandle, picture: Picture) -> Picture:
    """Return an opened picture with the channels of the tokenizer, as ``picture_for`` makes them.

    Its ``image`` shows the channels that perceptual losses see. Raises PictureError.
    """
    channels, array = handle.channels, picture.array
    if channels == 3:
        return picture
    if array is None and channels == 1:
        array = np.asarray(picture.image.convert("L"))[:, :, None]
    elif array is None and picture.path and _is_example(picture.path):
        array = np.asarray(picture.image)[:, :, np.arange(channels) % 3]
    if array is None or array.shape[2] != channels:
        name = Path(picture.path).name or "the picture"
        raise OtherChannels(handle, name, 3 if array is None else array.shape[2])
    return with_array(picture, shown_pixels(array, handle.tokenizer.projection), array)


def shown_pixels(array: np.ndarray, places: Projection) -> Image.Image:
    """Return three channels of an array (H, W, C) as a picture."""
    from regvq.arrays import array_to_tensor
    from regvq.images import to_pictures

    return to_pictures(project(array_to_tensor(array), places)[None])[0]


def preview(handle: TokenizerHandle, path: str) -> bytes:
    """Return the array or TIFF at ``path`` as a picture that a page shows, at most ``MAX_SIDE``
    pixels long: a PNG file of three of its channels, which holds all of them.

    Raises PictureError if it cannot be read.
    """
    array = open_array(path).array
    assert array is not None
    own = array.shape[2] == handle.channels
    places = handle.tokenizer.projection if own else projection(array.shape[2])
    picture = shown_pixels(array, places)
    return array_preview.with_array(picture, array)


def image_of(handle: TokenizerHandle, picture: Picture) -> Tensor:
    """Return a picture as the image float32 (C, H, W) in [-1, 1] of the tokenizer.

    Raises PictureError if it has other channels.
    """
    from regvq.arrays import array_to_tensor
    from regvq.images import to_tensor

    if handle.channels == 3:
        return to_tensor(picture.image)
    array = suited(handle, picture).array
    assert array is not None
    return array_to_tensor(array)


def _is_example(path: str) -> bool:
    """Return True for an example, also for the copy of it that Gradio keeps for the page."""
    name = Path(path).name
    known = next((each for each in examples() if Path(each.path).name == name), None)
    return known is not None and Path(known.path).read_bytes() == Path(path).read_bytes()


# ---------------------------------------------------------------- the shown channels


def choices(checkpoint: Any) -> list[tuple[str, str]]:
    """Return the choices of shown channels of a checkpoint, as label and value; none if there is
    nothing to choose."""
    handle = open_tokenizer(checkpoint)
    channels = handle.channels
    if channels in (1, 3):
        return []
    seen = projection(channels, handle.bundle.config["tokenizer"].get("perceptual_channels"))
    numbers = ", ".join(str(place + 1) for place in seen)
    single = [(f"Channel {number}, gray", str(number)) for number in range(1, channels + 1)]
    return [(f"Channels {numbers} as color", ""), *single]


def parse_shown(handle: TokenizerHandle, given: Any) -> Projection | None:
    """Return the places of the shown channels that a user names by numbers from 1, such as "3 2 1";
    None for nothing. Raises UserError."""
    words = str(given if given is not None else "").replace(",", " ").split()
    if not words:
        return None
    channels = handle.channels
    if channels == 3:
        raise UserError("Shown channels can be chosen only where a checkpoint has not three.")
    try:
        return projection(channels, [int(word) for word in words[:4]], "the shown channels")
    except ValueError:
        raise UserError(
            f"The shown channels must be one or three numbers from 1 to {channels}, "
            f"not {str(given)[:40]!r}."
        ) from None


def kept_shown(handle: TokenizerHandle, given: Any) -> Projection | None:
    """Return the same for the page's choice, which may be one of the checkpoint before: None."""
    try:
        return parse_shown(handle, given)
    except UserError:
        return None


def channels_note(handle: TokenizerHandle, picture: Picture, places: Projection) -> str:
    """Return a sentence on what is shown of a picture of other than three channels."""
    channels = handle.channels
    if channels == 3:
        return ""
    if channels == 1:
        return "This checkpoint has one channel: a picture in color is converted to gray."
    numbers = list(dict.fromkeys(place + 1 for place in places))
    which = f"channel {numbers[0]} as gray"
    if len(numbers) > 1:
        which = f"channels {', '.join(str(place + 1) for place in places)} as color"
    words = (
        f"Of {channels} channels, {which}: PSNR, SSIM and the error are of all of them, tiles, PNG "
        "and JPEG of three."
    )
    if picture.path and _is_example(picture.path):
        words += (
            f" The example repeats its colors: upload a .npy array (H, W, {channels}) or a TIFF "
            "with a gray page per channel."
        )
    return words
