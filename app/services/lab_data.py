"""The small pictures on which the collapse lab trains: drawn scenes, or parts of a picture."""

from __future__ import annotations

import threading
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from .uploads import Picture, open_picture

if TYPE_CHECKING:
    from regvq.analysis.lab.pictures import SmallPictures

_DRAWING = threading.Lock()


def training_pictures(kind: str, data: str, image: Any) -> SmallPictures | None:
    """Return the training data of a lab session; None for a session on points.

    ``data`` is ``scenes`` or the digest of the user's picture ``image``.
    """
    if kind == "points":
        return None
    return drawn_scenes() if data == "scenes" else _parts(open_picture(image))


def drawn_scenes() -> SmallPictures:
    """Return the lab's scenes, drawn once per process (a second or two); other calls wait."""
    with _DRAWING:
        return _scenes()


@cache
def _scenes() -> SmallPictures:
    from regvq.analysis.lab.pictures import scenes

    return scenes()


@lru_cache(maxsize=8)
def _parts(picture: Picture) -> SmallPictures:
    from regvq.analysis.lab.pictures import patches
    from regvq.images import to_tensor

    return patches(to_tensor(picture.image))
