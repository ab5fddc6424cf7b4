"""Codes: their paints, places and neighbors; token grids and errors as pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.analysis import codes, embedding
from core.analysis.counts import count_codes
from core.analysis.rendering import color_error, error_map, number_colors, ramp, token_picture
from core.images import to_pixels
from core.networks.autoencoder import NetworkConfig
from core.quantizers import RegVQConfig, VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    return Tokenizer(TokenizerConfig(network, VQConfig(size=23))).eval()


@pytest.fixture(scope="module")
def codebook() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(50, 6)).astype(np.float32)


# -- usage -----------------------------------------------------------------------------------------


def test_count_codes_counts_every_token_once(tokenizer: Tokenizer) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [(8, 8), (8, 8), (9, 14), (8, 8)]
    pictures = [torch.rand(3, *size, generator=generator) * 2 - 1 for size in sizes]
    done: list[int] = []
    counts = count_codes(tokenizer, iter(pictures), progress=done.append, batch=2)
    expected = np.zeros(23, dtype=np.int64)
    for picture in pictures:
        for code in tokenizer.encode(picture[None]).flatten().tolist():
            expected[code] += 1
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, expected)
    assert counts.sum() == 4 + 4 + 3 * 4 + 4
    assert done == [2, 3, 4]


# -- codes -----------------------------------------------------------------------------------------


def test_paint_codes_returns_the_center_of_a_field_of_one_code(tokenizer: Tokenizer) -> None:
    paints = codes.paint_codes(tokenizer, batch=7)
    assert paints.shape == (23, 4, 4, 3) and paints.dtype == np.uint8
    for code in (0, 22):
        whole = to_pixels(tokenizer.decode(torch.full((1, 5, 5), code)))[0]
        np.testing.assert_array_equal(paints[code], whole[8:12, 8:12])
    some = codes.paint_codes(tokenizer, ids=[22, 0])
    np.testing.assert_array_equal(some, paints[[22, 0]])
    assert codes.paint_codes(tokenizer, ids=[]).shape == (0, 4, 4, 3)


def test_paint_codes_refuses_even_fields_and_unknown_codes(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="odd"):
        codes.paint_codes(tokenizer, side=4)
    with pytest.raises(ValueError, match="0 to 22, got 3 to 23"):
        codes.paint_codes(tokenizer, ids=[3, 23])


def test_nearest_codes_are_the_nearest_without_the_code_itself(codebook: np.ndarray) -> None:
    twin = codebook.copy()
    twin[31] = twin[7]  # another code at the same place is a neighbor at distance 0
    ids, distances = codes.nearest_codes(torch.from_numpy(twin), 7, n=4)
    apart = np.linalg.norm(twin.astype(float) - twin[7], axis=1)
    expected = [i for i in np.argsort(apart, kind="stable") if i != 7][:4]
    assert ids.tolist() == expected and ids[0] == 31
    np.testing.assert_allclose(distances, apart[expected], rtol=1e-5)


def test_nearest_codes_of_a_small_codebook_are_all_others(codebook: np.ndarray) -> None:
    ids, distances = codes.nearest_codes(codebook[:3], 1, n=8)
    assert sorted(ids) == [0, 2] and distances.shape == (2,)
    with pytest.raises(ValueError, match="0 to 2, got 3"):
        codes.nearest_codes(codebook[:3], 3)


def test_all_neighbors_are_each_codes_nearest(codebook: np.ndarray) -> None:
    neighbors = embedding.all_neighbors(codebook, n=5, rows=16)
    assert neighbors.shape == (50, 5) and neighbors.dtype == np.int64
    for code in range(50):
        expected, _ = codes.nearest_codes(codebook, code, n=5)
        assert neighbors[code].tolist() == expected.tolist()
    assert embedding.all_neighbors(codebook[:3]).shape == (3, 2)


def test_code_map_shows_the_directions_of_largest_spread() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(200, 2)) * [5, 2]
    directions = np.linalg.qr(rng.normal(size=(8, 2)))[0]
    codebook = plane @ directions.T + rng.normal(size=(200, 8)) * 0.01 + 4
    scores = embedding.pca_map(codebook)
    assert scores.shape == (200, 2) and scores.dtype == np.float32
    centered = plane - plane.mean(axis=0)
    _, _, axes = np.linalg.svd(centered, full_matrices=False)
    for axis in range(2):  # up to the sign
        correlation = np.corrcoef(scores[:, axis], centered @ axes[axis])[0, 1]
        assert abs(correlation) > 0.999
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_array_equal(scores, embedding.pca_map(torch.from_numpy(codebook)))


def test_code_map_of_one_dimensional_codes_lies_on_a_line() -> None:
    scores = embedding.pca_map(np.array([[1.0], [3.0], [8.0]]))
    np.testing.assert_allclose(scores, [[-3, 0], [-1, 0], [4, 0]], atol=1e-6)


def test_where_and_occurrences_find_every_place() -> None:
    first, second = torch.tensor([[4, 1, 4], [0, 4, 2]]), np.array([[1], [4]])
    assert codes.where_code(first, 4).tolist() == [[True, False, True], [False, True, False]]
    assert codes.occurrences(first, 4).tolist() == [[0, 0, 0], [0, 0, 2], [0, 1, 1]]
    assert codes.occurrences([first, second], 4)[-1].tolist() == [1, 1, 0]
    assert codes.occurrences([first, second], 9).shape == (0, 3)


def test_patch_is_the_pixels_under_the_token_with_edges_repeated() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)
    np.testing.assert_array_equal(codes.patch_of(pixels, 1, 2, 4), pixels[4:8, 8:12])
    image = torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1
    padded = np.pad(pixels, ((4, 8), (4, 8), (0, 0)), mode="edge")
    for row, col in [(0, 0), (1, 1), (2, 3)]:
        patch = codes.patch_of(image, row, col, 4, context=1)
        expected = padded[row * 4 : row * 4 + 12, col * 4 : col * 4 + 12]
        np.testing.assert_array_equal(patch, expected)
    for outside in [(3, 0), (0, 4), (-1, 0)]:
        with pytest.raises(ValueError, match="outside a 14x10 picture"):
            codes.patch_of(pixels, *outside, 4)


@pytest.mark.parametrize("config", [VQConfig(size=23), RegVQConfig(size=23)])
def test_runner_ups_are_the_posteriors_largest_at_one_place(config) -> None:
    torch.manual_seed(1)
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    tokenizer = Tokenizer(TokenizerConfig(network, config)).eval()
    image = torch.rand(3, 10, 12, generator=torch.Generator().manual_seed(2)) * 2 - 1
    ids, shares = codes.runner_ups(tokenizer, image, 2, 1, n=5)
    everywhere = tokenizer.log_posterior(image[None])[0, 2, 1].double().exp().numpy()
    assert ids[0] == tokenizer.encode(image[None])[0, 2, 1]
    np.testing.assert_allclose(shares, np.sort(everywhere)[::-1][:5], rtol=1e-4)
    np.testing.assert_allclose(shares, everywhere[ids], rtol=1e-4)
    assert codes.runner_ups(tokenizer, image, 0, 0, n=99)[1].sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="3x3 tokens"):
        codes.runner_ups(tokenizer, image, 3, 0)


# -- pictures --------------------------------------------------------------------------------------


def test_token_picture_by_colors_tiles_and_numbers() -> None:
    ids = torch.tensor([[0, 2, 1], [2, 2, 0]])
    colors = np.array([[1, 2, 3], [40, 50, 60], [250, 0, 9]], dtype=np.uint8)
    np.testing.assert_array_equal(token_picture(ids, colors), colors[ids.numpy()])
    tiles = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    mosaic = token_picture(ids, tiles)
    assert mosaic.shape == (8, 12, 3)
    np.testing.assert_array_equal(mosaic[:4, 4:8], tiles[2])
    np.testing.assert_array_equal(mosaic[4:, 8:], tiles[0])
    by_number = token_picture(ids, 3)
    np.testing.assert_array_equal(by_number[0, 1], by_number[1, 0])
    assert len({tuple(by_number[0, i]) for i in range(3)}) == 3
    with pytest.raises(ValueError, match="0 to 1"):
        token_picture(ids, 2)


def test_number_colors_tell_a_thousand_codes_apart() -> None:
    table = number_colors(1024)
    assert table.shape == (1024, 3) and table.dtype == np.uint8
    assert len(np.unique(table, axis=0)) > 1000
    near = np.abs(np.diff(table.astype(int), axis=0)).max(axis=1)
    assert near.min() > 60  # codes next to each other in number look different


def test_error_map_is_the_mean_absolute_difference() -> None:
    a, b = -torch.ones(3, 2, 2), -torch.ones(3, 2, 2)
    b[:, 0, 1] = 1.0
    b[0, 1, 0] = 0.5
    b[0, 1, 1] = 7.0  # beyond white counts as white
    expected = [[0, 1], [0.25, 1 / 3]]
    np.testing.assert_allclose(error_map(a, b), expected, atol=1e-7)
    with pytest.raises(ValueError, match="one shape"):
        error_map(a, torch.zeros(3, 2, 3))


def test_colors_of_errors_increase_in_luminance_up_to_the_top() -> None:
    luminance = ramp(np.linspace(0, 1, 256)).astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -0.6).all()  # a tolerance for rounding to 8 bits
    assert luminance[0] < 20 and luminance[-1] > 230
    shown = color_error(np.array([[0.0, 0.1, 0.25, 0.9]]), top=0.25)
    assert shown.shape == (1, 4, 3) and shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[0, 2], shown[0, 3])
    np.testing.assert_array_equal(shown[0, 1], ramp(np.array(0.4)))
    with pytest.raises(ValueError, match="above 0"):
        color_error(np.zeros((1, 1)), top=0)
