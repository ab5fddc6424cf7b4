"""One token: edits, their effect, the receptive field."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.analysis.token_edits import edited, extent, receptive_field, window, with_codes
from core.images import to_pixels
from core.networks.autoencoder import NetworkConfig
from core.quantizers import RegVQConfig
from core.tokenizer import Tokenizer, TokenizerConfig


@pytest.fixture
def tokenizer() -> Tokenizer:
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    return Tokenizer(TokenizerConfig(network, RegVQConfig(size=20))).eval().requires_grad_(False)


def test_edits_change_only_their_places() -> None:
    ids = np.arange(12).reshape(3, 4)
    found = edited(ids, [(0, 1, 7), (2, 3, 0), (0, 1, 8)], 20)
    assert found[0, 1] == 8 and found[2, 3] == 0
    assert (found != ids).sum() == 2 and ids[0, 1] == 1
    for wrong, words in (
        ((3, 0, 1), "row 3, column 0: this picture has 3 rows and 4 columns"),
        ((0, -1, 1), "no token in row 0, column -1"),
        ((0, 0, 20), "no code 20: codes are 0 to 19"),
    ):
        with pytest.raises(ValueError, match=words):
            edited(ids, [wrong], 20)


def test_codes_at_a_place_are_painted_as_in_the_whole_picture(tokenizer: Tokenizer) -> None:
    ids = np.random.default_rng(0).integers(0, 20, (6, 7))
    found = with_codes(tokenizer, ids, 2, 3, [4, 9], reach=20)  # the window is the whole grid
    for pixels, code in zip(found, (4, 9), strict=True):
        whole = tokenizer.decode(torch.from_numpy(edited(ids, [(2, 3, code)], 20))[None])
        np.testing.assert_array_equal(pixels, to_pixels(whole)[0, 4:16, 8:20])
    corner = with_codes(tokenizer, ids, 0, 6, [5], reach=2)
    assert corner.shape == (1, 12, 12, 3)
    part = window(ids, 0, 6, 2)
    assert ids[part].shape == (3, 3)
    np.testing.assert_array_equal(corner[0, 0], corner[0, 3])  # above the picture: its edge
    assert (corner[0, 4:8, 4:8] != corner[0, 4:8, 8:]).any()


def test_the_latent_depends_most_on_its_receptive_field(tokenizer: Tokenizer) -> None:
    image = torch.rand(3, 41, 50) * 2 - 1
    field, part = receptive_field(tokenizer, image, 4, 6, reach=3)
    assert field.shape == (28, 28) == (part[0].stop - part[0].start, part[1].stop - part[1].start)
    assert field.sum() == pytest.approx(1, abs=1e-4) and (field >= 0).all()
    # Its center of mass is in the token's own cell, in the center of the window.
    rows, columns = np.mgrid[:28, :28]
    assert 12 <= (field * rows).sum() <= 16 and 12 <= (field * columns).sum() <= 16
    # Pixels with a large gradient change the latent more than others.
    before = tokenizer.latents(image[None])[0, :, 4, 6]

    def moved(row: int, column: int) -> float:
        other = image.clone()
        other[:, part[0].start + row, part[1].start + column] += 0.05
        return float((tokenizer.latents(other[None])[0, :, 4, 6] - before).norm())

    near, far = np.unravel_index(field.argmax(), field.shape), (0, 0)
    assert moved(*near) > 5 * moved(*far)
    corner, part = receptive_field(tokenizer, image, 10, 12, reach=2)
    assert corner.shape == (9, 10) and part == (slice(32, 41), slice(40, 50))
    with pytest.raises(ValueError, match="no token in row 11"):
        receptive_field(tokenizer, image, 11, 0)


def test_the_extent_of_a_field() -> None:
    field = np.zeros((20, 20))
    field[5:9, 3:7] = 1 / 16
    assert extent(field, 0.95) == 4
    assert extent(np.full((10, 10), 0.01), 0.5) == 8  # 50 or 51 pixels
    spike = np.zeros((5, 5))
    spike[2, 2] = 1
    assert extent(spike) == 1
