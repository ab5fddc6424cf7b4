"""Data sets that are smaller than a batch are refused, with advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data import open_dataset
from core.data.scenes import Scenes
from core.errors import DataError
from tests.helpers import published_layouts as made
from train.loop.draws import check_enough


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
