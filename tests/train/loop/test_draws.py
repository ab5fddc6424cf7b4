"""Data sets that are smaller than a batch are refused, with advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data import open_dataset
from core.data.scenes import Scenes
from core.errors import DataError
from tests.helpers import published_layouts as made
from train.loop.draws import LoaderError, _watched, check_enough


@pytest.mark.parametrize(
    ("batch", "processes", "end"),
    [
        (4, 2, "holds 6 pictures, fewer than the 8 of one step; give more pictures, or choose "
               "--batch 3."),
        (7, 1, "fewer than the 7 of one step; give more pictures, or choose --batch 6."),
        (1, 7, "holds 6 pictures, fewer than the 7 of one step; give more pictures."),
    ],
)  # fmt: skip
def test_too_few_pictures_for_a_batch_are_refused(
    tmp_path: Path, batch: int, processes: int, end: str
) -> None:
    data = open_dataset("imagenet", made.imagenet(tmp_path))
    with pytest.raises(DataError) as caught:
        check_enough(data, batch, processes)
    assert str(caught.value).startswith(f"{tmp_path} holds") and str(caught.value).endswith(end)


def test_just_enough_pictures_are_accepted(tmp_path: Path) -> None:
    data = open_dataset("imagenet", made.imagenet(tmp_path))
    check_enough(data, 6, 1)
    check_enough(data, 2, 3)
    with pytest.raises(DataError, match="the data set 'scenes' holds 1 picture, fewer"):
        check_enough(Scenes(size=16, length=1), 2, 1)


def test_a_dead_loader_is_found_although_it_seems_alive_for_a_moment():
    """Its connection is reset before the system reports its end."""

    class Dying:
        exitcode = -9
        asked = 0

        def is_alive(self):
            self.asked += 1
            return self.asked < 4

    def reset():
        raise ConnectionResetError(104, "Connection reset by peer")
        yield  # a generator

    with pytest.raises(LoaderError, match="was killed by signal 9"):
        next(_watched(reset(), [Dying()]))
    with pytest.raises(ConnectionResetError):
        next(_watched(reset(), []))
