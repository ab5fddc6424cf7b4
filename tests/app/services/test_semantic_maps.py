"""Semantic maps that are read from pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.services import semantic_maps
from app.services.errors import UserError


def test_pixels_become_the_class_of_the_nearest_color(tmp_path: Path) -> None:
    known = semantic_maps.Legend(("red", "green"), ((255, 0, 0), (0, 255, 0)))
    drawn = np.zeros((20, 20, 3), np.uint8)
    drawn[:, :10], drawn[:, 10:] = (250, 12, 9), (9, 244, 20)
    drawn[0, 0] = (0, 0, 255)  # a stray pixel
    Image.fromarray(drawn).save(tmp_path / "map.png")
    ids = semantic_maps.read_map(str(tmp_path / "map.png"), known, (20, 20))
    assert (ids[:, 10:] == 1).all() and (ids.ravel()[1:10] == 0).all()
    drawn[:4] = (0, 0, 255)
    Image.fromarray(drawn).save(tmp_path / "map.png")
    with pytest.raises(UserError, match=r"#0000ff.*cover 20 %.*nearest known one is #ff0000, red"):
        semantic_maps.read_map(str(tmp_path / "map.png"), known, (20, 20))
