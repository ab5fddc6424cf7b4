"""Data sets for commands that need only pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regvq.data.token_shards import TokenShards

    from ..config.base import PicturesConfig


def name_for_pictures(name: str, root: Path | None) -> str:
    """Return the name under which to open a data set if only its pictures are needed.

    It is ``name``, or "folder" if ``root`` is a plain folder of pictures; this is then printed.
    """
    from regvq.data import fitting_name

    fitting = fitting_name(name, root)
    if fitting != name:
        print(f"{root} is not laid out as {name!r}: it is read as a plain folder of pictures")
    return fitting


def data_lines(trainer: Any) -> list[str]:
    """Return a line on each data set that a run trains on or is measured on."""
    from regvq.data.contents import summary

    shards = getattr(trainer, "shards", None)
    if shards is None:
        train = summary(trainer.data, "train")
    else:
        train = shards.summary() + _other_pictures(
            shards, trainer.config.data, trainer.tokenizer.channels
        )
    return [f"training on {train}", f"held out: {summary(trainer.held_out, 'test')}"]


def _other_pictures(shards: TokenShards, data: PicturesConfig, channels: int) -> str:
    """Return a remark if token shards are of other pictures than the data set's root holds now.

    It is "" if that cannot be told: the pictures may be elsewhere, or on a web server.
    """
    from regvq.data import open_dataset
    from regvq.data.contents import identity_of
    from regvq.errors import DataError

    known = shards.header["data"].get("identity")
    if known is None or "://" in str(data.root):
        return ""
    try:
        present = identity_of(open_dataset(data.name, data.root, channels=channels))
    except DataError:
        return ""
    return "" if present == known else "; other pictures than those of --data.root"
