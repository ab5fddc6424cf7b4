"""The channels of pictures: their number, and the three that pretrained networks and screens take.

A tokenizer has pictures of 1 to 16 channels: gray, color, depth, multispectral. Networks that were
trained on photographs, and screens, take three of them. Channels are numbered from 1, as in the
programs of remote sensing and as the explorer shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MOST = 16
"""The largest number of channels."""

Projection = tuple[int, int, int]
"""The places, from 0, of the channels that are seen as red, green and blue."""


def check_channels(channels: int, name: str = "channels") -> None:
    """Raise ValueError unless ``channels`` is a whole number from 1 to 16."""
    if isinstance(channels, bool) or not isinstance(channels, int) or not 1 <= channels <= MOST:
        raise ValueError(f"{name} must be a whole number from 1 to {MOST}, got {channels!r}")


def projection(
    channels: int, named: Sequence[int] | None = None, name: str = "perceptual_channels"
) -> Projection:
    """Return the places of the three channels that are seen of ``channels``.

    named: their numbers, from 1: three, or one that is repeated. None: the first three; of two
    channels, the second is repeated, and of one, it is. Raises ValueError for other numbers, with
    ``name`` in its message.
    """
    if named is None:
        return (0, min(1, channels - 1), min(2, channels - 1))
    if len(named) not in (1, 3) or not all(
        isinstance(number, int) and 1 <= number <= channels for number in named
    ):
        raise ValueError(
            f"{name} must name one or three channels from 1 to {channels}, got {list(named)}"
        )
    first, second, third = (number - 1 for number in (named if len(named) == 3 else [*named] * 3))
    return (first, second, third)


def project(images: Tensor, places: Projection) -> Tensor:
    """Return the three channels of images (..., C, H, W) at ``places``: (..., 3, H, W)."""
    if images.shape[-3] == 3 and places == (0, 1, 2):
        return images
    return images[..., list(places), :, :]


def count_words(channels: int) -> str:
    """Return a number of channels in words: "1 channel", "4 channels"."""
    return f"{channels} channel{'' if channels == 1 else 's'}"
