"""Example pictures: two photographs with their licenses, and drawn scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from app.services.examples import PHOTOGRAPHS, examples, photographs, thumbnails
from core.images import open_picture


def test_examples_are_pictures_with_captions_and_credits() -> None:
    known = examples()
    assert len(known) >= 4
    for example in known:
        assert example.caption and example.credit
        assert min(open_picture(example.path).size) >= 400
    assert len(thumbnails()) == len(known)
    assert all(one["thumb"].startswith("data:image/png;base64,") for one in thumbnails())


def test_the_photographs_are_small_colorful_and_licensed() -> None:
    known = photographs()
    assert len(known) == 2
    notice = (PHOTOGRAPHS / "README.md").read_text(encoding="utf-8")
    for one in known:
        file = Path(one.path)
        assert file.stat().st_size <= 150_000 and f"`{file.name}`" in notice
        pixels = np.asarray(open_picture(file)).astype(float)
        assert np.ptp(pixels, axis=2).mean() > 20  # the channels differ: not a gray picture
        author = one.credit.removeprefix("Photograph by ").split(",")[0]
        assert author in notice
    # The first picture of the page is the first photograph.
    assert Path(examples()[0].path).name == Path(known[0].path).name
