"""Orders, grids and the atlas of codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.analysis.arrangement import (
    grid_layout,
    order_by_similarity,
    paint_features,
    rough_grid,
)
from core.analysis.atlas import build_atlas, grid_columns
from core.analysis.codes import paint_codes
from core.analysis.embedding import all_neighbors, pca_map
from core.networks.autoencoder import NetworkConfig
from core.quantizers import VQConfig
from core.tokenizer import Tokenizer, TokenizerConfig


def looks(count: int) -> np.ndarray:
    """Return features like those of paints: three strong axes and some texture."""
    spread = np.array([4, 3, 2, 0.7, 0.7, 0.7])
    return np.random.default_rng(count).normal(size=(count, 6)) * spread


def mean_step(features: np.ndarray, order: np.ndarray, stride: int = 1) -> float:
    steps = features[order[stride:]] - features[order[:-stride]]
    return float(np.linalg.norm(steps, axis=1).mean())


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 300])
def test_orders_and_grids_hold_every_code_once(count: int) -> None:
    features = looks(count)
    assert sorted(order_by_similarity(features).tolist()) == list(range(count))
    for columns in (1, 7, count):
        assert sorted(grid_layout(features, columns).tolist()) == list(range(count))


def test_neighbors_in_the_order_are_similar() -> None:
    features = looks(512)
    order = order_by_similarity(features)
    shuffled = np.random.default_rng(0).permutation(512)
    assert mean_step(features, order) < 0.4 * mean_step(features, shuffled)


def test_codes_on_a_line_are_ordered_along_it() -> None:
    place = np.random.default_rng(0).permutation(200).astype(float)
    order = order_by_similarity(np.stack([place, 2 * place], axis=1))
    steps = np.diff(place[order])
    assert (steps == 1).all() or (steps == -1).all()


@pytest.mark.parametrize("count, columns", [(512, 32), (500, 23)])
def test_neighbors_in_the_grid_are_similar_along_rows_and_columns(count: int, columns: int) -> None:
    features = looks(count)
    code_at = np.argsort(grid_layout(features, columns))
    shuffled = np.random.default_rng(0).permutation(count)
    chance = mean_step(features, shuffled)
    assert mean_step(features, code_at) < 0.42 * chance
    assert mean_step(features, code_at, stride=columns) < 0.42 * chance


def test_a_plane_of_codes_keeps_its_neighbors() -> None:
    rows, columns = np.divmod(np.random.default_rng(0).permutation(256), 16)
    plane = np.stack([3.0 * rows, columns], axis=1)
    code_at = np.argsort(grid_layout(plane, 16))
    placed = plane[code_at].reshape(16, 16, 2)
    # The plane fits the grid: the best mean steps are 1 along a row and 3 along a column.
    assert np.linalg.norm(np.diff(placed, axis=1), axis=-1).mean() < 1.3
    assert np.linalg.norm(np.diff(placed, axis=0), axis=-1).mean() < 3.3


def test_the_same_codes_give_the_same_places() -> None:
    features = looks(200)
    np.testing.assert_array_equal(grid_layout(features, 20), grid_layout(features, 20))
    np.testing.assert_array_equal(order_by_similarity(features), order_by_similarity(features))


def test_identical_codes_get_places() -> None:
    features = np.zeros((40, 3))
    assert sorted(order_by_similarity(features).tolist()) == list(range(40))
    assert sorted(grid_layout(features, 8).tolist()) == list(range(40))


def test_a_grid_without_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="1 column"):
        grid_layout(looks(4), 0)


def test_paint_features_keep_the_distances_between_flat_colors() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (30, 3), dtype=np.uint8)
    paints = np.broadcast_to(colors[:, None, None], (30, 4, 4, 3))
    features = paint_features(np.ascontiguousarray(paints))
    apart = np.linalg.norm(features[:, None] - features[None], axis=-1)
    flat = colors.astype(float) / 255
    expected = 4 * np.linalg.norm(flat[:, None] - flat[None], axis=-1)  # 16 pixels: factor 4
    np.testing.assert_allclose(apart, expected, atol=1e-4)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    network = NetworkConfig(widths=(8, 8), encoder_blocks=1, decoder_blocks=1, latent_dim=4)
    return Tokenizer(TokenizerConfig(network, VQConfig(size=30))).eval()


def test_the_atlas_holds_the_results_of_its_parts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(3, 12, 16, generator=generator) * 2 - 1 for _ in range(3)]
    atlas = build_atlas(tokenizer, iter(pictures), source="3 made-up pictures")
    np.savez_compressed(tmp_path / "atlas.npz", **atlas)
    with np.load(tmp_path / "atlas.npz", allow_pickle=False) as stored:
        atlas = {name: stored[name] for name in stored.files}

    ids = torch.cat([tokenizer.encode(picture[None]).flatten() for picture in pictures])
    assert atlas["counts"].tolist() == torch.bincount(ids, minlength=30).tolist()
    assert str(atlas["source"]) == "3 made-up pictures"
    paints = paint_codes(tokenizer)
    np.testing.assert_array_equal(atlas["paints"], paints)
    exact = paints.reshape(30, -1, 3).astype(float).mean(axis=1)
    assert np.abs(atlas["mean_color"] - exact).max() <= 0.5
    codebook = tokenizer.quantizer.codebook()
    np.testing.assert_array_equal(atlas["pca"], pca_map(codebook))
    np.testing.assert_array_equal(atlas["neighbours"], all_neighbors(codebook))
    assert sorted(atlas["order_similarity"].tolist()) == list(range(30))
    assert int(atlas["grid_columns"]) == grid_columns(30) == 6
    assert sorted(atlas["grid"].tolist()) == list(range(30))


def test_the_atlas_takes_counts_instead_of_pictures(tokenizer: Tokenizer) -> None:
    atlas = build_atlas(tokenizer, source="elsewhere", counts=np.arange(30))
    assert atlas["counts"].tolist() == list(range(30))
    for wrong in ({}, {"pictures": [], "counts": np.arange(30)}):
        with pytest.raises(ValueError, match="either"):
            build_atlas(tokenizer, source="", **wrong)
    with pytest.raises(ValueError, match="30 codes"):
        build_atlas(tokenizer, source="", counts=np.arange(29))


def test_the_atlas_of_a_huge_codebook_paints_nothing(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.analysis.atlas.LARGEST", 29)
    monkeypatch.setattr("core.analysis.atlas.paint_codes", lambda *_, **__: 1 / 0)
    atlas = build_atlas(tokenizer, source="elsewhere", counts=np.arange(30))
    assert sorted(atlas) == ["counts", "pca", "source"]
    assert atlas["counts"].tolist() == list(range(30))


@pytest.mark.parametrize("count, columns", [(512, 32), (500, 23)])
def test_a_rough_grid_is_similar_along_rows_and_columns(count: int, columns: int) -> None:
    features = looks(count)
    code_at = np.argsort(rough_grid(features, columns))
    assert sorted(code_at.tolist()) == list(range(count))
    shuffled = np.random.default_rng(0).permutation(count)
    chance = mean_step(features, shuffled)
    assert mean_step(features, code_at) < 0.8 * chance
    assert mean_step(features, code_at, stride=columns) < 0.8 * chance
