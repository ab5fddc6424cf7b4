"""Semantic maps that are read from pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.services import semantic_maps
from app.services.errors import UserError
from core import masks
from core.errors import PictureError


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


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (255, 0, 0)])
def test_strokes_on_a_transparent_layer_are_the_mask(
    color: tuple[int, int, int], tmp_path: Path
) -> None:
    layer = Image.new("RGBA", (64, 64))
    layer.paste((*color, 255), (0, 0, 32, 64))
    layer.save(tmp_path / "mask.png")
    cells = semantic_maps.read_mask(str(tmp_path / "mask.png"), (8, 8), (64, 64))
    assert cells[:, :4].all() and not cells[:, 4:].any()


def test_transparency_that_is_unclear_is_refused_by_name(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (64, 64), (90, 120, 40, 0))
    layer.paste((90, 120, 40, 255), (0, 0, 32, 64))
    layer.save(tmp_path / "mask.png")
    with pytest.raises(PictureError, match=r"mask\.png is transparent in part"):
        semantic_maps.read_mask(str(tmp_path / "mask.png"), (8, 8), (64, 64))


def test_masks_and_maps_are_decoded_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of 50 megapixels takes gigabytes and seconds, which the server must not spend."""

    def decode(*given: object, **named: object) -> None:
        raise AssertionError("decoded in the server's process")

    for reader in ("open_mask", "open_opaque"):
        monkeypatch.setattr(masks, reader, decode)
    monkeypatch.setattr(Image, "open", decode)
    sides = np.zeros((64, 128, 3), np.uint8)
    sides[:, :64] = 255
    path = str(tmp_path / "a.png")
    Image.fromarray(sides).save(path)
    cells = semantic_maps.read_mask(path, (8, 8), (64, 64))
    assert cells[:, :4].all() and not cells[:, 4:].any()
    known = semantic_maps.Legend(("black", "white"), ((0, 0, 0), (255, 255, 255)))
    ids = semantic_maps.read_map(path, known, (32, 32))
    assert ids[:, :16].all() and not ids[:, 16:].any()


def test_a_map_with_transparency_is_refused_by_name(tmp_path: Path) -> None:
    known = semantic_maps.Legend(("snow", "green"), ((255, 255, 255), (0, 255, 0)))
    sky = Image.new("RGBA", (20, 20), (0, 255, 0, 255))
    sky.paste((0, 0, 0, 0), (0, 0, 20, 10))
    sky.save(tmp_path / "map.png")
    with pytest.raises(PictureError, match=r"map\.png is transparent in 50% of its pixels"):
        semantic_maps.read_map(str(tmp_path / "map.png"), known, (20, 20))
